"""What a question about groups comes to when a server gives no answer, or more than can be followed."""

import pytest
from pytest_mock import MockerFixture

from ldapauth.config import Domain, Server
from ldapauth.deadline import Deadline
from ldapauth.directory.auto import Auto
from ldapauth.directory.connection import Connection
from ldapauth.directory.groups import DEEPEST, MOST, Groups, above
from ldapauth.directory.query import DnTemplate, User
from ldapauth.directory.wire import Entry, Result
from ldapauth.errors import DirectoryUnavailable
from ldapauth.kinds import Membership

USER, PLACE = User("juliet", "example.com"), "uid=juliet,dc=x"
Answer = tuple[list[Entry], Result]


def answer(code: int, *dns: str) -> Answer:
    """An answer to a search."""
    return [Entry(1, dn, {}) for dn in dns], Result(1, "search", code)


@pytest.fixture
def connection(mocker: MockerFixture) -> Connection:
    """A connection to a server that a test gives answers to; a real one can't be made to give these."""
    stand_in: Connection = mocker.create_autospec(Connection, instance=True)
    stand_in.server = Server.parse("ldap://localhost")
    return stand_in


def included(connection: Connection, membership: Membership = "member") -> bool:
    """Whether juliet is in the group `cn=g,dc=x`."""
    settings = Domain(servers=("ldap://localhost",), base_dn="dc=x", group_membership=membership)
    groups = Groups([DnTemplate("cn=g,dc=x")], DnTemplate("dc=x"), settings, Auto(settings), 4)
    return groups.include(connection, USER, PLACE, Deadline.after(10))


@pytest.mark.parametrize("code", [1, 3, 4, 10, 11, 32, 50, 53])
@pytest.mark.parametrize("membership", ["member", "uniqueMember", "memberUid", "memberOf", "chain"])
def test_what_is_not_answered_is_never_a_no(
    connection: Connection, mocker: MockerFixture, code: int, membership: Membership
) -> None:
    """A question about groups that a server can't answer leaves no answer at all, and names nobody in the log."""
    mocker.patch.object(connection, "search", return_value=answer(code))
    with pytest.raises(DirectoryUnavailable, match=f"result {code}|too many groups") as caught:
        included(connection, membership)
    assert "juliet" not in str(caught.value)


@pytest.mark.parametrize("code", [1, 4, 32, 50])
def test_groups_between_that_can_not_be_asked_about(connection: Connection, mocker: MockerFixture, code: int) -> None:
    """When only the groups that may stand in between can't be found, there is no answer either."""
    mocker.patch.object(connection, "search", side_effect=[answer(0), answer(code)])
    with pytest.raises(DirectoryUnavailable):
        included(connection)


def test_groups_are_followed_to_a_depth(connection: Connection, mocker: MockerFixture) -> None:
    """Groups in groups without end are followed so far and no further."""
    deeper = [item for depth in range(DEEPEST * 2) for item in (answer(0), answer(0, f"cn={depth},dc=x"))]
    asked = mocker.patch.object(connection, "search", side_effect=deeper)
    assert not included(connection)
    assert asked.call_count == 2 * DEEPEST


def test_as_many_groups_as_may_be_are_followed(connection: Connection, mocker: MockerFixture) -> None:
    """A user may be in as many groups as are asked about at once."""
    many = answer(0, *(f"cn={number},dc=x" for number in range(MOST)))
    mocker.patch.object(connection, "search", side_effect=[answer(0), many, answer(0, "cn=g,dc=x")])
    assert included(connection)


def test_entry_without_a_login_name_is_in_no_question(connection: Connection, mocker: MockerFixture) -> None:
    """Where the login name of an entry can't be read, it can't be asked which groups hold it."""
    mocker.patch.object(connection, "search", return_value=answer(0, PLACE))
    with pytest.raises(DirectoryUnavailable, match="may not read uid of whom it finds"):
        included(connection, "memberUid")


@pytest.mark.parametrize(
    ("dns", "base"),
    [
        (["cn=a,ou=groups,dc=x"], "ou=groups,dc=x"),
        (["cn=a,ou=groups,dc=x", "cn=b, OU=Groups, DC=x"], "ou=groups,dc=x"),
        (["cn=a,ou=g,dc=x", "cn=b,ou=h,dc=x"], "dc=x"),
        (["cn=a,ou=g,dc=x", "cn=b,cn=a,ou=g,dc=x"], "ou=g,dc=x"),
        ([r"cn=a\,b,ou=c\\,dc=x"], r"ou=c\\,dc=x"),
        ([r"cn=a\2cb,{dc}", "cn=c,{dc}"], "{dc}"),
        (["cn=a,dc=x", "cn=b,dc=y"], ""),
        (["cn=a"], ""),
    ],
)
def test_entry_above_all_groups(dns: list[str], base: str) -> None:
    """Groups in between are looked for below the entry that is above all that are required."""
    assert above(dns) == base
