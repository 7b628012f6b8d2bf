"""Users who bind by a user principal name, `{user}@corp.example.com`: Active Directory without a service account."""

import pytest

from ldapauth.provider import Provider
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests.integration.table import ALIKE, FOLDED, RIGHT, AnyServer, Make, login, on, people
from tests.servers import groups, ldif
from tests.servers.people import State
from tests.servers.samba import REALM, Samba

pytestmark = pytest.mark.parametrize("name", [on("samba")])

PRINCIPAL = f"{{user}}@{REALM.lower()}"


@pytest.fixture
def provider(make: Make) -> Provider:
    """A provider without a service account."""
    return make(user_dn=PRINCIPAL, bind_dn=None, bind_password=None)


def test_everybody_logs_in_with_the_own_password_only(provider: Provider, server: AnyServer) -> None:
    """Whatever names and passwords are made of, the right password is accepted and another is not."""
    for who in people(server):
        if who.uid == "nurse":  # whose password other tests change
            continue
        assert (who.uid, login(provider, who.uid, f"{who.password}x")) == (who.uid, Verdict(Reason.WRONG_PASSWORD))
        assert (who.uid, login(provider, who.uid, who.password)) == (who.uid, ACCEPTED)


def test_domain_may_be_that_of_the_question(make: Make) -> None:
    """The domain of the name may be the virtual host's."""
    provider = make(user_dn="{user}@corp.{domain}", bind_dn=None, bind_password=None)
    assert login(provider, "juliet", "juliet-secret") == ACCEPTED


def test_name_must_be_the_exact_one(provider: Provider) -> None:
    """Case apart, only the very name logs in: no other form of a character, no spaces, no more of a name."""
    assert login(provider, "JULIET", "juliet-secret") == ACCEPTED
    more = (f"juliet@{REALM}", "CORP\\juliet", f"CN=Juliet Capulet,{Samba.people_dn}", f"cn=x@{REALM}", "", " ", "@")
    for uid in (*ALIKE, *FOLDED, *more):
        for password in ("juliet-secret", "jdoe-secret", "jose-secret"):
            assert (uid, login(provider, uid, password).accepted) == (uid, False)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.DISABLED, Reason.DISABLED),
        (State.ACCOUNT_EXPIRED, Reason.ACCOUNT_EXPIRED),
        (State.PASSWORD_EXPIRED, Reason.PASSWORD_EXPIRED),
        (State.MUST_CHANGE, Reason.MUST_CHANGE),
        (State.AT_NO_TIME, Reason.NOT_AT_THIS_TIME),
    ],
)
def test_account_in_a_state_is_refused_for_that_reason(provider: Provider, state: State, reason: Reason) -> None:
    """The reasons are those of a bind by DN."""
    assert login(provider, state.value, RIGHT) == Verdict(reason)


def test_who_must_change_the_password_stays_out(make: Make) -> None:
    """Nothing can be read after such a bind, so it can't be seen that the name is the exact one."""
    provider = make(user_dn=PRINCIPAL, bind_dn=None, bind_password=None, must_change="accept")
    assert login(provider, State.MUST_CHANGE.value, RIGHT) == Verdict(Reason.MUST_CHANGE)


def test_each_wrong_password_is_counted_once(provider: Provider, server: AnyServer) -> None:
    """After so many wrong logins the directory has counted so many."""
    dn = server.dn(State.EASILY_LOCKED.person)
    server.unlock(dn)
    assert login(provider, State.EASILY_LOCKED.value, RIGHT) == ACCEPTED
    for count in (1, 2, 3):
        login(provider, State.EASILY_LOCKED.value, "wrong")
        assert server.bad_passwords(dn) == count
    assert login(provider, State.EASILY_LOCKED.value, RIGHT) == Verdict(Reason.LOCKED)
    server.unlock(dn)


def test_who_is_not_below_the_base_dn_is_nobody(make: Make, server: AnyServer) -> None:
    """The entry is searched where users are, by the filter, so that these still say who is one."""
    elsewhere = make(user_dn=PRINCIPAL, bind_dn=None, bind_password=None, base_dn=f"CN=Users,{server.suffix}")
    assert login(elsewhere, "juliet", "juliet-secret") == Verdict(Reason.NO_SUCH_USER)
    assert login(elsewhere, "juliet", "wrong") == Verdict(Reason.WRONG_PASSWORD)


def test_groups_are_asked_about_with_the_users_own_rights(make: Make, grouped: AnyServer) -> None:
    """After the bind it is asked whether the user is in the groups."""
    required = [groups.dn("house", grouped.suffix)]
    provider = make(user_dn=PRINCIPAL, bind_dn=None, bind_password=None, required_groups=required)
    assert login(provider, "romeo", "romeo-secret") == ACCEPTED
    assert login(provider, "romeo", "wrong") == Verdict(Reason.WRONG_PASSWORD)
    assert login(provider, "colons", "a:b:c") == Verdict(Reason.NOT_IN_GROUP)


def test_principal_name_of_somebody_else_is_no_way_in(make: Make, server: AnyServer) -> None:
    """Where a name binds as one account and finds another, neither password is that of the other."""
    accounts = {"xavier": ("ghost", "xavier", "Xavier-secret-1"), "yorick": ("yorick", "ghost", "Yorick-secret-1")}
    for name, (principal, mail, password) in accounts.items():
        server.modify_ldif(
            ldif.entry(
                f"CN={name},{server.people_dn}",
                [
                    ("changetype", "add"),
                    ("objectClass", "user"),
                    ("sAMAccountName", name),
                    ("userPrincipalName", f"{principal}@{REALM.lower()}"),
                    ("mail", f"{mail}@example.com"),
                    ("userAccountControl", "512"),
                    ("unicodePwd", f'"{password}"'.encode("utf-16-le")),
                ],
            )
        )
    provider = make(user_dn=PRINCIPAL, bind_dn=None, bind_password=None, filter="(mail={user}@{domain})")
    for password in ("Xavier-secret-1", "Yorick-secret-1"):
        assert login(provider, "ghost", password) == Verdict(Reason.WRONG_PASSWORD)
    assert login(provider, "yorick", "Yorick-secret-1") == Verdict(Reason.NO_SUCH_USER)
    assert login(provider, "xavier", "Xavier-secret-1") == ACCEPTED
