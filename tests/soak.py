"""Many questions from many threads while everything fails: `python -m tests.soak --questions 200000 --seed 1`.

Two proxies stand before one slapd. Faults come and go in them, connections are cut, slapd is stopped and restarted; and
each answer is held against what is known to be true. An outage is no error; a wrong or late answer is.
"""

import argparse
import collections
import contextlib
import dataclasses
import gc
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ldapauth import config
from ldapauth.deadline import Deadline
from ldapauth.directory import Directory, User
from ldapauth.errors import DirectoryUnavailable
from ldapauth.verdict import Reason, Verdict
from tests import configuration
from tests.servers import ldif
from tests.servers.people import ORDINARY_PEOPLE, PEOPLE, PEOPLE_DN, PEOPLE_WITH_ODD_NAMES
from tests.servers.proxy import Fault, Proxy
from tests.servers.slapd import Slapd

DEADLINE = 1.0
SLACK = 0.5
"""Seconds that an answer may come behind its deadline: the threads of the test share the processors with slapd."""

_PAUSE = 0.01  # after an outage: refused at once, the questions would be over before it is
_FAULTS = [fault for fault in Fault if fault not in (Fault.NONE, Fault.HANDSHAKE)]
_LOGINS = [who for who in PEOPLE if who.uid != "twin" and who.password is not None]
_STRANGERS = ["nobody", "twin", "juliet ", " juliet", "*", "jul*", "juliet)(uid=*", "\uff4auliet"]
_WAIT = 60.0


@dataclasses.dataclass
class Report:
    """What a run has seen.

    Attributes:
        seed: What the random numbers began with.
        threads: How many threads asked.
        answers: How often each answer came.
        unavailable: How many questions were not answered.
        wrong: What was answered wrongly, in words.
        late: Seconds by which answers, or refusals to answer, came behind deadline and slack.
        latest: Seconds that the slowest took.
        changes: How often something was broken on purpose.
        memory: Resident kB at the start, half-way and at the end.
        descriptors: Open descriptors before and after.
        seconds: How long it took.
    """

    seed: int
    threads: int
    answers: "collections.Counter[str]" = dataclasses.field(default_factory=collections.Counter)
    unavailable: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)
    late: list[float] = dataclasses.field(default_factory=list)
    latest: float = 0.0
    changes: "collections.Counter[str]" = dataclasses.field(default_factory=collections.Counter)
    memory: list[int] = dataclasses.field(default_factory=list)
    descriptors: list[int] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def questions(self) -> int:
        """How many questions there were."""
        return self.answers.total() + self.unavailable

    def __str__(self) -> str:
        lines = [
            f"questions     {self.questions} from {self.threads} threads, seed {self.seed}",
            *(f"  {kind:<22} {number}" for kind, number in self.answers.most_common()),
            f"  {'unavailable':<22} {self.unavailable}",
            f"wrong answers {len(self.wrong)}",
            *(f"  {words}" for words in self.wrong[:20]),
            f"late answers  {len(self.late)} (the slowest question took {self.latest:.3f} s of {DEADLINE} s)",
            f"faults        {self.changes.total()}",
            f"memory        {' kB, '.join(map(str, self.memory))} kB (start, half-way, end)",
            f"descriptors   {' -> '.join(map(str, self.descriptors))}",
            f"seconds       {self.seconds:.1f} ({self.questions / max(self.seconds, 0.001):.0f} questions a second)",
        ]
        return "\n".join(lines)


class Asker:
    """One thread's questions, and what is true of them.

    Args:
        directories: Whom to ask.
        rng: Where chance comes from.
        own: The name of an account whose password this thread alone changes.
        report: Where it is written down; this thread's own.
    """

    def __init__(self, directories: Sequence[Directory], rng: random.Random, own: str, report: Report) -> None:
        self._directories = directories
        self._rng = rng
        self._own = own
        self._possible = {own}  # the passwords that the account may have
        self._report = report
        self._kinds: list[Callable[[Directory], str]] = [
            *[self._right_password] * 8,
            *[self._wrong_password] * 6,
            *[self._stranger] * 3,
            *[self._find] * 2,
            self._certificates,
            *[self._own_password] * 2,
        ]

    def ask(self) -> None:
        """Asks one question."""
        kind = self._rng.choice([*self._kinds, self._change] if self._rng.random() < 0.1 else self._kinds)
        begin = time.monotonic()
        try:
            answer = kind(self._rng.choice(self._directories))
        except DirectoryUnavailable:
            self._report.unavailable += 1
            self._measure(time.monotonic() - begin)
            time.sleep(_PAUSE)
        else:
            self._measure(time.monotonic() - begin)
            self._report.answers[answer] += 1

    def _measure(self, elapsed: float) -> None:
        self._report.latest = max(self._report.latest, elapsed)
        if elapsed > DEADLINE + SLACK:
            self._report.late.append(elapsed - DEADLINE - SLACK)

    def _right_password(self, directory: Directory) -> str:
        who = self._rng.choice(_LOGINS)
        return self._login(directory, who.uid, who.password or "", accepted=True)

    def _wrong_password(self, directory: Directory) -> str:
        who = self._rng.choice(_LOGINS)
        wrong = [f"{who.password}x", *(other.password for other in _LOGINS if other is not who)]
        return self._login(directory, who.uid, self._rng.choice(wrong) or "", accepted=False)

    def _stranger(self, directory: Directory) -> str:
        return self._login(directory, self._rng.choice(_STRANGERS), "juliet-secret", accepted=False)

    def _own_password(self, directory: Directory) -> str:
        password = self._rng.choice([*self._possible, "never"])
        if len(self._possible) == 1 or password == "never":
            return self._login(directory, self._own, password, accepted=password in self._possible)
        verdict = directory.check_password(_user(self._own), password, Deadline.after(DEADLINE))
        if verdict.accepted:
            self._possible = {password}
        else:
            self._possible.discard(password)
        return _word(verdict)

    def _change(self, directory: Directory) -> str:
        password = f"{self._own}-{self._rng.random()}"
        self._possible.add(password)  # if there is no answer, it may have been done and may not
        directory.set_password(f"uid={self._own},{PEOPLE_DN}", password, Deadline.after(DEADLINE))
        self._possible = {password}
        return "changed"

    def _find(self, directory: Directory) -> str:
        if self._rng.random() < 0.5:
            who = self._rng.choice((*ORDINARY_PEOPLE, *PEOPLE_WITH_ODD_NAMES))
            dn = directory.find(_user(who.uid), Deadline.after(DEADLINE))
            if not isinstance(dn, str) or (who in ORDINARY_PEOPLE and dn != who.dn):
                self._report.wrong.append(f"{who.uid!r} was found to be {dn}")
            return "found"
        name = self._rng.choice(_STRANGERS)
        found = directory.find(_user(name), Deadline.after(DEADLINE))
        if not isinstance(found, Reason):
            self._report.wrong.append(f"{name!r} was found to be {found}")
        return "not found"

    def _certificates(self, directory: Directory) -> str:
        found = directory.certificates(_user("juliet"), Deadline.after(DEADLINE))
        if found != []:
            self._report.wrong.append(f"juliet was found to have certificates: {found}")
        return "certificates"

    def _login(self, directory: Directory, name: str, password: str, *, accepted: bool) -> str:
        verdict = directory.check_password(_user(name), password, Deadline.after(DEADLINE))
        if verdict.accepted is not accepted:
            self._report.wrong.append(f"{name!r} with {password!r}: {_word(verdict)}")
        return _word(verdict)


class Chaos:
    """Breaks something, now and then, and mends it again.

    Args:
        slapd: The server.
        proxies: The ways to it.
        rng: Where chance comes from.
        report: Where it is written down; this thread's own.
        calm: Seconds at most for which nothing is broken.
    """

    def __init__(self, slapd: Slapd, proxies: Sequence[Proxy], rng: random.Random, report: Report, calm: float) -> None:
        self._calm = calm
        self._slapd = slapd
        self._proxies = proxies
        self._rng = rng
        self._report = report
        self._over = threading.Event()

    def stop(self) -> None:
        """Ends `run`, with everything mended."""
        self._over.set()

    def run(self) -> None:
        """Breaks and mends until it is stopped."""
        kinds = [*[self._fault] * 12, *[self._cut] * 4, self._both, self._freeze, self._restart]
        while not self._over.wait(self._rng.uniform(0, self._calm)):
            kind = self._rng.choice(kinds)
            kind()
            self._report.changes[kind.__name__] += 1

    def _fault(self) -> None:
        with self._broken(self._rng.choice(self._proxies)):
            self._over.wait(self._rng.uniform(0.02, 0.4))

    def _both(self) -> None:
        with contextlib.ExitStack() as stack:
            for proxy in self._proxies:
                stack.enter_context(self._broken(proxy))
            self._over.wait(self._rng.uniform(0.02, 0.2))

    @contextlib.contextmanager
    def _broken(self, proxy: Proxy) -> Iterator[None]:
        proxy.pause = self._rng.choice([0.002, 0.02, 0.2])
        proxy.fault = self._rng.choice(_FAULTS)
        try:
            yield
        finally:
            proxy.fault = Fault.NONE

    def _cut(self) -> None:
        proxy = self._rng.choice(self._proxies)
        self._rng.choice([proxy.end, proxy.reset, proxy.silence])()

    def _freeze(self) -> None:
        os.kill(self._slapd.pid, signal.SIGSTOP)
        self._over.wait(self._rng.uniform(0.02, 0.5))
        os.kill(self._slapd.pid, signal.SIGCONT)

    def _restart(self) -> None:
        self._slapd.restart()


def run(questions: int, threads: int, seed: int, calm: float = 1.0) -> Report:
    """Asks so many questions, and reports; something breaks after so many seconds of calm at most."""
    total = Report(seed, threads)
    accounts = [f"soak{index}" for index in range(threads)]
    extra = "".join(map(_account, accounts))
    with (
        tempfile.TemporaryDirectory() as scratch,
        Slapd(extra_ldif=extra) as slapd,
        Proxy(slapd.port) as first,
        Proxy(slapd.port) as second,
    ):
        total.descriptors.append(descriptors())
        directories = _directories(Path(scratch), slapd, (first, second), threads)
        reports = [Report(seed, threads) for _ in accounts]
        askers = [
            Asker(directories, random.Random(f"{seed} {name}"), name, report)
            for name, report in zip(accounts, reports, strict=True)
        ]
        chaos = Chaos(slapd, (first, second), random.Random(f"{seed} chaos"), total, calm)
        begin = time.monotonic()
        _run(questions, askers, reports, chaos, total)
        total.seconds = time.monotonic() - begin
        _add(total, reports)
        del directories, askers
        total.descriptors.append(_settled_descriptors(total.descriptors[0]))
    return total


def _run(questions: int, askers: Sequence[Asker], reports: Sequence[Report], chaos: Chaos, total: Report) -> None:
    """Lets every thread ask its share, twice half of it, with a look at the memory in between and behind."""
    breaking = threading.Thread(target=chaos.run, name="chaos")
    total.memory.append(resident())
    breaking.start()
    try:
        for half in range(2):
            threads = [
                threading.Thread(target=_share, args=(asker, share, report), name="asker")
                for asker, report, share in zip(askers, reports, _shares(questions, len(askers), half), strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            total.memory.append(resident())
    finally:
        chaos.stop()
        breaking.join()


def _shares(questions: int, parts: int, half: int) -> list[int]:
    """How many questions each of so many threads asks in one of the halves."""
    return [(questions + 2 * part + half) // (2 * parts) for part in range(parts)]


def _share(asker: Asker, questions: int, report: Report) -> None:
    try:
        for _ in range(questions):
            asker.ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding, and must not end in a thread
        report.wrong.append(f"an exception that nobody expects: {error!r}")


def _add(total: Report, reports: Sequence[Report]) -> None:
    for report in reports:
        total.answers += report.answers
        total.unavailable += report.unavailable
        total.wrong += report.wrong
        total.late += report.late
        total.latest = max(total.latest, report.latest)


def _directories(scratch: Path, slapd: Slapd, proxies: Sequence[Proxy], threads: int) -> list[Directory]:
    """One that searches and binds, one that remembers DNs and has few connections, one that binds without a search."""
    common: dict[str, Any] = {
        "servers": [proxy.url for proxy in proxies],
        "connect_timeout": 0.3,
        "deadline": DEADLINE,
        "idle_timeout": 2.0,
        "max_connections": threads,
    }
    tables = [
        configuration.domain_table(slapd, **common),
        configuration.domain_table(slapd, **common | {"dn_cache_ttl": 1.0, "max_connections": max(threads // 2, 1)}),
        configuration.domain_table(slapd, **common, user_dn=f"uid={{user}},{PEOPLE_DN}", filter=None),
    ]
    files = (configuration.write(scratch, table) for table in tables)
    settings = (config.load(str(file)).domains[configuration.DOMAIN] for file in files)
    return [Directory(configuration.DOMAIN, each) for each in settings]


def _account(name: str) -> str:
    return ldif.entry(
        f"uid={name},{PEOPLE_DN}",
        [("objectClass", "inetOrgPerson"), ("uid", name), ("cn", name), ("sn", name), ("userPassword", name)],
    )


def _user(name: str) -> User:
    return User(name, configuration.DOMAIN)


def _word(verdict: Verdict) -> str:
    return "accepted" if verdict.reason is None else verdict.reason.value


def descriptors() -> int:
    """How many descriptors this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _settled_descriptors(expected: int) -> int:
    """The number when it is as expected, or when that has not come about for long."""
    end = time.monotonic() + _WAIT
    while True:
        gc.collect()
        number = descriptors()
        if number <= expected or time.monotonic() > end:
            return number
        time.sleep(0.02)


def resident() -> int:
    """The kB of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> int:
    """Runs what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--questions", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    logging.getLogger("ldapauth").addHandler(logging.NullHandler())  # what fails is known here
    report = run(options.questions, options.threads, options.seed)
    sys.stdout.write(f"{report}\n")
    return 1 if report.wrong or report.late else 0


if __name__ == "__main__":
    sys.exit(main())
