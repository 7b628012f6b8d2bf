"""Where users are searched, and by what: on every kind of directory."""

from typing import Any

import pytest

from ldapauth.deadline import Deadline
from ldapauth.errors import DirectoryUnavailable
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests.integration.table import EVERYWHERE, RIGHT, AnyServer, Make, login, on
from tests.servers import ldif
from tests.servers.people import person
from tests.servers.samba import Samba
from tests.servers.slapd import Slapd

NOBODY = Verdict(Reason.NO_SUCH_USER)
AMBIGUOUS = Verdict(Reason.AMBIGUOUS)


@pytest.fixture
def guests(server: AnyServer) -> str:
    """The DN below which there are benvolio, and another juliet, named by their cn."""
    unit = f"ou=guests,{server.suffix}"
    if not server.entry(unit):
        entries = [ldif.entry(unit, [("changetype", "add"), ("objectClass", "organizationalUnit")])]
        entries += [_guest(server, unit, "benvolio", RIGHT), _guest(server, unit, "juliet", "Other-Guess-1")]
        server.modify_ldif("".join(entries))
    return unit


def _guest(server: AnyServer, unit: str, cn: str, password: str) -> str:
    attributes: list[tuple[str, str | bytes]] = [("changetype", "add"), ("cn", cn), ("sn", "Guest")]
    if isinstance(server, Samba):
        secret = f'"{password}"'.encode("utf-16-le")
        attributes += [("objectClass", "user"), ("sAMAccountName", f"guest-{cn}"), ("userAccountControl", "512")]
        attributes += [("unicodePwd", secret)]
    else:
        attributes += [("objectClass", "inetOrgPerson"), ("uid", f"guest-{cn}"), ("userPassword", password)]
    return ldif.entry(f"cn={cn},{unit}", attributes)


def in_places(make: Make, *places: dict[str, Any]) -> Any:
    """A provider that searches in places."""
    return make(base_dn=None, search=list(places))


@pytest.mark.parametrize("name", EVERYWHERE)
def test_users_are_in_several_places(make: Make, server: AnyServer, guests: str) -> None:
    """Whoever is in one of the places logs in, by the filter of that place; whoever is in two is ambiguous."""
    people, others = {"base_dn": server.people_dn}, {"base_dn": guests, "scope": "one", "filter": "(cn={user})"}
    for provider in (in_places(make, people, others), in_places(make, others, people)):
        assert login(provider, "romeo", "romeo-secret") == ACCEPTED
        assert login(provider, "romeo", "wrong") == Verdict(Reason.WRONG_PASSWORD)
        assert login(provider, "benvolio", RIGHT) == ACCEPTED
        assert login(provider, "guest-benvolio", RIGHT) == NOBODY
        assert login(provider, "nobody", RIGHT) == NOBODY
        for password in ("juliet-secret", "Other-Guess-1"):
            assert login(provider, "juliet", password) == AMBIGUOUS
        assert provider.user_exists("juliet", "example.com", Deadline.after(20)) == AMBIGUOUS
        for alike in ("romeo ", r"benvolio\20"):
            assert login(provider, alike, "romeo-secret") == Verdict(Reason.OTHER_NAME)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_entry_that_two_places_have_in_common_is_one(make: Make, server: AnyServer) -> None:
    """Where places overlap, an entry in both is still exactly one."""
    provider = in_places(make, {"base_dn": server.suffix}, {"base_dn": server.people_dn, "scope": "one"})
    assert login(provider, "juliet", "juliet-secret") == ACCEPTED


@pytest.mark.parametrize("name", EVERYWHERE)
def test_place_that_can_not_be_asked_leaves_no_answer(make: Make, server: AnyServer) -> None:
    """While one of the places can't be searched nobody can be found to be the only one, and nobody to be unknown."""
    provider = in_places(make, {"base_dn": server.people_dn}, {"base_dn": f"ou=nowhere,{server.suffix}"})
    for uid in ("juliet", "nobody"):
        with pytest.raises(DirectoryUnavailable, match="there is no ou=nowhere"):
            login(provider, uid, "juliet-secret")


@pytest.mark.parametrize("name", EVERYWHERE)
def test_login_by_one_of_several_attributes(make: Make, server: AnyServer) -> None:
    """A filter may ask for one attribute or another, and whichever matches must have the exact name."""
    uid = "sAMAccountName" if isinstance(server, Samba) else "uid"
    provider = make(filter=f"(|({uid}={{user}})(mail={{user}}))")
    for login_name in ("juliet", "JULIET", "juliet@example.com", r"juliet\40example.com", "Juliet@Example.Com"):
        assert (login_name, login(provider, login_name, "juliet-secret")) == (login_name, ACCEPTED)
        assert login(provider, login_name, "wrong") == Verdict(Reason.WRONG_PASSWORD)
    for login_name in ("juliet@example.com ", r"\20juliet\40example.com", "juliet "):
        assert (login_name, login(provider, login_name, "juliet-secret")) == (login_name, Verdict(Reason.OTHER_NAME))
    for login_name in ("juliet@example.org", "\uff4auliet@example.com", "j*@example.com"):
        verdict = login(provider, login_name, "juliet-secret")
        assert (login_name, verdict.reason in (Reason.OTHER_NAME, Reason.NO_SUCH_USER)) == (login_name, True)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_domain_has_a_part_of_the_directory(make: Make, server: AnyServer) -> None:
    """With the domain's DN in the base DN, each domain has its own users, and one that is not there has none."""
    provider = make("*", base_dn=server.people_dn.lower().replace("dc=example,dc=com", "{dc}"))
    soon = Deadline.after(20)
    assert provider.check_password("juliet", "example.com", "juliet-secret", soon) == ACCEPTED
    assert provider.check_password("juliet", "EXAMPLE.COM", "juliet-secret", soon) == ACCEPTED
    for domain in ("example.org", "example", "a..b", "example.com,dc=com", "com"):
        assert (domain, provider.check_password("juliet", domain, "juliet-secret", soon)) == (domain, NOBODY)


@pytest.mark.parametrize("name", [on("slapd"), on("ppolicy"), on("ds389")])
def test_domain_in_a_template_of_users(make: Make) -> None:
    """The domain's DN may stand in the users' DN, too."""
    provider = make("*", user_dn="uid={user},ou=people,{dc}", base_dn=None)
    soon = Deadline.after(20)
    assert provider.check_password("o,reilly", "example.com", "oreilly-secret", soon) == ACCEPTED
    assert not provider.check_password("o,reilly", "example.org", "oreilly-secret", soon).accepted


@pytest.mark.parametrize("name", [on("slapd")])
def test_aliases_are_not_followed(make: Make, server: AnyServer) -> None:
    """An alias (RFC 4512 2.6) of a user's entry is not the user, below a base DN or as one."""
    assert isinstance(server, Slapd)
    unit, alias = f"ou=friends,{server.suffix}", [("objectClass", "alias"), ("objectClass", "extensibleObject")]
    juliet = server.dn(person("juliet"))
    server.modify_ldif(
        ldif.entry(unit, [("changetype", "add"), ("objectClass", "organizationalUnit")])
        + ldif.entry(f"cn=alias,{unit}", [("changetype", "add"), *alias, ("aliasedObjectName", juliet)])
        + ldif.entry(f"uid=capulet,{unit}", [("changetype", "add"), *alias, ("aliasedObjectName", juliet)])
    )
    assert len(server.found_through_aliases(unit, "(uid=juliet)")) == 1
    provider = make(base_dn=unit)
    assert login(provider, "juliet", "juliet-secret") == NOBODY
    assert not login(provider, "capulet", "juliet-secret").accepted
    as_base = make(base_dn=f"uid=capulet,{unit}", filter="(cn={user})")
    assert login(as_base, "Juliet Capulet", "juliet-secret") == NOBODY
