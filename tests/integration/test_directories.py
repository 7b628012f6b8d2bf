"""One table of cases on every kind of directory: OpenLDAP without and with a password policy, 389 DS, Active Directory.

What is not the same everywhere stands in the tables below, by the server; docs/directories.md says why.
"""

import ipaddress
import logging
import re
from pathlib import Path

import pytest

from ldapauth.config import Server
from ldapauth.deadline import Deadline
from ldapauth.errors import ChangeRefused, DirectoryUnavailable, NotAllowed, PolicyRefusal
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests.configuration import DOMAIN
from tests.integration.table import (
    ALIKE,
    EVERYWHERE,
    FOLDED,
    KINDS,
    NEW,
    RIGHT,
    AnyServer,
    Make,
    change,
    login,
    on,
    people,
)
from tests.servers.people import State, person
from tests.servers.samba import Samba
from tests.servers.slapd import Slapd

# Right, wrong, unknown; whatever the names and passwords are made of.


@pytest.mark.parametrize("name", EVERYWHERE)
def test_everybody_logs_in_with_the_own_password_only(make: Make, server: AnyServer) -> None:
    """Whatever names and passwords are made of, the right password is accepted and another is not."""
    provider = make()
    for who in people(server):
        assert (who.uid, login(provider, who.uid, f"{who.password}x")) == (who.uid, Verdict(Reason.WRONG_PASSWORD))
        assert (who.uid, login(provider, who.uid, who.password)) == (who.uid, ACCEPTED)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_unknown_user_is_not_found(make: Make) -> None:
    """Nobody by a name is a refusal, and so is a name that would be a pattern or more of a filter."""
    provider = make()
    for uid in ("nobody", "*", "jul*", "juliet)(cn=*", "juliet\\2a"):
        assert login(provider, uid, "juliet-secret") == Verdict(Reason.NO_SUCH_USER)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_name_must_be_the_exact_one(make: Make) -> None:
    """Outer and doubled spaces, other forms of a character and accents make another name, whatever the password."""
    provider = make()
    for uid in (*ALIKE, *FOLDED):
        for password in ("juliet-secret", "jdoe-secret", "jose-secret"):
            verdict = login(provider, uid, password)
            assert (uid, verdict.reason in (Reason.OTHER_NAME, Reason.NO_SUCH_USER)) == (uid, True)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_directory_finds_names_that_are_only_alike(make: Make) -> None:
    """No kind of directory counts outer and doubled spaces: without our own look at the entry they would log in."""
    provider = make()
    for uid in ALIKE:
        assert (uid, login(provider, uid, "juliet-secret")) == (uid, Verdict(Reason.OTHER_NAME))


@pytest.mark.parametrize("name", EVERYWHERE)
def test_case_of_a_name_does_not_count(make: Make) -> None:
    """A name is the same in any case."""
    assert login(make(), "JULIET", "juliet-secret") == ACCEPTED


# Accounts that are not like any other.

REFUSED = {
    State.DISABLED: {"ppolicy": Reason.LOCKED, "ds389": Reason.DISABLED, "samba": Reason.DISABLED},
    State.ACCOUNT_EXPIRED: {
        "ppolicy": Reason.LOCKED,
        "ds389": Reason.ACCOUNT_EXPIRED,
        "samba": Reason.ACCOUNT_EXPIRED,
    },
    State.PASSWORD_EXPIRED: dict.fromkeys(("ppolicy", "ds389", "samba"), Reason.PASSWORD_EXPIRED),
    State.MUST_CHANGE: dict.fromkeys(("ppolicy", "ds389", "samba"), Reason.MUST_CHANGE),
    State.AT_NO_TIME: {"samba": Reason.NOT_AT_THIS_TIME},
    State.FROM_ELSEWHERE: {"samba": Reason.NOT_FROM_HERE},
}
# Where these servers do not look at the password first.
WHATEVER_THE_PASSWORD = {
    ("ppolicy", State.DISABLED),
    ("ppolicy", State.ACCOUNT_EXPIRED),
    ("ds389", State.DISABLED),
    ("ds389", State.ACCOUNT_EXPIRED),
}


@pytest.mark.parametrize(
    ("name", "state", "reason"),
    [on(name, state, reason) for state, reasons in REFUSED.items() for name, reason in reasons.items()],
)
def test_account_in_a_state_is_refused_for_that_reason(make: Make, name: str, state: State, reason: Reason) -> None:
    """Disabled, expired, to be changed: each is refused and named, with the right password and not with a wrong one."""
    provider = make()
    wrong = reason if (name, state) in WHATEVER_THE_PASSWORD else Reason.WRONG_PASSWORD
    assert login(provider, state.value, RIGHT) == Verdict(reason)
    assert login(provider, state.value, "wrong") == Verdict(wrong)


@pytest.mark.parametrize("name", [on("ppolicy"), on("ds389"), on("samba")])
def test_who_must_change_the_password_may_be_let_in(make: Make) -> None:
    """With `must_change = "accept"` the right password of such an account is accepted, and nothing else is."""
    provider = make(must_change="accept")
    assert login(provider, State.MUST_CHANGE.value, RIGHT) == Verdict(notice="the password must be changed")
    assert login(provider, State.MUST_CHANGE.value, "wrong") == Verdict(Reason.WRONG_PASSWORD)
    assert login(provider, State.PASSWORD_EXPIRED.value, RIGHT) == Verdict(Reason.PASSWORD_EXPIRED)
    assert login(provider, "juliet", "juliet-secret") == ACCEPTED


NAMED_BY = {"ppolicy": "uid={{user}},{people}", "ds389": "uid={{user}},{people}", "samba": "CN=Ms {{user}},{people}"}


@pytest.mark.parametrize("name", [on("ppolicy"), on("ds389"), on("samba")])
def test_users_bind_without_a_search(make: Make, server: AnyServer, name: str) -> None:
    """With a DN template it is the same, but that where nothing can be read after the bind, it stays a no."""
    template = NAMED_BY[name].format(people=server.people_dn)
    changes = {"user_dn": template, "base_dn": None, "bind_dn": None, "bind_password": None}
    assert login(make(**changes), State.MUST_CHANGE.value, RIGHT) == Verdict(Reason.MUST_CHANGE)
    verdict = login(make(**changes, must_change="accept"), State.MUST_CHANGE.value, RIGHT)
    assert verdict.accepted == (name != "samba")
    assert login(make(**changes), State.EASILY_LOCKED.value, "wrong") == Verdict(Reason.WRONG_PASSWORD)
    assert login(make(**changes), State.EASILY_LOCKED.value, RIGHT) == ACCEPTED


@pytest.mark.parametrize(
    ("name", "state", "notice"),
    [
        *(on(name, State.GRACE, "has expired, and this many more logins are left: ") for name in ("ppolicy", "ds389")),
        on("ppolicy", State.EXPIRES_SOON, "expires in 1[12]"),
        on("ds389", State.EXPIRES_SOON, "expires in 24"),  # which begin with the first login that warns
    ],
)
def test_accepted_login_says_what_is_coming(
    make: Make, state: State, notice: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A password that expires soon, or has and is let in by grace, is accepted, and the log says so."""
    with caplog.at_level(logging.INFO):
        verdict = login(make(), state.value, RIGHT)
    assert verdict.accepted
    assert re.search(notice, verdict.notice)
    assert f'verdict=accepted detail="{verdict.notice}"' in caplog.messages[-1]


# Each wrong password is counted once.


@pytest.mark.parametrize("name", [on("ppolicy"), on("ds389"), on("samba")])
@pytest.mark.parametrize("ttl", [0, 60], ids=["searched", "remembered"])
def test_each_wrong_password_is_counted_once(make: Make, server: AnyServer, ttl: int) -> None:
    """After so many wrong logins the directory has counted so many, and at the third it locks the account."""
    dn = server.dn(State.EASILY_LOCKED.person)
    server.unlock(dn)
    provider = make(dn_cache_ttl=ttl)
    assert login(provider, State.EASILY_LOCKED.value, RIGHT) == ACCEPTED
    for count in (1, 2, 3):
        verdict = login(provider, State.EASILY_LOCKED.value, "wrong")
        assert not verdict.accepted
        assert server.bad_passwords(dn) == count
    assert login(provider, State.EASILY_LOCKED.value, RIGHT) == Verdict(Reason.LOCKED)
    assert server.bad_passwords(dn) == 3


@pytest.mark.parametrize("name", [on("ppolicy"), on("ds389"), on("samba")])
def test_wrong_password_on_a_dead_connection_is_counted_once(make: Make, server: AnyServer) -> None:
    """A login that finds its kept connection dead is asked on a fresh one, and counted once."""
    dn = server.dn(State.EASILY_LOCKED.person)
    server.unlock(dn)
    provider = make()
    assert login(provider, State.EASILY_LOCKED.value, RIGHT) == ACCEPTED
    server.restart()
    assert login(provider, State.EASILY_LOCKED.value, "wrong") == Verdict(Reason.WRONG_PASSWORD)
    assert server.bad_passwords(dn) == 1


# Kept connections.


@pytest.mark.parametrize("name", EVERYWHERE)
def test_one_connection_binds_one_user_after_another(make: Make, server: AnyServer, name: str) -> None:
    """However logins end, one kept connection serves them all, and none is taken for the one before."""
    provider = make(must_change="accept")
    before = connections(server)
    states = [] if name == "slapd" else [State.MUST_CHANGE, State.PASSWORD_EXPIRED]
    for _ in range(2):
        for uid, password in (("juliet", "juliet-secret"), ("romeo", "romeo-secret")):
            assert login(provider, uid, "wrong") == Verdict(Reason.WRONG_PASSWORD)
            assert login(provider, uid, password) == ACCEPTED
            for state in states:
                login(provider, state.value, RIGHT)
    assert len(connections(server) - before) == 2  # one to search and one to bind


def connections(server: AnyServer) -> set[str]:
    """The open connections to the server, by the address and port that each comes from."""
    url = Server.parse(server.url if isinstance(server, Slapd) else server.ldaps_url)
    address = ipaddress.ip_address("127.0.0.1" if url.host == "localhost" else url.host)
    peer = f"{int.from_bytes(address.packed[::-1]):08X}:{url.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return {row[1] for row in rows if row[2] == peer and row[3] == "01"}  # TCP_ESTABLISHED


@pytest.mark.parametrize("name", [on("ds389"), on("samba")])
def test_start_tls_does_as_well(make: Make, server: AnyServer) -> None:
    """Over StartTLS everything is as over LDAPS, verified certificates included."""
    provider = make(servers=[server.url], start_tls=True)
    assert login(provider, "juliet", "juliet-secret") == ACCEPTED
    assert login(provider, "juliet", "wrong") == Verdict(Reason.WRONG_PASSWORD)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_whole_tree_can_be_searched(make: Make, server: AnyServer) -> None:
    """With the suffix for a base DN, what an Active Directory refers to elsewhere is passed over."""
    assert login(make(base_dn=server.suffix), "juliet", "juliet-secret") == ACCEPTED


# The kind of directory.


@pytest.mark.parametrize("name", EVERYWHERE)
def test_kind_is_recognised_and_asked_for_once(make: Make, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Left to `auto`, a server is recognised by its root DSE at the first question and never asked again."""
    provider = make(directory=None)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert login(provider, "juliet", "juliet-secret") == ACCEPTED
    recognised = [message for message in caplog.messages if message.startswith("event=directory ")]
    assert len(recognised) == 1
    assert f" kind={KINDS[name]} " in recognised[0]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_nothing_is_asked_about_the_kind_when_nothing_depends_on_it(
    make: Make, server: AnyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With a filter in the configuration a login needs no root DSE."""
    uid = "sAMAccountName" if isinstance(server, Samba) else "uid"
    provider = make(directory=None, filter=f"({uid}={{user}})")
    with caplog.at_level(logging.INFO):
        assert login(provider, "juliet", "juliet-secret") == ACCEPTED
    assert "event=directory" not in caplog.text


@pytest.mark.parametrize(
    ("name", "state"),
    [
        *(on(name, State.DISABLED) for name in ("ppolicy", "ds389", "samba")),
        *(on(name, State.ACCOUNT_EXPIRED) for name in ("ppolicy", "samba")),
    ],
)
@pytest.mark.parametrize("directory", ["named", "recognised"])
def test_inactive_account_has_no_certificates(make: Make, name: str, state: State, directory: str) -> None:
    """Where nothing binds, as with a certificate, the directory is asked whether the account may be used at all."""
    provider = make(directory=KINDS[name] if directory == "named" else None)
    with pytest.raises(ChangeRefused, match="whatever the password"):
        provider.certificates(state.value, DOMAIN, Deadline.after(20))
    assert provider.check_certificate(state.value, DOMAIN, "", Deadline.after(20)) == Verdict(Reason.NOT_PERMITTED)
    assert provider.certificates("juliet", DOMAIN, Deadline.after(20)) == []
    assert make(inactive="").certificates(state.value, DOMAIN, Deadline.after(20)) == []


# New passwords.


@pytest.mark.parametrize("name", EVERYWHERE)
@pytest.mark.parametrize("directory", ["named", "recognised"])
def test_new_password_replaces_the_old_one(make: Make, server: AnyServer, name: str, directory: str) -> None:
    """A password that is set logs in from then on, and the one before does not."""
    provider = make(directory=KINDS[name] if directory == "named" else None)
    fresh = [f"{password}-{directory}" for password in NEW]
    old = None
    for new in fresh:
        change(provider, "nurse", new)
        assert login(provider, "nurse", new) == ACCEPTED
        assert old is None or login(provider, "nurse", old) == Verdict(Reason.WRONG_PASSWORD)
        old = new
    stored = server.entry(server.dn(person("nurse")), "userPassword").get("userPassword", [])
    assert not any(password.encode() in value for value in stored for password in fresh)


SHORT, SIMPLE, NAMED = "Ab-1", "abcdefghijk", "Montague-1595"
NEEDED = "the password is too short: it needs at least 8 characters"
REFUSALS = {
    SHORT: {"ppolicy": "the password is too short", "ds389": NEEDED, "samba": NEEDED},
    SIMPLE: {
        "ds389": "the password is too simple: it needs characters of at least 3 kinds"
        " (digits, upper case, lower case, others)",
        "samba": "the password is too simple",
    },
    NAMED: {"ds389": "the password is too much like the name, or something else in the entry"},
}


@pytest.mark.parametrize(
    ("name", "password", "sentence"),
    [on(name, password, said) for password, refusals in REFUSALS.items() for name, said in refusals.items()],
)
def test_refused_password_changes_nothing_and_says_why(make: Make, password: str, sentence: str) -> None:
    """What the policy does not like is refused with a sentence of ours, and the old password stays."""
    provider = make()
    with pytest.raises(PolicyRefusal) as caught:
        change(provider, "romeo", password)
    assert str(caught.value) == sentence
    assert login(provider, "romeo", password) == Verdict(Reason.WRONG_PASSWORD)
    assert login(provider, "romeo", "romeo-secret") == ACCEPTED


@pytest.mark.parametrize("name", [on("ppolicy"), on("ds389")])
def test_password_in_history_is_refused(make: Make) -> None:
    """One of the last passwords is not taken again."""
    provider = make()
    for password in ("Einmal-Losung-1", "Einmal-Losung-2"):
        change(provider, State.EXPIRES_SOON.value, password)
    with pytest.raises(PolicyRefusal, match=r"^the password has been used before$"):
        change(provider, State.EXPIRES_SOON.value, "Einmal-Losung-1")
    assert login(provider, State.EXPIRES_SOON.value, "Einmal-Losung-2") == ACCEPTED


@pytest.mark.parametrize("name", [on("samba")])
def test_samba_resets_to_a_password_in_history(make: Make) -> None:
    """Samba looks at the last passwords only when users change their own, so to it this one is new."""
    provider = make()
    for password in ("Einmal-Losung-1", "Einmal-Losung-2", "Einmal-Losung-1"):
        change(provider, State.EXPIRES_SOON.value, password)
        assert login(provider, State.EXPIRES_SOON.value, password) == ACCEPTED


@pytest.mark.parametrize("name", [on("ppolicy")])
def test_password_that_is_too_young_stays(make: Make) -> None:
    """Where a password must be kept for a time, it is not changed before."""
    with pytest.raises(PolicyRefusal, match=r"^the password was changed too recently$"):
        change(make(), State.TOO_YOUNG.value, NEW[0])


@pytest.mark.parametrize("name", EVERYWHERE)
def test_service_account_without_the_right_is_told_so(make: Make, server: AnyServer) -> None:
    """A service account that may only read sets no password, and the sentence says that it is the rights."""
    provider = make(bind_dn=server.reader_dn, bind_password=server.reader_password)
    with pytest.raises(NotAllowed, match="insufficient access rights"):
        change(provider, "juliet", NEW[0])
    assert login(provider, "juliet", "juliet-secret") == ACCEPTED


@pytest.mark.parametrize("name", [on("samba")])
def test_active_directory_takes_no_password_in_clear(make: Make, server: AnyServer) -> None:
    """Without TLS an Active Directory takes no password at all, and that is no answer, not a wrong password."""
    provider = make(servers=[server.url])
    with pytest.raises(DirectoryUnavailable, match="result 8"):
        login(provider, "juliet", "juliet-secret")


@pytest.mark.parametrize("name", [on("slapd")])
def test_password_for_an_active_directory_is_not_sent_in_clear(make: Make, server: AnyServer) -> None:
    """Active Directory's way is taken over TLS or a Unix socket only, and nothing is sent over anything else."""
    with pytest.raises(NotAllowed, match="over TLS only: use ldaps://, or start_tls = true"):
        change(make(password_change="ad"), "juliet", NEW[0])
    assert isinstance(server, Slapd)
    with pytest.raises(NotAllowed, match="schema"):  # it was sent, to a server that does not have the attribute
        change(make(password_change="ad", servers=[server.ldapi_url]), "juliet", NEW[0])
