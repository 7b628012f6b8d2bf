"""Late answers on Prosody's terminal: what is slow, stops, hangs or breaks, with the times that are the default.

The rules are those of `test_terminal.py`. A test that is about seconds waits for them to pass, and looks only at what
has come by then and what comes after.
"""

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests import configuration
from tests.frontends.programs import PATIENCE, Relay, TerminalHelper, configure, patched
from tests.servers.proxy import Fault, Proxy
from tests.servers.slapd import Slapd

RIGHT = "auth:juliet:example.com:juliet-secret"
WRONG = "auth:juliet:example.com:wrong"
YES, NO, SILENCE = b"1\n", b"0\n", b""

DEADLINE = 4.0
"""Seconds: the default, below the 5 that Prosody waits."""

# Seconds for an answer, where it is not the default that is tried.
SHORT = 1.0

# A fault for each user in the provider.
_FAULTY = """
import time
from ldapauth.provider import Provider

right = Provider.check_password

def check_password(self, user, *arguments):
    if user == "late":
        time.sleep({late})
    if user in ("crash", "late"):
        raise RuntimeError("secret")
    if user == "memory":
        raise MemoryError
    if user == "recursion":
        return check_password(self, user, *arguments)
    if user == "exit":
        raise SystemExit(3)
    return right(self, user, *arguments)

Provider.check_password = check_password
"""

# Names hang, addresses need no resolver.
_HANGING_RESOLVER = """
import socket, time
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda *what, flags, **how: resolve(*what, flags=flags, **how) if flags else time.sleep(3600)
"""


def sleep_until(moment: float) -> None:
    """Waits for a moment of `time.monotonic`."""
    time.sleep(max(0.0, moment - time.monotonic()))


def answered_after(pause: float, helper: TerminalHelper, relay: Relay) -> None:
    """The directory answers a question so many seconds after it came."""
    relay.hold()
    begin = time.monotonic()
    helper.send(f"{RIGHT}\n".encode())
    relay.wait_until_holding()
    sleep_until(begin + pause)
    relay.release()
    if pause < DEADLINE - 0.5:
        assert helper.receive(len(YES)) == YES
    else:
        sleep_until(begin + DEADLINE + 0.05)
        answer = helper.receive(len(NO), seconds=0)
        if answer == SILENCE:  # a machine that is busy enough for that
            assert helper.rest() == SILENCE
            assert helper.status() == 0
            return
        assert answer == NO
        sleep_until(begin + pause + 0.3)
        assert helper.receive(1, seconds=0) == SILENCE
    helper.wait_until_accepted(RIGHT)
    assert [helper.ask(command) for command in (WRONG, RIGHT, WRONG)] == [False, True, False]


def stopped_under_way(helper: TerminalHelper, relay: Relay) -> None:
    """The process is stopped for 6 seconds while the directory is asked."""
    relay.hold()
    helper.send(f"{RIGHT}\n".encode())
    relay.wait_until_holding()
    helper.signal(signal.SIGSTOP)
    relay.release()
    time.sleep(6)
    helper.signal(signal.SIGCONT)
    assert helper.rest() == SILENCE
    assert helper.status() == 0


def stopped_before(helper: TerminalHelper, _relay: Relay) -> None:
    """The process is stopped for 6 seconds, and the question comes at their beginning."""
    helper.signal(signal.SIGSTOP)
    helper.send(f"{RIGHT}\n".encode())
    time.sleep(6)
    helper.signal(signal.SIGCONT)
    assert helper.rest() == SILENCE
    assert helper.status() == 0


def stopped_idle(helper: TerminalHelper, _relay: Relay) -> None:
    """The process is stopped for 6 seconds, and the question comes well after them: it is not late."""
    helper.signal(signal.SIGSTOP)
    time.sleep(6)
    helper.signal(signal.SIGCONT)
    time.sleep(1)  # until it has looked, and found that there is no question yet
    assert [helper.ask(command) for command in (WRONG, RIGHT)] == [False, True]


CASES: dict[str, Callable[[TerminalHelper, Relay], None]] = {
    **{f"the directory answers after {pause} s": partial(answered_after, pause) for pause in (2.5, 3.9, 4.1, 5.5)},
    "stopped under way": stopped_under_way,
    "stopped before": stopped_before,
    "stopped idle": stopped_idle,
}


def test_rule_late_answer_with_the_default_deadline(slapd: Slapd, tmp_path: Path) -> None:
    """With a directory that is late, or a process that was stopped for 6 s, no answer leaves after 4 seconds."""

    def run(name: str) -> None:
        directory = tmp_path / name.replace(" ", "-")
        directory.mkdir()
        log = directory / "log"
        with Relay(slapd) as relay:
            table = configuration.domain_table(slapd, servers=[relay.url])
            config = configuration.write(directory, table, log={"target": str(log)})
            with TerminalHelper(config, log) as helper:
                CASES[name](helper.wait_until_ready(), relay)

    with ThreadPoolExecutor(len(CASES)) as pool:  # side by side, as most of the time they wait
        results = {name: pool.submit(run, name) for name in CASES}
    assert {name: error for name, result in results.items() if (error := result.exception())} == {}


@pytest.mark.parametrize(
    "fault", [Fault.DRIP, Fault.HANG, Fault.SWALLOW, Fault.BLACKHOLE], ids=lambda fault: fault.name
)
def test_rule_late_answer_of_a_directory_that_goes_wrong(slapd: Slapd, tmp_path: Path, fault: Fault) -> None:
    """While a directory drips or hangs each answer is no, in time, and each answer after that is its question's."""
    log = tmp_path / "log"
    with Proxy(slapd.port, pause=0.1) as proxy:
        config = configure(tmp_path, slapd, url=proxy.url, deadline=SHORT, log=log)
        with TerminalHelper(config, log) as helper:
            helper.wait_until_ready()
            proxy.fault = fault
            assert [helper.ask(command) for command in (RIGHT, WRONG)] == [False, False]
            proxy.fault = Fault.NONE
            helper.wait_until_accepted(RIGHT)
            assert [helper.ask(command) for command in (WRONG, RIGHT, WRONG)] == [False, True, False]


def test_rule_late_answer_of_a_resolver_that_hangs(slapd: Slapd, tmp_path: Path) -> None:
    """While the system's resolver hangs each answer is no, in time, and a signal ends the program with status 0."""
    log = tmp_path / "log"
    config = configure(tmp_path, slapd, url="ldap://localhost", deadline=SHORT, log=log)
    with TerminalHelper(config, log, command=patched(_HANGING_RESOLVER)) as helper:
        helper.wait_until_ready()
        assert [helper.ask(command) for command in (RIGHT, WRONG)] == [False, False]
        helper.signal(signal.SIGTERM)
        assert helper.rest() == SILENCE
        assert helper.status() == 0


@pytest.mark.parametrize("fault", ["crash", "memory", "recursion"])
def test_rule_exit_status_a_crash_within_a_question_is_no(slapd: Slapd, tmp_path: Path, fault: str) -> None:
    """A bug in one question makes a no and a line in the log, without its text, and the next one is answered right."""
    log = tmp_path / "log"
    config = configure(tmp_path, slapd, log=log)
    with TerminalHelper(config, log, command=patched(_FAULTY.format(late=0))) as helper:
        helper.wait_until_ready()
        commands = (RIGHT, f"auth:{fault}:example.com:secret", WRONG, RIGHT)
        assert [helper.ask(command) for command in commands] == [True, False, False, True]
        assert helper.log.count("event=bug") == 1
        assert "secret" not in helper.log


@pytest.mark.parametrize("fault", ["late", "exit"])
def test_rule_exit_status_0_after_a_crash_that_nothing_answers(slapd: Slapd, tmp_path: Path, fault: str) -> None:
    """A bug that shows only after the deadline, and one that ends the program, end it silently and with status 0."""
    log = tmp_path / "log"
    config = configure(tmp_path, slapd, deadline=SHORT, log=log)
    with TerminalHelper(config, log, command=patched(_FAULTY.format(late=1.5 * SHORT))) as helper:
        helper.wait_until_ready()
        assert helper.ask(RIGHT) is True
        helper.send(f"auth:{fault}:example.com:secret\n".encode())
        assert helper.rest() == SILENCE
        assert helper.status() == 0
        assert "secret" not in helper.log


def test_rule_exit_status_a_killed_process_writes_nothing(slapd: Slapd, tmp_path: Path) -> None:
    """A program that is killed while the directory is asked leaves nothing behind that could be taken for an answer."""
    log = tmp_path / "log"
    with Relay(slapd) as relay:
        config = configure(tmp_path, slapd, url=relay.url, deadline=PATIENCE, log=log)
        with TerminalHelper(config, log) as helper:
            helper.wait_until_ready()
            relay.hold()
            helper.send(f"{RIGHT}\n".encode())
            relay.wait_until_holding()
            helper.signal(signal.SIGKILL)
            assert helper.rest() == SILENCE
            assert helper.status() == -signal.SIGKILL
