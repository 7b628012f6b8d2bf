"""Who may log in, by the groups that they are in: on every kind of directory, by every way that it has."""

import pytest

from ldapauth.deadline import Deadline
from ldapauth.errors import DirectoryUnavailable, NoSuchUser, UserExists
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests.configuration import DOMAIN
from tests.integration.table import EVERYWHERE, KINDS, RIGHT, AnyServer, Make, login, on, people
from tests.servers.groups import ODD, POSIX, dn
from tests.servers.people import PEOPLE_WITH_ODD_NAMES, State, person

NOT_IN_GROUP = Verdict(Reason.NOT_IN_GROUP)

# Who is in none of the groups but those that are in each other.
FORM = person("form").password

UNIQUE = "ou=unique,ou=groups"

WAYS = {
    "slapd": ["auto", "member", "uniqueMember"],
    "ppolicy": ["auto", "member", "uniqueMember", "memberOf"],
    "ds389": ["auto", "member", "uniqueMember", "memberOf"],
    "samba": ["auto", "chain", "member", "memberOf"],
}
EACH_WAY = [on(name, way) for name, ways in WAYS.items() for way in ways]
# Where memberOf says nothing of a group in a group.
FLAT = {("ppolicy", "memberOf"), ("samba", "memberOf")}


def group(server: AnyServer, name: str, way: str = "auto") -> str:
    """The DN of a group, as it is for a way to ask about it."""
    return dn(name, server.suffix, UNIQUE if way == "uniqueMember" else "ou=groups")


@pytest.mark.parametrize(("name", "way"), EACH_WAY)
@pytest.mark.parametrize("directory", ["named", "recognised"])
def test_only_members_log_in(make: Make, grouped: AnyServer, name: str, way: str, directory: str) -> None:
    """A member of a required group logs in with the right password, and nobody else does with any."""
    kind = KINDS[name] if directory == "named" else None
    provider = make(directory=kind, required_groups=[group(grouped, "house", way)], group_membership=way)
    assert login(provider, "juliet", "juliet-secret") == ACCEPTED
    assert login(provider, "juliet", "wrong") == Verdict(Reason.WRONG_PASSWORD)
    for password in (FORM, "wrong"):
        assert login(provider, "form", password) == NOT_IN_GROUP
    assert login(provider, "nobody", "wrong") == Verdict(Reason.NO_SUCH_USER)


@pytest.mark.parametrize(("name", "way"), EACH_WAY)
def test_groups_in_groups_count(make: Make, grouped: AnyServer, name: str, way: str) -> None:
    """Whoever is in a group of a group of a required group is in it, where the directory or this program follows it."""
    provider = make(required_groups=[group(grouped, "house", way)], group_membership=way)
    nested = NOT_IN_GROUP if (name, way) in FLAT else ACCEPTED
    assert login(provider, "romeo", "romeo-secret") == nested
    provider = make(required_groups=[group(grouped, "cellar", way)], group_membership=way)
    assert login(provider, "romeo", "romeo-secret") == ACCEPTED
    assert login(provider, "juliet", "juliet-secret") == NOT_IN_GROUP


@pytest.mark.parametrize(("name", "way"), EACH_WAY)
def test_any_of_the_groups_will_do(make: Make, grouped: AnyServer, way: str) -> None:
    """Of several required groups one is enough, wherever it stands in the list."""
    both = [group(grouped, "house", way), group(grouped, "cellar", way)]
    for required in (both, both[::-1]):
        provider = make(required_groups=required, group_membership=way)
        assert login(provider, "romeo", "romeo-secret") == ACCEPTED
        assert login(provider, "juliet", "juliet-secret") == ACCEPTED
        assert login(provider, "form", FORM) == NOT_IN_GROUP


@pytest.mark.parametrize(("name", "way"), EACH_WAY)
def test_names_of_every_kind_are_members(make: Make, grouped: AnyServer, way: str) -> None:
    """Whatever names of people and groups are made of, who is in a group is found to be, and nobody else."""
    provider = make(required_groups=[group(grouped, ODD, way)], group_membership=way)
    for who in people(grouped):
        expected = ACCEPTED if who in PEOPLE_WITH_ODD_NAMES else NOT_IN_GROUP
        assert (who.uid, login(provider, who.uid, who.password)) == (who.uid, expected)


@pytest.mark.parametrize(("name", "way"), [case for case in EACH_WAY if case.values[1] != "uniqueMember"])
def test_groups_that_hold_each_other_come_to_an_end(make: Make, grouped: AnyServer, name: str, way: str) -> None:
    """A circle of groups is followed once, to a yes or a no."""
    nested = ACCEPTED if (name, way) not in FLAT else NOT_IN_GROUP
    provider = make(required_groups=[group(grouped, "circle")], group_membership=way)
    assert login(provider, "form", FORM) == nested
    assert login(provider, "juliet", "juliet-secret") == NOT_IN_GROUP
    provider = make(required_groups=[group(grouped, "house")], group_membership=way)
    assert login(provider, "form", FORM) == NOT_IN_GROUP


@pytest.mark.parametrize("name", [on("slapd"), on("ppolicy"), on("ds389")])
def test_groups_may_know_members_by_their_login_names(make: Make, grouped: AnyServer) -> None:
    """With `memberUid` it is the entry's uid that counts, however the user was found."""
    changes = {"required_groups": [group(grouped, POSIX)], "group_membership": "memberUid"}
    for provider in (make(**changes), make(**changes, filter="(|(uid={user})(mail={user}))")):
        assert login(provider, "juliet", "juliet-secret") == ACCEPTED
        assert login(provider, "JULIET", "juliet-secret") == ACCEPTED
        assert login(provider, "d'artagnan", "dartagnan-secret") == ACCEPTED
        assert login(provider, "romeo", "romeo-secret") == NOT_IN_GROUP
    assert login(provider, "juliet@example.com", "juliet-secret") == ACCEPTED
    assert login(provider, "romeo@example.com", "romeo-secret") == NOT_IN_GROUP


@pytest.mark.parametrize("name", EVERYWHERE)
def test_whoever_may_not_log_in_is_nobody_to_every_question(make: Make, grouped: AnyServer) -> None:
    """Who is in no required group does not exist, has no certificates, and can't be changed; the name is taken."""
    provider = make(required_groups=[group(grouped, "house")])
    soon = Deadline.after(20)
    assert provider.user_exists("juliet", DOMAIN, soon) == ACCEPTED
    assert provider.certificates("juliet", DOMAIN, soon) == []
    assert provider.check_certificate("juliet", DOMAIN, "", soon) == Verdict(Reason.NO_SUCH_CERTIFICATE)
    assert provider.user_exists("form", DOMAIN, soon) == NOT_IN_GROUP
    assert provider.check_certificate("form", DOMAIN, "", soon) == NOT_IN_GROUP
    with pytest.raises(NoSuchUser, match="in none of the required groups"):
        provider.certificates("form", DOMAIN, soon)
    with pytest.raises(NoSuchUser, match="in none of the required groups"):
        provider.set_password("form", DOMAIN, "Neue-Losung-2", soon)
    with pytest.raises(NoSuchUser, match="in none of the required groups"):
        provider.remove_user("form", DOMAIN, soon)
    with pytest.raises(UserExists):
        provider.register("form", DOMAIN, "Neue-Losung-2", soon)
    assert login(make(), "form", FORM) == ACCEPTED


@pytest.mark.parametrize("name", [on("ppolicy"), on("ds389"), on("samba")])
def test_no_wrong_password_is_counted_against_whoever_may_not_log_in(make: Make, grouped: AnyServer) -> None:
    """The groups are asked about first, so that strangers can't lock out whoever is in none of them."""
    place = grouped.dn(State.EASILY_LOCKED.person)
    grouped.unlock(place)
    before = grouped.bad_passwords(place)
    provider = make(required_groups=[group(grouped, "house")])
    for password in ("wrong", "wrong", "wrong", "wrong", RIGHT):
        assert login(provider, State.EASILY_LOCKED.value, password) == NOT_IN_GROUP
    assert grouped.bad_passwords(place) == before


@pytest.mark.parametrize("name", [on("slapd"), on("ppolicy"), on("ds389"), on("samba")])
def test_group_that_is_not_there_is_no_answer(make: Make, grouped: AnyServer) -> None:
    """A required group that can't be found keeps nobody out by itself: there is no answer, and the log says why."""
    provider = make(required_groups=[group(grouped, "nowhere")], group_membership="member")
    with pytest.raises(DirectoryUnavailable, match=r"there is no cn=nowhere.*see required_groups"):
        login(provider, "juliet", "juliet-secret")


@pytest.mark.parametrize("name", [on("slapd"), on("ppolicy"), on("ds389")])
def test_groups_are_asked_about_with_the_users_own_rights(make: Make, grouped: AnyServer) -> None:
    """Where users bind without a search, the groups are asked about after the bind, on the user's connection."""
    changes = {"user_dn": f"uid={{user}},{grouped.people_dn}", "base_dn": None, "bind_dn": None, "bind_password": None}
    provider = make(**changes, required_groups=[group(grouped, "house")])
    assert login(provider, "juliet", "juliet-secret") == ACCEPTED
    assert login(provider, "romeo", "romeo-secret") == ACCEPTED
    assert login(provider, "form", FORM) == NOT_IN_GROUP
    assert login(provider, "form", "wrong") == Verdict(Reason.WRONG_PASSWORD)


@pytest.mark.parametrize("name", [on("samba")])
@pytest.mark.parametrize("way", ["chain", "member"])
def test_primary_group_of_an_active_directory_does_not_count(make: Make, grouped: AnyServer, way: str) -> None:
    """Nobody is in the own primary group, as a rule Domain Users, by any attribute that could be asked about."""
    provider = make(required_groups=[f"CN=Domain Users,CN=Users,{grouped.suffix}"], group_membership=way)
    assert login(provider, "juliet", "juliet-secret") == NOT_IN_GROUP


@pytest.mark.parametrize("name", EVERYWHERE)
def test_groups_of_every_domain(make: Make, grouped: AnyServer) -> None:
    """A group's DN may name the domain that is asked about, as its DN or as a text."""
    suffix = "{dc}" if grouped.suffix == "dc=example,dc=com" else "DC=corp,{dc}"
    provider = make(required_groups=[f"cn=house,ou=groups,{suffix}"])
    assert login(provider, "juliet", "juliet-secret") == ACCEPTED
    assert login(provider, "form", FORM) == NOT_IN_GROUP
