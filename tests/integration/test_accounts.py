"""Accounts that are made and removed: on every kind of directory."""

from collections.abc import Iterator

import pytest

from ldapauth.deadline import Deadline
from ldapauth.errors import ChangeRefused, NoSuchUser, NotAllowed, PolicyRefusal, UserExists, WrongPassword
from ldapauth.provider import Provider
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests.configuration import DOMAIN
from tests.integration.table import EVERYWHERE, KINDS, NEW, RIGHT, AnyServer, Make, change, login, on
from tests.servers.samba import Samba

NOBODY = Verdict(Reason.NO_SUCH_USER)


def register(provider: Provider, uid: str, password: str = RIGHT) -> None:
    """Makes an account."""
    provider.register(uid, DOMAIN, password, Deadline.after(20))


def remove(provider: Provider, uid: str, password: str | None = None) -> None:
    """Removes an account."""
    provider.remove_user(uid, DOMAIN, Deadline.after(20), password=password)


def exists(provider: Provider, uid: str) -> Verdict:
    """Whether there is such a user."""
    return provider.user_exists(uid, DOMAIN, Deadline.after(20))


@pytest.fixture
def provider(make: Make) -> Iterator[Provider]:
    """A provider whose account `newcomer` is gone afterwards."""
    made = make()
    yield made
    if exists(made, "newcomer") != NOBODY:
        remove(made, "newcomer")


@pytest.mark.parametrize("name", EVERYWHERE)
@pytest.mark.parametrize("directory", ["named", "recognised"])
def test_account_comes_and_goes(make: Make, name: str, directory: str) -> None:
    """An account that is made logs in at once, takes a new password, and is gone when it was removed."""
    provider = make(directory=KINDS[name] if directory == "named" else None)
    uid = f"newcomer-{directory[:5]}"
    register(provider, uid)
    assert login(provider, uid, RIGHT) == ACCEPTED
    assert login(provider, uid, "wrong") == Verdict(Reason.WRONG_PASSWORD)
    with pytest.raises(UserExists):
        register(provider, uid)
    change(provider, uid, NEW[0])
    assert login(provider, uid, NEW[0]) == ACCEPTED
    remove(provider, uid)
    assert exists(provider, uid) == NOBODY
    with pytest.raises(NoSuchUser):
        remove(provider, uid)


NAMES = ["n'ewcomer", "new comer", "new#comer", "new(comer)"]
NOT_IN_AN_ACTIVE_DIRECTORY = ["new,comer", "new+comer", r"new\comer", "new*comer", 'new"comer', "new@comer"]
NOT_ASCII = "n\u00e9wcomer"


@pytest.mark.parametrize("name", EVERYWHERE)
def test_account_with_any_name(make: Make, name: str) -> None:
    """Whatever a new name is made of, the account is that user's and no other's."""
    provider = make()
    more = [] if name == "samba" else NOT_IN_AN_ACTIVE_DIRECTORY
    for uid in (*NAMES, *more, *([] if name == "ds389" else [NOT_ASCII])):
        register(provider, uid)
        assert (uid, login(provider, uid, RIGHT)) == (uid, ACCEPTED)
        with pytest.raises(UserExists):
            register(provider, uid)
        remove(provider, uid)
        assert exists(provider, uid) == NOBODY


@pytest.mark.parametrize("name", [on("samba")])
def test_name_that_active_directory_has_no_room_for(make: Make) -> None:
    """What can't be an account's name there makes no account, though Samba would take some of it."""
    provider = make()
    for uid in (*NOT_IN_AN_ACTIVE_DIRECTORY, "newcomer-with-a-long-name"):
        with pytest.raises(NotAllowed, match="20 characters at most"):
            register(provider, uid)
        assert exists(provider, uid) == NOBODY


@pytest.mark.parametrize("name", [on("ds389")])
def test_name_that_389_ds_has_no_room_for(make: Make) -> None:
    """It takes no uid with other characters than those of ASCII, with its plug-in 7-bit check, which is on."""
    provider = make()
    with pytest.raises(PolicyRefusal):
        register(provider, NOT_ASCII)
    assert exists(provider, NOT_ASCII) == NOBODY


@pytest.mark.parametrize("name", EVERYWHERE)
def test_name_that_is_only_alike_is_taken(make: Make) -> None:
    """Nobody gets an account whose name a directory takes for another one's."""
    provider = make()
    for uid in ("juliet ", "JULIET", r"\20juliet", "j  doe"):
        with pytest.raises(UserExists):
            register(provider, uid)


@pytest.mark.parametrize("name", [on("ppolicy"), on("ds389"), on("samba")])
@pytest.mark.parametrize("way", ["auto", "extended"])
def test_account_whose_password_is_refused_does_not_stay(provider: Provider, make: Make, name: str, way: str) -> None:
    """Where the policy does not like the password, nothing is left of the account, however the password is set."""
    if name == "samba" and way == "extended":
        way = "ad"  # it has no other
    with pytest.raises(PolicyRefusal, match=r"^the password is too (short|simple)"):
        register(make(password_change=way), "newcomer", "Ab-1")
    assert exists(provider, "newcomer") == NOBODY
    register(provider, "newcomer")
    assert login(provider, "newcomer", RIGHT) == ACCEPTED


@pytest.mark.parametrize("name", [on("samba")])
def test_new_account_of_an_active_directory(provider: Provider, server: AnyServer) -> None:
    """It is enabled, and has both of the names that are used there."""
    register(provider, "newcomer")
    names = ("sAMAccountName", "userPrincipalName", "userAccountControl")
    found = server.entry(f"CN=newcomer,{server.people_dn}", *names)
    assert [found[name] for name in names] == [[b"newcomer"], [b"newcomer@example.com"], [b"512"]]


@pytest.mark.parametrize("name", EVERYWHERE)
def test_account_is_removed_only_with_its_password(provider: Provider) -> None:
    """Where a password comes with the question, it must be the account's."""
    register(provider, "newcomer")
    for password in ("wrong", ""):
        with pytest.raises(WrongPassword):
            remove(provider, "newcomer", password)
    assert exists(provider, "newcomer") == ACCEPTED
    remove(provider, "newcomer", RIGHT)
    assert exists(provider, "newcomer") == NOBODY


@pytest.mark.parametrize("name", EVERYWHERE)
def test_service_account_without_the_right_makes_and_removes_nothing(make: Make, server: AnyServer) -> None:
    """A service account that may only read is told that it is the rights."""
    provider = make(bind_dn=server.reader_dn, bind_password=server.reader_password)
    with pytest.raises(NotAllowed, match="insufficient access rights"):
        register(provider, "newcomer")
    assert exists(provider, "newcomer") == NOBODY
    with pytest.raises(NotAllowed, match="insufficient access rights"):
        remove(provider, "juliet")
    assert exists(provider, "juliet") == ACCEPTED


DISABLED = {"ppolicy": Reason.LOCKED, "ds389": Reason.DISABLED, "samba": Reason.DISABLED}


@pytest.mark.parametrize(("name", "reason"), [on(name, reason) for name, reason in DISABLED.items()])
@pytest.mark.parametrize("directory", ["named", "recognised"])
def test_account_is_switched_off_instead(
    provider: Provider, make: Make, name: str, reason: Reason, directory: str
) -> None:
    """With `remove = "disable"` the entry stays, nobody logs in with it, and the name is not free."""
    disabling = make(remove="disable", directory=KINDS[name] if directory == "named" else None)
    register(provider, "newcomer")
    with pytest.raises(WrongPassword):
        remove(disabling, "newcomer", "wrong")
    assert login(provider, "newcomer", RIGHT) == ACCEPTED
    remove(disabling, "newcomer", RIGHT)
    assert login(provider, "newcomer", RIGHT) == Verdict(reason)
    assert exists(provider, "newcomer") == ACCEPTED
    with pytest.raises(UserExists):
        register(provider, "newcomer")
    with pytest.raises(ChangeRefused, match="whatever the password"):
        provider.certificates("newcomer", DOMAIN, Deadline.after(20))
    remove(disabling, "newcomer")  # and once more


@pytest.mark.parametrize("name", [on("samba")])
def test_switching_off_leaves_the_other_bits(provider: Provider, make: Make, server: AnyServer) -> None:
    """Whatever else the number says of an account stays."""
    assert isinstance(server, Samba)
    register(provider, "newcomer")
    dn = f"CN=newcomer,{server.people_dn}"
    server.modify_ldif(f"dn: {dn}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 66048\n")
    remove(make(remove="disable"), "newcomer")
    assert server.entry(dn, "userAccountControl")["userAccountControl"] == [b"66050"]


@pytest.mark.parametrize("name", [on("slapd")])
def test_what_a_directory_does_not_have_is_said(provider: Provider, make: Make) -> None:
    """Without a password policy OpenLDAP has no way to switch an account off, and nothing is done."""
    register(provider, "newcomer")
    with pytest.raises(NotAllowed, match="the directory does not know pwdAccountLockedTime"):
        remove(make(remove="disable"), "newcomer")
    assert login(provider, "newcomer", RIGHT) == ACCEPTED


@pytest.mark.parametrize("name", [on("ppolicy"), on("ds389"), on("samba")])
def test_service_account_without_the_right_switches_nothing_off(
    provider: Provider, make: Make, server: AnyServer
) -> None:
    """A service account that may only read is told so."""
    register(provider, "newcomer")
    reader = make(remove="disable", bind_dn=server.reader_dn, bind_password=server.reader_password)
    with pytest.raises(NotAllowed, match="insufficient access rights"):
        remove(reader, "newcomer")
    assert login(provider, "newcomer", RIGHT) == ACCEPTED
