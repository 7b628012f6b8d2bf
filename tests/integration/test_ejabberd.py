"""A real ejabberd whose users are checked by `ldapauth-ejabberd` in a real slapd."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.configuration import DOMAIN
from tests.frontends.programs import EJABBERD, PATIENCE, configure, hanging, stopped
from tests.servers.ejabberd import Ejabberd
from tests.servers.people import PEOPLE_DN, PEOPLE_WITH_ODD_PASSWORDS, Person, person
from tests.servers.process import ProcessInfo, process_info, wait_until
from tests.servers.slapd import Slapd

# The names as ejabberd has them: in lower case, with what a JID can't hold escaped (XEP-0106).
ESCAPED = {
    r"d\27artagnan": "d'artagnan",
    r"j\20doe": "j doe",
    r"back\5cslash": r"back\slash",
    r"quote\22d": 'quote"d',
    r"user\40host": "user@host",
    "o,reilly": "o,reilly",
    "plus+sign": "plus+sign",
    "hash#tag": "hash#tag",
    "star*name": "star*name",
    "paren(the)sis": "paren(the)sis",
    "josé": "josé",
}

# What ejabberd lets through as a new password: no control character and no emoji (stringprep, RESOURCEPREP).
EVERY_CHARACTER = "".join(chr(number) for number in range(0x20, 0x7F)) + " àéß-пароль-密码 "


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """A slapd with a password policy: 8 bytes at least."""
    with Slapd(ppolicy=True) as server:
        yield server


@pytest.fixture(scope="module")
def ejabberd(slapd: Slapd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ejabberd]:
    """An ejabberd as the README sets it up; in the end its helpers must have ended by themselves."""
    config = configure(tmp_path_factory.mktemp("ejabberd"), slapd)
    with Ejabberd([EJABBERD.program], environment={"LDAPAUTH_CONFIG": str(config)}, use_cache=False) as node:
        yield node
    assert node.killed == []


@pytest.fixture
def someone(slapd: Slapd) -> Iterator[Person]:
    """A person in the directory for a test to change or remove."""
    who = Person("someone", "Some One", "One", "someone@example.com", "someone-secret")
    slapd.modify_ldif(who.ldif.replace("\n", "\nchangetype: add\n", 1))
    yield who
    if slapd.entry(who.dn):
        slapd.delete(who.dn)


@pytest.fixture
def newcomer(slapd: Slapd) -> Iterator[str]:
    """A name that nobody has."""
    yield "newcomer"
    dn = f"uid=newcomer,{PEOPLE_DN}"
    if slapd.entry(dn):
        slapd.delete(dn)


def old_enough(helper: ProcessInfo) -> bool:
    """Whether ejabberd takes the helper for one that has started: it has to be a second old."""
    ticks = os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) > helper.started / ticks + 1.5


def test_right_password_logs_in_and_no_other(ejabberd: Ejabberd) -> None:
    """A user logs in with the own password and not with a wrong, an empty or another user's one."""
    assert ejabberd.check_password("juliet", DOMAIN, "juliet-secret")
    for wrong in ("wrong", "", "juliet-secret ", "romeo-secret", "*"):
        assert not ejabberd.check_password("juliet", DOMAIN, wrong)


@pytest.mark.parametrize("uid", ["nobody", "twin", "nopassword", r"juliet\20", "ju*"])
def test_who_has_no_password_does_not_log_in(ejabberd: Ejabberd, uid: str) -> None:
    """A user who is unknown, not unique, without a password or only alike does not log in."""
    for password in ("juliet-secret", "twin-a-secret", "twin-b-secret"):
        assert not ejabberd.check_password(uid, DOMAIN, password)


@pytest.mark.parametrize(
    ("user", "exists"),
    [("juliet", True), ("JULIET", True), ("nobody", False), ("twin", False), (r"juliet\20", False), ("*", False)],
)
def test_user_exists(ejabberd: Ejabberd, user: str, *, exists: bool) -> None:
    """Exactly one entry makes a user."""
    assert ejabberd.user_exists(user, DOMAIN) is exists


@pytest.mark.parametrize(("user", "uid"), ESCAPED.items(), ids=ESCAPED.values())
def test_escaped_name_is_the_directorys(ejabberd: Ejabberd, user: str, uid: str) -> None:
    """A name that a JID can't hold is found by its escaped form."""
    password = str(person(uid).password)
    assert ejabberd.user_exists(user, DOMAIN)
    assert ejabberd.check_password(user, DOMAIN, password)
    assert not ejabberd.check_password(user, DOMAIN, f"{password}x")


@pytest.mark.parametrize("who", PEOPLE_WITH_ODD_PASSWORDS, ids=lambda who: who.uid)
def test_odd_password_logs_in(ejabberd: Ejabberd, who: Person) -> None:
    """A password with colons, spaces at its ends, any Unicode or 1,000 bytes logs in, and one like it doesn't."""
    password = str(who.password)
    assert ejabberd.check_password(who.uid, DOMAIN, password)
    for wrong in {f"{password} ", password[:-1], password.partition(":")[0], password.strip()} - {password}:
        assert not ejabberd.check_password(who.uid, DOMAIN, wrong)


def test_changed_password_logs_in_at_once(ejabberd: Ejabberd, slapd: Slapd, someone: Person) -> None:
    """A new password with every kind of character reaches the directory, and the old one is of no use any more."""
    assert ejabberd.set_password(someone.uid, DOMAIN, EVERY_CHARACTER)
    assert slapd.can_bind(someone.dn, EVERY_CHARACTER)
    assert ejabberd.check_password(someone.uid, DOMAIN, EVERY_CHARACTER)
    assert not ejabberd.check_password(someone.uid, DOMAIN, EVERY_CHARACTER.strip())
    assert not ejabberd.check_password(someone.uid, DOMAIN, str(someone.password))


@pytest.mark.parametrize("password", ["short", "x"], ids=["policy", "one-byte"])
def test_refused_change_looks_like_success_and_is_none(ejabberd: Ejabberd, someone: Person, password: str) -> None:
    """A change that the directory refuses is success to ejabberd, but without its cache the old password stays."""
    assert ejabberd.set_password(someone.uid, DOMAIN, password)
    assert not ejabberd.check_password(someone.uid, DOMAIN, password)
    assert ejabberd.check_password(someone.uid, DOMAIN, str(someone.password))


def test_line_break_in_a_password_is_no_second_command(ejabberd: Ejabberd, someone: Person) -> None:
    """A password that reads like a command behind a line break changes nobody else's."""
    ejabberd.set_password(someone.uid, DOMAIN, f"{someone.password}\nsetpass:romeo:{DOMAIN}:pwned-secret\n")
    assert ejabberd.check_password("romeo", DOMAIN, "romeo-secret")
    assert not ejabberd.check_password("romeo", DOMAIN, "pwned-secret")


def test_registered_user_logs_in(ejabberd: Ejabberd, slapd: Slapd, newcomer: str) -> None:
    """A registration makes an entry with the password, once; one that the policy refuses leaves none."""
    dn = f"uid={newcomer},{PEOPLE_DN}"
    assert not ejabberd.try_register(newcomer, DOMAIN, "short")
    assert slapd.entry(dn) == {}
    assert ejabberd.try_register(newcomer, DOMAIN, "newcomer-secret")
    assert slapd.can_bind(dn, "newcomer-secret")
    assert ejabberd.check_password(newcomer, DOMAIN, "newcomer-secret")
    assert not ejabberd.try_register(newcomer, DOMAIN, "other-secret")
    assert not ejabberd.check_password(newcomer, DOMAIN, "other-secret")


def test_existing_user_is_not_registered(ejabberd: Ejabberd) -> None:
    """A registration under a name that is taken is refused, and the password stays."""
    assert not ejabberd.try_register("juliet", DOMAIN, "pwned-secret")
    assert ejabberd.check_password("juliet", DOMAIN, "juliet-secret")


def test_user_is_removed_with_the_right_password_only(ejabberd: Ejabberd, slapd: Slapd, someone: Person) -> None:
    """A removal with a wrong password removes nobody, and one with the right password the entry."""
    assert not ejabberd.remove_user(someone.uid, DOMAIN, "wrong")
    assert slapd.entry(someone.dn)
    assert ejabberd.remove_user(someone.uid, DOMAIN, str(someone.password))
    assert slapd.entry(someone.dn) == {}
    assert not ejabberd.user_exists(someone.uid, DOMAIN)


def test_user_is_removed_without_a_password(ejabberd: Ejabberd, slapd: Slapd, someone: Person) -> None:
    """A removal without a password removes the entry, and nobody where there is none."""
    ejabberd.remove_user(someone.uid, DOMAIN)
    ejabberd.remove_user("nobody", DOMAIN)
    assert slapd.entry(someone.dn) == {}
    assert not ejabberd.check_password(someone.uid, DOMAIN, str(someone.password))


def test_stopped_directory_refuses_until_it_is_back(ejabberd: Ejabberd, slapd: Slapd) -> None:
    """While the directory is down nobody logs in; once it is back everybody does, with the same helper."""
    assert ejabberd.check_password("juliet", DOMAIN, "juliet-secret")
    before = ejabberd.helpers()
    with stopped(slapd):
        assert not ejabberd.check_password("juliet", DOMAIN, "juliet-secret")
        assert not ejabberd.user_exists("juliet", DOMAIN)
    assert wait_until(lambda: ejabberd.check_password("juliet", DOMAIN, "juliet-secret"), PATIENCE)
    assert not ejabberd.check_password("juliet", DOMAIN, "wrong")
    assert ejabberd.helpers() == before


def test_hanging_directory_refuses_until_it_is_back(slapd: Slapd, tmp_path: Path) -> None:
    """While the directory hangs nobody logs in; once it is back everybody does, with the same helper."""
    config = configure(tmp_path, slapd, deadline=1.0)
    with Ejabberd([EJABBERD.program], environment={"LDAPAUTH_CONFIG": str(config)}) as node:
        assert node.check_password("juliet", DOMAIN, "juliet-secret")
        before = node.helpers()
        with hanging(slapd):
            assert not node.check_password("juliet", DOMAIN, "juliet-secret")
            assert not node.user_exists("juliet", DOMAIN)
        assert wait_until(lambda: node.check_password("juliet", DOMAIN, "juliet-secret"), PATIENCE)
        assert not node.check_password("juliet", DOMAIN, "wrong")
        assert node.helpers() == before


def test_helpers_that_are_given_up_while_the_directory_hangs_do_not_pile_up(slapd: Slapd, tmp_path: Path) -> None:
    """For each helper that does not answer there is another one, and the old one ends though it still waits."""
    config = configure(tmp_path, slapd, deadline=10 * PATIENCE)
    question = f"auth:juliet:{DOMAIN}:juliet-secret"
    with Ejabberd([EJABBERD.program], environment={"LDAPAUTH_CONFIG": str(config)}, pool_size=2) as node:

        def all_are_new(given_up: set[ProcessInfo]) -> bool:
            now = set(node.helpers())
            return len(now) == 2 and not now & given_up and all(map(old_enough, now))

        given_up: set[ProcessInfo] = set()
        assert wait_until(lambda: all_are_new(given_up), PATIENCE)
        assert node.check_password("juliet", DOMAIN, "juliet-secret")
        with hanging(slapd):
            for _ in range(2):
                given_up.update(node.helpers())
                for worker in (1, 2):
                    assert "exception" in node.ask_impatiently(worker, DOMAIN, question, 0.3)
                assert wait_until(lambda: all_are_new(given_up), PATIENCE)
            assert wait_until(lambda: not any(process_info(helper.pid) for helper in given_up), PATIENCE)
        assert len(given_up) == 4
        assert wait_until(lambda: node.check_password("juliet", DOMAIN, "juliet-secret"), PATIENCE)
        assert not node.check_password("juliet", DOMAIN, "wrong")
        assert len(node.helpers()) == 2


def test_killed_helper_is_replaced(ejabberd: Ejabberd) -> None:
    """When the helper dies ejabberd starts another, which answers right as soon as ejabberd has taken it on."""
    (helper,) = ejabberd.helpers()
    assert wait_until(lambda: old_enough(helper), PATIENCE)
    os.kill(helper.pid, signal.SIGKILL)
    assert wait_until(lambda: helper not in (now := ejabberd.helpers()) and len(now) == 1, PATIENCE)
    # The process is there a moment before ejabberd asks it; till then ejabberd itself says no.
    assert wait_until(lambda: ejabberd.check_password("juliet", DOMAIN, "juliet-secret"), PATIENCE)
    assert not ejabberd.check_password("juliet", DOMAIN, "wrong")
    assert ejabberd.check_password("juliet", DOMAIN, "juliet-secret")
    assert len(ejabberd.helpers()) == 1


def test_mended_configuration_is_found_without_a_restart(slapd: Slapd, tmp_path: Path) -> None:
    """Helpers that end because of a mistake in the configuration are started again, and find it mended."""
    config = configure(tmp_path, slapd)
    good = config.read_text()
    config.write_text("[domains")
    with Ejabberd([EJABBERD.program], environment={"LDAPAUTH_CONFIG": str(config)}) as node:
        assert wait_until(lambda: bool(node.helpers()), PATIENCE)
        first = node.helpers()
        assert not node.check_password("juliet", DOMAIN, "juliet-secret")
        assert wait_until(lambda: node.helpers() not in ([], first), PATIENCE)
        config.write_text(good)
        assert wait_until(lambda: node.check_password("juliet", DOMAIN, "juliet-secret"), PATIENCE)


def test_sighup_loses_no_login(ejabberd: Ejabberd) -> None:
    """Helpers that are told to read their configuration again while users log in stay, and answer everybody."""
    assert wait_until(lambda: all(map(old_enough, ejabberd.helpers())), PATIENCE)
    before = {helper.pid for helper in ejabberd.helpers()}
    for _ in range(10):
        for pid in before:
            os.kill(pid, signal.SIGHUP)
        assert [ejabberd.check_password("juliet", DOMAIN, word) for word in ("juliet-secret", "x") * 10] == [
            True,
            False,
        ] * 10
    assert {helper.pid for helper in ejabberd.helpers()} == before
