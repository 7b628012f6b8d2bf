"""Kept connections: how many there are, how long they are kept, what a fork does to them; and remembered DNs."""

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from ldapauth import config, directory
from ldapauth.deadline import Deadline
from ldapauth.directory import Directory, User, kept
from ldapauth.directory import servers as servers_module
from ldapauth.errors import DeadlineExceeded, DirectoryUnavailable
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests import configuration
from tests.servers import ldif
from tests.servers.certificates import Certificates
from tests.servers.people import PEOPLE, PEOPLE_DN, person
from tests.servers.process import wait_until
from tests.servers.proxy import Fault, Proxy
from tests.servers.slapd import Slapd

SLACK = 0.5
PATIENCE = 10.0
REFUSED = Verdict(Reason.WRONG_PASSWORD)
JULIET = User("juliet", configuration.DOMAIN)
RIGHT, WRONG = "juliet-secret", "not-juliets"
LOGINS = [who for who in PEOPLE if who.uid != "twin" and who.password is not None]
BIND_ONLY = {"user_dn": f"uid={{user}},{PEOPLE_DN}", "base_dn": None, "filter": None}

Make = Callable[..., Directory]


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """A slapd that counts what it is asked."""
    with Slapd(loglevel="stats") as server:
        yield server


@pytest.fixture
def untouched() -> Iterator[Slapd]:
    """A slapd that no other test's directory says goodbye to while this one counts."""
    with Slapd(loglevel="stats") as server:
        yield server


@pytest.fixture(scope="module")
def quiet() -> Iterator[Slapd]:
    """One that counts nothing, for many questions."""
    with Slapd() as server:
        yield server


@pytest.fixture
def proxy(quiet: Slapd) -> Iterator[Proxy]:
    """A way to that one which counts connections, and can be slow."""
    with Proxy(quiet.port) as way:
        yield way


@pytest.fixture
def make(slapd: Slapd, tmp_path: Path, certificates: Certificates) -> Make:
    """Makes a directory on the slapd, from a table with the given changes."""

    def one(server: Slapd = slapd, **changes: Any) -> Directory:
        # There is no TLS here; it takes a tenth of a second to read the system's many CAs.
        table = configuration.domain_table(server, ca_file=str(certificates.ca), **changes)
        file = configuration.write(tmp_path, table)
        return Directory(configuration.DOMAIN, config.load(str(file)).domains[configuration.DOMAIN])

    return one


def soon() -> Deadline:
    """The deadline of a test's question."""
    return Deadline.after(10)


def login(asked: Directory, password: str = RIGHT, name: str = "juliet") -> Verdict:
    """The verdict on a user's password."""
    return asked.check_password(User(name, configuration.DOMAIN), password, soon())


def spent(slapd: Slapd, before: Counter[str]) -> dict[str, int]:
    """What the slapd was asked since then, with no regard to connections' beginning and end."""
    return dict(slapd.operations() - before - Counter(ACCEPT=1000, UNBIND=1000))


def login_everybody(asked: Directory, rounds: int) -> list[str]:
    """Logs everybody in, each time with the right password and a wrong one, and returns what went wrong."""
    wrong = []
    for _ in range(rounds):
        for who in LOGINS:
            assert who.password is not None
            if login(asked, who.password, who.uid) != ACCEPTED:
                wrong.append(f"{who.uid} was refused")
            if login(asked, who.password + "x", who.uid) != REFUSED:
                wrong.append(f"{who.uid} was accepted")
    return wrong


@pytest.mark.parametrize("limit", [16, 3], ids=["a-connection-each", "three-connections"])
def test_many_threads_share_a_directory(make: Make, proxy: Proxy, limit: int) -> None:
    """Sixteen threads' logins get the right verdicts, over no more connections than allowed of each kind."""
    asked = make(servers=[proxy.url], max_connections=limit)
    with ThreadPoolExecutor(16) as executor:
        assert [
            wrong for found in executor.map(lambda _: login_everybody(asked, 1), range(16)) for wrong in found
        ] == []
    assert proxy.most <= 2 * limit
    assert proxy.accepted <= 2 * limit  # none was replaced


@pytest.mark.parametrize("kind", ["search", "verify"])
def test_connections_of_a_kind_are_limited(make: Make, proxy: Proxy, kind: str) -> None:
    """However many threads ask, there are no more connections of one kind than `max_connections`."""
    asked = make(servers=[proxy.url], max_connections=4, **BIND_ONLY if kind == "verify" else {})

    def question(_: int) -> bool:
        if kind == "verify":
            return login(asked).accepted
        return asked.find(JULIET, soon()) == person("juliet").dn

    with ThreadPoolExecutor(16) as executor:
        assert all(executor.map(question, range(500)))
    assert 2 <= proxy.most <= 4


def test_waiting_for_a_connection_counts(make: Make, proxy: Proxy) -> None:
    """Where each must wait for the one connection, questions get their answers in time or none."""
    asked = make(servers=[proxy.url], max_connections=1, **BIND_ONLY)
    assert login(asked) == ACCEPTED
    proxy.pause, proxy.fault = 0.08, Fault.DELAY
    ends: list[tuple[Verdict | None, float]] = []

    def ask() -> None:
        deadline = Deadline.after(0.5)
        try:
            verdict = asked.check_password(JULIET, RIGHT, deadline)
        except DeadlineExceeded:
            ends.append((None, deadline.elapsed))
        else:
            ends.append((verdict, deadline.elapsed))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {verdict for verdict, _ in ends} == {ACCEPTED, None}
    assert all(elapsed <= 0.5 + SLACK for _, elapsed in ends)


def test_connections_idle_for_too_long_are_replaced(make: Make, proxy: Proxy) -> None:
    """A connection that was not used for `idle_timeout` seconds is closed instead of used."""
    asked = make(servers=[proxy.url], idle_timeout=0.2)
    assert login(asked) == ACCEPTED
    assert login(asked) == ACCEPTED
    assert proxy.accepted == 2
    time.sleep(0.25)
    assert login(asked) == ACCEPTED
    assert proxy.accepted == 4
    assert wait_until(lambda: proxy.live == 2, PATIENCE)


def test_connections_too_many_for_the_load_are_closed(make: Make, proxy: Proxy) -> None:
    """After a rush, the connections that are not needed are closed as they have been idle for too long."""
    asked = make(servers=[proxy.url], idle_timeout=0.3, **BIND_ONLY)
    proxy.pause, proxy.fault = 0.1, Fault.DELAY
    with ThreadPoolExecutor(8) as executor:
        assert set(executor.map(lambda _: login(asked), range(8))) == {ACCEPTED}
    assert proxy.live == 8
    proxy.fault = Fault.NONE
    assert wait_until(lambda: login(asked) == ACCEPTED and proxy.live == 1, PATIENCE)
    assert proxy.accepted == 8


def test_connections_are_replaced_when_they_are_old(make: Make, proxy: Proxy, mocker: MockerFixture) -> None:
    """However busy it is, a connection is not used for longer than the age for which addresses are good."""
    asked = make(servers=[proxy.url])
    assert login(asked) == ACCEPTED
    mocker.patch.object(kept, "MAX_AGE", 0.2)
    assert wait_until(lambda: login(asked) == ACCEPTED and proxy.accepted >= 4, PATIENCE)
    assert wait_until(lambda: proxy.live == 2, PATIENCE)


def test_one_thread_needs_two_connections(make: Make, proxy: Proxy) -> None:
    """A helper process, which asks one thing at a time, has one connection of each kind for all its questions."""
    asked = make(servers=[proxy.url])
    assert login_everybody(asked, 2) == []
    assert proxy.accepted == 2


def test_directory_that_is_dropped_says_goodbye(make: Make, untouched: Slapd) -> None:
    """The connections of a directory that nobody needs any more end with an unbind."""
    asked = make(untouched)
    assert login(asked) == ACCEPTED
    before = untouched.operations()
    del asked
    gc.collect()
    assert wait_until(lambda: untouched.operations()["UNBIND"] == before["UNBIND"] + 2, PATIENCE)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("ask_in_child", [True, False], ids=["asking", "silent"])
def test_forked_child_leaves_the_parents_connections_alone(make: Make, untouched: Slapd, *, ask_in_child: bool) -> None:
    """A child asks over connections of its own, and its end is not the end of its parent's."""
    asked = make(untouched)
    assert login(asked) == ACCEPTED
    assert wait_until(lambda: untouched.operations()["ACCEPT"] == 2, PATIENCE)  # it may answer before it has logged
    before = untouched.operations()
    own = 2 if ask_in_child else 0

    def child(directories: list[Directory]) -> None:
        child_asks = directories.pop()
        for _ in range(3 if ask_in_child else 0):
            assert login(child_asks) == ACCEPTED
            assert login(child_asks, WRONG) == REFUSED
        # Dropped, a directory says goodbye on the connections that are its own.
        del child_asks
        gc.collect()

    directories = [asked]
    del asked
    process = multiprocessing.get_context("fork").Process(target=child, args=(directories,))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert wait_until(lambda: untouched.operations()["UNBIND"] == before["UNBIND"] + own, PATIENCE)
    assert untouched.operations()["ACCEPT"] == before["ACCEPT"] + own
    assert login(directories[0]) == ACCEPTED
    assert login(directories[0], WRONG) == REFUSED
    assert untouched.operations()["ACCEPT"] == before["ACCEPT"] + own  # the parent went on with its own
    assert untouched.operations()["UNBIND"] == before["UNBIND"] + own


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_fork_while_other_threads_ask(make: Make) -> None:
    """A child that is forked in the middle of other threads' questions can ask, and they get their answers."""
    asked = make(max_connections=4)
    over = threading.Event()
    seen: list[Verdict] = []

    def load() -> None:
        while not over.is_set():
            seen.extend((login(asked), login(asked, WRONG)))

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        codes = [forked(lambda: login_everybody(asked, 1) == []) for _ in range(5)]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * 5
    assert set(seen) == {ACCEPTED, REFUSED}
    assert seen.count(ACCEPTED) == seen.count(REFUSED)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_child_that_is_forked_during_a_probe_is_ready(make: Make) -> None:
    """The probe that a fork cuts off, whose end no thread of the child's would tell, is made again there."""
    asked = make()
    asked._pool._readiness._done.clear()
    assert not asked.is_ready(Deadline.after(0.001))
    assert forked(lambda: asked.is_ready(Deadline.after(PATIENCE))) == 0
    asked._pool._readiness._done.set()


def forked(check: Callable[[], bool]) -> int:
    """The exit code of a child that does nothing but this: 0 if it holds."""
    pid = os.fork()
    if pid == 0:
        code = 1
        signal.alarm(30)  # a child that hangs is one that failed
        try:
            code = 0 if check() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_login_by_a_remembered_name_is_one_bind(make: Make, slapd: Slapd) -> None:
    """While a DN is remembered, a login is a bind and nothing else, for the same name only."""
    asked = make(dn_cache_ttl=60)
    assert login(asked) == ACCEPTED
    before = slapd.operations()
    for _ in range(5):
        assert login(asked) == ACCEPTED
    assert spent(slapd, before) == {"BIND": 5}
    assert login(asked, "romeo-secret", "romeo") == ACCEPTED
    assert spent(slapd, before) == {"BIND": 6, "SRCH": 1}


def test_nothing_is_remembered_by_default(make: Make, slapd: Slapd) -> None:
    """Unless the configuration says otherwise each login is a search and a bind."""
    asked = make()
    assert login(asked) == ACCEPTED
    before = slapd.operations()
    assert login(asked) == ACCEPTED
    assert spent(slapd, before) == {"BIND": 1, "SRCH": 1}


def test_wrong_password_of_a_remembered_name_is_one_bind(make: Make, slapd: Slapd) -> None:
    """A wrong password counts once against the account, remembered or not, and the right one is accepted after it."""
    asked = make(dn_cache_ttl=60)
    assert login(asked) == ACCEPTED
    for _ in range(3):
        before = slapd.operations()
        assert login(asked, WRONG) == REFUSED
        assert spent(slapd, before)["BIND"] == 1
    assert login(asked) == ACCEPTED


def test_user_who_was_moved_logs_in(make: Make, slapd: Slapd) -> None:
    """A user whose entry gets another DN logs in with the same password, though the old DN is remembered."""
    name = "movable"
    add_user(slapd, name)
    asked = make(dn_cache_ttl=60)
    assert login(asked, name, name) == ACCEPTED
    slapd.modify_ldif(
        f"dn: uid={name},{PEOPLE_DN}\nchangetype: modrdn\nnewrdn: uid={name}\ndeleteoldrdn: 1\n"
        f"newsuperior: ou=a,{PEOPLE_DN}\n"
    )
    assert login(asked, name, name) == ACCEPTED
    assert login(asked, WRONG, name) == REFUSED
    assert login(asked, name, name) == ACCEPTED


def test_user_who_was_deleted_is_refused(make: Make, slapd: Slapd) -> None:
    """A user who is no more is no such user, though the DN is remembered."""
    name = "mortal"
    add_user(slapd, name)
    asked = make(dn_cache_ttl=60)
    assert login(asked, name, name) == ACCEPTED
    slapd.delete(f"uid={name},{PEOPLE_DN}")
    assert login(asked, name, name) == Verdict(Reason.NO_SUCH_USER)


def add_user(slapd: Slapd, name: str) -> None:
    """Adds a user whose password is the name."""
    attributes: list[tuple[str, str | bytes]] = [
        ("changetype", "add"),
        ("objectClass", "inetOrgPerson"),
        ("uid", name),
        ("cn", name),
        ("sn", name),
        ("userPassword", name),
    ]
    slapd.modify_ldif(ldif.entry(f"uid={name},{PEOPLE_DN}", attributes))


def test_remembered_names_expire(make: Make, slapd: Slapd) -> None:
    """After its time to live a DN is searched again."""
    asked = make(dn_cache_ttl=0.2)
    assert login(asked) == ACCEPTED
    time.sleep(0.25)
    before = slapd.operations()
    assert login(asked) == ACCEPTED
    assert spent(slapd, before) == {"BIND": 1, "SRCH": 1}


def test_remembered_names_are_bounded() -> None:
    """However many users log in, no more than so many names are remembered, and the newest is among them."""
    known = directory._KnownNames(60)
    for number in range(25_000):
        known.put(User(f"user{number}", configuration.DOMAIN), "dc=example")
        assert len(known._known) <= directory._MOST_KNOWN
    assert known.get(User("user24999", configuration.DOMAIN)) == "dc=example"


def test_refused_names_are_not_remembered(make: Make) -> None:
    """Only a login that succeeded is remembered, so strangers fill no memory."""
    asked = make(dn_cache_ttl=60)
    for name in ("juliet", "romeo", "nobody"):
        assert not login(asked, WRONG, name).accepted
    assert asked._known is not None
    assert asked._known._known == {}


def test_remembered_name_while_the_directory_is_away(make: Make, proxy: Proxy, mocker: MockerFixture) -> None:
    """A remembered DN is no remembered verdict: without a directory nobody is let in or turned away."""
    mocker.patch.object(servers_module, "PROBE_PAUSE", 0.05)
    asked = make(servers=[proxy.url], dn_cache_ttl=60)
    assert login(asked) == ACCEPTED
    proxy.fault = Fault.REFUSE
    proxy.end()
    for password in (RIGHT, WRONG):
        with pytest.raises(DirectoryUnavailable):
            login(asked, password)
    proxy.fault = Fault.NONE

    def accepted() -> bool:
        try:
            return login(asked) == ACCEPTED
        except DirectoryUnavailable:
            return False

    assert wait_until(accepted, PATIENCE)


def test_whoever_looks_disturbs_no_question(make: Make, slapd: Slapd) -> None:
    """While monitors look at the connections all the time, every login on them is answered, and none is lost."""
    asked = make(servers=[slapd.url], max_connections=2)
    assert login(asked) == ACCEPTED
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            asked.is_ready(Deadline.after(PATIENCE))

    with ThreadPoolExecutor(3) as executor:
        looking = [executor.submit(look) for _ in range(3)]
        try:
            assert {login(asked) for _ in range(500)} == {ACCEPTED}
        finally:
            over.set()
    assert [each.exception() for each in looking] == [None] * 3
    assert [in_use for in_use, _ in asked.state().connections.values()] == [0, 0]
