"""Servers and networks that fail: no wrong answer, none that is late, and everything as before when they are back.

What is asked goes through proxies that do the failing, to a real slapd.
"""

import contextlib
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from ldapauth import config
from ldapauth.deadline import Deadline
from ldapauth.directory import Directory, User
from ldapauth.directory import pool as pool_module
from ldapauth.directory import servers as servers_module
from ldapauth.directory.connection import Connection
from ldapauth.errors import DeadlineExceeded, DirectoryUnavailable
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests import configuration, soak
from tests.servers.certificates import Certificates
from tests.servers.people import PEOPLE_DN, person
from tests.servers.process import wait_until
from tests.servers.proxy import Fault, Proxy
from tests.servers.slapd import Slapd

DEADLINE = 0.5
SLACK = 0.5
CONNECT = 0.15
PATIENCE = 10.0  # seconds for what must come about, however slow the machine

JULIET = User("juliet", configuration.DOMAIN)
RIGHT, WRONG = "juliet-secret", "not-juliets"
REFUSED = Verdict(Reason.WRONG_PASSWORD)

SLOW = {Fault.HANG, Fault.SWALLOW, Fault.DRIP}
"""Faults under which a question takes as long as it may."""

HARMLESS = {Fault.TWICE, Fault.REPLAY, Fault.DELAY}
"""Faults under which each question can be answered all the same."""

FAULTS = [fault for fault in Fault if fault is not Fault.NONE]
SPOILT_ANSWERS = [
    fault for fault in FAULTS if fault not in {Fault.REFUSE, Fault.BLACKHOLE, Fault.HANDSHAKE, Fault.HANG}
]
CUTS = {"fin": Proxy.end, "rst": Proxy.reset, "silence": Proxy.silence}

Make = Callable[..., Directory]
Build = Callable[..., tuple[Directory, list[Proxy]]]
Cut = Callable[[Proxy], None]


def name_of(fault: Fault) -> str:
    """What a test's name says of a fault."""
    return fault.name.lower().replace("_", "-")


@pytest.fixture(scope="module")
def slapd(certificates: Certificates) -> Iterator[Slapd]:
    """A slapd with TLS that counts what it is asked."""
    with Slapd(certificate=certificates.server, loglevel="stats") as server:
        yield server


@pytest.fixture(scope="module")
def open_slapd() -> Iterator[Slapd]:
    """A slapd that needs no service account, and counts too."""
    with Slapd(anonymous_read=True, loglevel="stats") as server:
        yield server


@pytest.fixture
def first(slapd: Slapd) -> Iterator[Proxy]:
    """The way to the first server."""
    with Proxy(slapd.port) as proxy:
        yield proxy


@pytest.fixture
def second(slapd: Slapd) -> Iterator[Proxy]:
    """The way to the second server."""
    with Proxy(slapd.port) as proxy:
        yield proxy


@pytest.fixture
def make(slapd: Slapd, tmp_path: Path, certificates: Certificates) -> Make:
    """Makes a directory on servers of the given URLs."""
    # With or without TLS: it takes a tenth of a second to read the system's many CAs.
    common = {"connect_timeout": CONNECT, "ca_file": str(certificates.ca)}

    def directory(*urls: str, **changes: Any) -> Directory:
        table = configuration.domain_table(slapd, servers=list(urls), **common, **changes)
        file = configuration.write(tmp_path, table)
        return Directory(configuration.DOMAIN, config.load(str(file)).domains[configuration.DOMAIN])

    return directory


@pytest.fixture
def build(slapd: Slapd, make: Make) -> Iterator[Build]:
    """Makes a directory on some servers, and the proxies that are the ways to them."""
    with contextlib.ExitStack() as stack:

        def directory(number: int, *, tls: bool = False) -> tuple[Directory, list[Proxy]]:
            port = slapd.ldaps_port if tls else slapd.port
            assert port is not None
            proxies = [stack.enter_context(Proxy(port)) for _ in range(number)]
            return make(*(proxy.ldaps_url if tls else proxy.url for proxy in proxies)), proxies

        yield directory


@pytest.fixture
def impatient(mocker: MockerFixture) -> None:
    """Failed servers are tried again almost at once, so that tests need not wait for it."""
    mocker.patch.object(servers_module, "FIRST_COOL_DOWN", 0.05)
    mocker.patch.object(servers_module, "LONGEST_COOL_DOWN", 0.1)
    mocker.patch.object(servers_module, "PROBE_PAUSE", 0.05)


@pytest.fixture
def unforgiving(mocker: MockerFixture) -> None:
    """A failed server is left alone for longer than a test takes, while there is another."""
    mocker.patch.object(servers_module, "FIRST_COOL_DOWN", 600.0)
    mocker.patch.object(servers_module, "LONGEST_COOL_DOWN", 600.0)


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> Iterator[None]:
    """What is there before these tests, pytest and its like, is not looked through at each collection."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """After the test no descriptor is open that was not open before."""
    gc.collect()
    before = soak.descriptors()
    yield
    assert wait_until(lambda: gc.collect() >= 0 and soak.descriptors() <= before, PATIENCE), (
        f"{soak.descriptors() - before} descriptors are left"
    )


def ask(directory: Directory, password: str, seconds: float = DEADLINE) -> Verdict | None:
    """The verdict on juliet's password, or None where there is none; either by the deadline."""
    deadline = Deadline.after(seconds)
    try:
        return directory.check_password(JULIET, password, deadline)
    except DirectoryUnavailable:
        return None
    finally:
        assert deadline.elapsed <= seconds + SLACK


def truth(password: str) -> Verdict:
    """What the verdict on juliet's password must be."""
    return ACCEPTED if password == RIGHT else REFUSED


def recovers(directory: Directory) -> bool:
    """Whether the directory accepts the right password soon, saying nothing wrong until then, and refuses the wrong."""

    def accepted() -> bool:
        verdict = ask(directory, RIGHT)
        assert verdict in (ACCEPTED, None)
        return verdict is not None

    return wait_until(accepted, PATIENCE) and ask(directory, WRONG) == REFUSED


def break_it(proxy: Proxy, fault: Fault) -> None:
    """Makes a server faulty; where the fault is in connecting, it has lost the connections it had."""
    proxy.pause = 0.01 if fault is Fault.DELAY else 0.05
    proxy.fault = fault
    if fault in (Fault.REFUSE, Fault.BLACKHOLE, Fault.HANDSHAKE):
        proxy.reset()


@contextlib.contextmanager
def frozen(server: Slapd) -> Iterator[None]:
    """The server's machine is so busy that only its kernel answers."""
    os.kill(server.pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{server.pid}/task")
    try:
        assert wait_until(lambda: all(") T " in (task / "stat").read_text() for task in tasks.iterdir()), PATIENCE)
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.usefixtures("unforgiving", "nothing_left")
@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "kept"])
@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
def test_faulty_first_server_costs_one_question_at_most(build: Build, fault: Fault, *, warm: bool) -> None:
    """Whatever is wrong with the first server, one question may fail for it, and the second server answers the rest."""
    directory, (first, second) = build(2, tls=fault is Fault.HANDSHAKE)
    if warm:
        assert ask(directory, RIGHT) == ACCEPTED
        assert ask(directory, WRONG) == REFUSED
    break_it(first, fault)
    verdict = ask(directory, RIGHT)
    assert verdict in (ACCEPTED, None)
    tried = first.requests, first.accepted
    for password in (WRONG, RIGHT, WRONG, RIGHT):
        assert ask(directory, password) == truth(password)
    if fault not in HARMLESS:
        assert second.accepted
        assert (first.requests, first.accepted) == tried  # none after the first has waited for it
    if fault in (Fault.REFUSE, Fault.BLACKHOLE):
        assert verdict == ACCEPTED  # nothing was sent, so the same question could go to the second
    del directory
    gc.collect()
    assert wait_until(lambda: first.live + second.live == 0, PATIENCE)


@pytest.mark.usefixtures("impatient", "nothing_left")
@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
def test_first_server_is_used_again_when_it_is_good_again(build: Build, fault: Fault) -> None:
    """The first server answers again when it is back, and finding that out costs no question."""
    directory, (first, second) = build(2, tls=fault is Fault.HANDSHAKE)
    break_it(first, fault)
    for password in (RIGHT, WRONG, RIGHT):
        assert ask(directory, password) in (truth(password), None)
    first.fault = Fault.NONE

    def first_answers() -> bool:
        before = second.requests
        assert ask(directory, RIGHT) == ACCEPTED
        assert ask(directory, WRONG) == REFUSED
        return second.requests == before

    assert wait_until(first_answers, PATIENCE)


@pytest.mark.usefixtures("impatient", "nothing_left")
@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "kept"])
@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
def test_faulty_only_server_is_an_outage_until_it_is_good_again(build: Build, fault: Fault, *, warm: bool) -> None:
    """Alone, a faulty server gives right answers or none, and right ones without a restart when it is good again."""
    directory, (proxy,) = build(1, tls=fault is Fault.HANDSHAKE)
    if warm:
        assert ask(directory, RIGHT) == ACCEPTED
    break_it(proxy, fault)
    for password in (WRONG, RIGHT) if fault not in SLOW else (WRONG,):
        verdict = ask(directory, password, seconds=0.3 if fault in SLOW else DEADLINE)
        assert verdict in (truth(password), None)
        assert verdict is None or fault in HARMLESS
    proxy.fault = Fault.NONE
    assert recovers(directory)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("tls", [False, True], ids=["ldap", "ldaps"])
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_kept_connections_that_are_cut_cost_no_login(build: Build, cut: Cut, *, tls: bool) -> None:
    """When every kept connection is cut, even without a word, the next search and login succeed in time."""
    directory, (proxy,) = build(1, tls=tls)
    assert ask(directory, RIGHT) == ACCEPTED
    cut(proxy)
    assert directory.find(JULIET, Deadline.after(DEADLINE)) == person("juliet").dn
    assert ask(directory, RIGHT) == ACCEPTED
    cut(proxy)
    assert ask(directory, RIGHT) == ACCEPTED
    cut(proxy)
    assert ask(directory, WRONG) == REFUSED


@pytest.mark.usefixtures("impatient", "nothing_left")
@pytest.mark.parametrize("start_tls", [False, True], ids=["ldaps", "start-tls"])
@pytest.mark.parametrize("fault", [Fault.HANG, Fault.DRIP, Fault.RESET, Fault.GARBAGE], ids=name_of)
def test_fault_under_tls_is_an_outage_until_it_is_over(
    make: Make, slapd: Slapd, fault: Fault, *, start_tls: bool
) -> None:
    """A handshake that comes to nothing, or comes too slowly, is no answer and keeps nobody waiting."""
    port = slapd.port if start_tls else slapd.ldaps_port
    assert port is not None
    with Proxy(port) as proxy:
        url = f"ldap://localhost:{proxy.port}" if start_tls else proxy.ldaps_url
        directory = make(url, start_tls=start_tls)
        break_it(proxy, fault)
        for password in (RIGHT, WRONG):
            assert ask(directory, password, seconds=0.25) is None
        proxy.fault = Fault.NONE
        assert recovers(directory)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", [Fault.SWALLOW, Fault.RESET, Fault.CLOSE, Fault.NOTICE, Fault.BUSY], ids=name_of)
def test_change_is_never_made_twice(make: Make, slapd: Slapd, first: Proxy, second: Proxy, fault: Fault) -> None:
    """A new password whose answer got lost is not set again at the second server."""
    directory = make(first.url, second.url, password_change="modify")
    assert ask(directory, RIGHT) == ACCEPTED
    before = slapd.operations()["MOD"]
    for proxy in (first, second):
        break_it(proxy, fault)
    deadline = Deadline.after(DEADLINE)
    with contextlib.suppress(DirectoryUnavailable):
        directory.set_password(person("juliet").dn, RIGHT, deadline)
    assert deadline.elapsed <= DEADLINE + SLACK
    for proxy in (first, second):
        proxy.fault = Fault.NONE
    assert recovers(directory)
    assert slapd.operations()["MOD"] - before <= 1


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_bind_on_a_cut_connection_is_not_answered_twice(make: Make, slapd: Slapd, first: Proxy, cut: Cut) -> None:
    """Where each login is a bind alone, a connection that was cut without a word costs one login, seen ends none."""
    directory = make(first.url, **bind_only())
    assert ask(directory, RIGHT) == ACCEPTED
    cut(first)
    before = slapd.operations()["BIND"]
    verdict = ask(directory, RIGHT)
    assert verdict == (None if cut is Proxy.silence else ACCEPTED)
    assert slapd.operations()["BIND"] - before == (0 if cut is Proxy.silence else 1)
    assert ask(directory, RIGHT) == ACCEPTED
    assert ask(directory, WRONG) == REFUSED


def bind_only() -> dict[str, Any]:
    """The settings for logins that are one bind and no search, and no service account."""
    return {
        "user_dn": f"uid={{user}},{PEOPLE_DN}",
        "bind_dn": None,
        "bind_password": None,
        "base_dn": None,
        "filter": None,
    }


def anonymous() -> dict[str, Any]:
    """The settings for searches without a service account, whose binds would not be told from users' in a count."""
    return {"bind_dn": None, "bind_password": None}


@pytest.mark.usefixtures("unforgiving")
@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "kept"])
@pytest.mark.parametrize("fault", [Fault.SWALLOW, Fault.RESET, Fault.CLOSE, Fault.GARBAGE], ids=name_of)
def test_bind_that_got_no_answer_turns_to_the_second_server(
    make: Make, first: Proxy, second: Proxy, fault: Fault, *, warm: bool
) -> None:
    """Where each login is a bind alone, one that got no answer fails, and the next is for the second server."""
    directory = make(first.url, second.url, **bind_only())
    if warm:
        assert ask(directory, RIGHT) == ACCEPTED
    first.fault = fault
    assert ask(directory, RIGHT) is None
    assert ask(directory, RIGHT) == ACCEPTED
    assert ask(directory, WRONG) == REFUSED


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("settings", [{}, bind_only()], ids=["search-and-bind", "bind-only"])
def test_server_that_only_accepts_connections_is_not_back(make: Make, second: Proxy, settings: dict[str, Any]) -> None:
    """A frozen server, whose kernel goes on accepting connections, costs one login and not one a cool-down."""
    with Slapd() as server, Proxy(server.port) as first:
        directory = make(first.url, second.url, **settings)
        assert ask(directory, RIGHT) == ACCEPTED
        with frozen(server):
            assert ask(directory, RIGHT) == (None if "user_dn" in settings else ACCEPTED)
            seen = first.accepted
            while first.accepted < seen + 3:  # three times it was looked whether it is back
                assert ask(directory, RIGHT) == ACCEPTED
                assert ask(directory, WRONG) == REFUSED


@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "kept"])
@pytest.mark.parametrize("settings", [anonymous(), bind_only()], ids=["search-and-bind", "bind-only"])
@pytest.mark.parametrize("fault", SPOILT_ANSWERS, ids=name_of)
def test_bind_is_never_sent_twice(
    make: Make, open_slapd: Slapd, fault: Fault, settings: dict[str, Any], *, warm: bool
) -> None:
    """N wrong passwords are at most N binds at the directory, whatever becomes of the answers: accounts get locked."""
    with Proxy(open_slapd.port) as first, Proxy(open_slapd.port) as second:
        for broken in ((first,), (first, second)):
            directory = make(first.url, second.url, **settings)
            if warm:
                assert ask(directory, RIGHT) == ACCEPTED
            before = open_slapd.operations()["BIND"]
            for proxy in broken:
                break_it(proxy, fault)
            verdict = ask(directory, WRONG, seconds=0.2)
            assert verdict in (REFUSED, None)
            assert open_slapd.operations()["BIND"] - before in ((0, 1) if verdict is None else (1,))
            for proxy in broken:
                proxy.fault = Fault.NONE


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.UNAVAILABLE], ids=name_of)
def test_busy_server_has_done_nothing_so_the_next_is_asked(
    make: Make, slapd: Slapd, first: Proxy, second: Proxy, fault: Fault
) -> None:
    """A bind that a server was too busy for is one for the second server: no login fails, and none is counted twice."""
    directory = make(first.url, second.url, **bind_only())
    assert ask(directory, RIGHT) == ACCEPTED
    before = slapd.operations()["BIND"]
    first.fault = fault
    for password in (WRONG, RIGHT, WRONG):
        assert ask(directory, password) == truth(password)
    assert slapd.operations()["BIND"] == before + 3


@pytest.mark.parametrize("threads", [1, 10], ids=["one-thread", "ten-threads"])
def test_wrong_password_of_the_service_account_is_tried_once(make: Make, slapd: Slapd, threads: int) -> None:
    """While the service account's password is wrong, 50 questions are one bind: the account must not be locked."""
    directory = make(slapd.url, bind_password="wrong")
    before = slapd.operations()["BIND"]
    verdicts = asked_at_once(directory, threads, 50 // threads)
    assert verdicts == [None] * 50
    assert slapd.operations()["BIND"] == before + 1


def test_right_password_of_the_service_account_counts_after_the_pause(
    make: Make, slapd: Slapd, mocker: MockerFixture
) -> None:
    """When the service account's password is right again, the directory is asked again after the pause."""
    mocker.patch.object(pool_module, "SERVICE_PAUSE", 0.1)
    service = f"dn: {slapd.service_dn}\nreplace: userPassword\nuserPassword: "
    directory = make(slapd.url)
    slapd.modify_ldif(f"{service}changed\n")
    try:
        assert ask(directory, RIGHT) is None
    finally:
        slapd.modify_ldif(f"{service}{slapd.service_password}\n")
    assert recovers(directory)


def asked_at_once(directory: Directory, threads: int, questions: int) -> list[Verdict | None]:
    """The verdicts on the right password from several threads."""
    with ThreadPoolExecutor(threads) as executor:
        return list(executor.map(lambda _: ask(directory, RIGHT), range(threads * questions)))


@pytest.mark.usefixtures("impatient")
def test_slapd_restarted_under_load(make: Make) -> None:
    """While slapd is restarted, and after that, no verdict is wrong, and soon all are right."""
    with Slapd() as server:
        directory = make(server.url)
        over = threading.Event()
        seen: list[tuple[str, Verdict | None]] = []

        def load() -> None:
            while not over.is_set():
                seen.extend((password, ask(directory, password)) for password in (RIGHT, WRONG))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            server.restart()
            before = len(seen)
            assert wait_until(lambda before=before: len(seen) > before + 20, PATIENCE)  # type: ignore[misc]
        over.set()
        for thread in threads:
            thread.join()
        assert all(verdict in (truth(password), None) for password, verdict in seen)
        assert recovers(directory)


def test_all_servers_away_and_back(build: Build) -> None:
    """When no server can be had nobody is let in or turned away, and soon after they are back all is well."""
    directory, proxies = build(2)
    assert ask(directory, RIGHT) == ACCEPTED
    for proxy in proxies:
        break_it(proxy, Fault.REFUSE)
    for password in (RIGHT, WRONG) * 10:
        assert ask(directory, password) is None
    for proxy in proxies:
        proxy.fault = Fault.NONE
    assert recovers(directory)


@pytest.mark.usefixtures("impatient")
def test_states_of_servers_are_logged_once(
    build: Build, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that fails, and one that is back, is one line in the log, however many questions meet it."""
    monkeypatch.setattr(logging.getLogger("ldapauth"), "propagate", True)
    caplog.set_level(logging.INFO, "ldapauth")
    directory, (first, second) = build(2)
    assert asked_at_once(directory, 4, 5) == [ACCEPTED] * 20
    break_it(first, Fault.REFUSE)
    assert asked_at_once(directory, 4, 20) == [ACCEPTED] * 80
    assert events(caplog) == [f"event=server-failed server={first.url}"]
    first.fault = Fault.NONE
    assert wait_until(lambda: ask(directory, RIGHT) == ACCEPTED and len(events(caplog)) > 1, PATIENCE)
    assert asked_at_once(directory, 4, 20) == [ACCEPTED] * 80
    assert events(caplog) == [f"event={name} server={first.url}" for name in ("server-failed", "server-back")]
    assert second.live


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of the log, without their details."""
    return [" ".join(record.getMessage().split()[:2]) for record in caplog.records]


def test_threads_that_find_a_server_back_at_once_say_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two threads that both have an answer from a server that had failed, one logs that it is back."""
    monkeypatch.setattr(logging.getLogger("ldapauth"), "propagate", True)
    caplog.set_level(logging.INFO, "ldapauth")
    server = config.Server.parse("ldap://127.0.0.1")
    servers = servers_module.Servers(lambda _: [server], lambda _: None)
    servers.failed(server, DirectoryUnavailable("away"), 0.0)

    class Overtaken:
        """A lock for which another thread is quicker."""

        def __init__(self) -> None:
            self._overtaken = False

        def __enter__(self) -> None:
            if not self._overtaken:
                self._overtaken = True
                servers.answered(server)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(servers, "_lock", Overtaken())
    servers.answered(server)
    assert events(caplog) == [f"event={name} server={server}" for name in ("server-failed", "server-back")]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "kept"])
def test_question_that_is_late_when_its_connection_is_ready(build: Build, mocker: MockerFixture, *, warm: bool) -> None:
    """A question whose time is over at the moment when it has got its connection is late, and closes it."""
    directory, (first, second) = build(2)
    if warm:
        assert ask(directory, RIGHT) == ACCEPTED
    for name in ("search", "bind"):
        mocker.patch.object(Connection, name, side_effect=DeadlineExceeded("late"))
    assert ask(directory, RIGHT) is None
    mocker.stopall()
    assert wait_until(lambda: ask(directory, RIGHT) == ACCEPTED, PATIENCE)
    assert first.live + second.live <= 4


@pytest.mark.usefixtures("nothing_left")
def test_three_thousand_questions_while_everything_fails() -> None:
    """Under random faults, from several threads, no answer is wrong and none is late."""
    report = soak.run(3000, 8, seed=20110, calm=0.2)
    assert report.wrong == []
    assert report.late == []
    assert report.questions == 3000
    assert report.answers["accepted"] > 100
    assert report.answers["wrong-password"] > 100
