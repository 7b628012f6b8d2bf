"""What is left to the directory, and what happens when it can't be asked."""

import pytest
from pytest_mock import MockerFixture

from ldapauth.config import Domain, Server
from ldapauth.deadline import Deadline
from ldapauth.directory.auto import Auto
from ldapauth.directory.connection import Connection
from ldapauth.directory.wire import Entry, Result
from ldapauth.errors import DirectoryUnavailable

SETTINGS = Domain(servers=("ldap://localhost",), base_dn="dc=x")
RFC_3062 = {"supportedExtension": [b"1.3.6.1.4.1.4203.1.11.1"]}


def answer(code: int, attributes: dict[str, list[bytes]] | None = None) -> tuple[list[Entry], Result]:
    """An answer to the question for the root DSE."""
    return [Entry(1, "", attributes)] if attributes is not None else [], Result(1, "search", code)


@pytest.fixture
def connection(mocker: MockerFixture) -> "Connection":
    """A connection to a server that a test gives answers to; a real one can't be made to show another root DSE."""
    stand_in: Connection = mocker.create_autospec(Connection, instance=True)
    stand_in.server = Server.parse("ldap://localhost")
    return stand_in


def soon() -> Deadline:
    """The deadline of a test's question."""
    return Deadline.after(10)


@pytest.mark.parametrize("code", [1, 10, 50, 53])
def test_what_can_not_be_read_is_asked_for_again(connection: Connection, mocker: MockerFixture, code: int) -> None:
    """A server that refuses its root DSE gives no answer; it is not taken for one of another kind, then or later."""
    asked = mocker.patch.object(connection, "search", side_effect=[answer(code), answer(0, RFC_3062)])
    auto = Auto(SETTINGS)
    with pytest.raises(DirectoryUnavailable, match=f"root DSE can't be read .result {code}."):
        auto.password_change(connection, soon())
    assert auto.password_change(connection, soon()) == "extended"
    assert auto.filter(connection, soon()).naming[0][0] == "uid"
    assert auto.inactive(connection, soon()) == ""
    assert asked.call_count == 2


@pytest.mark.parametrize("nothing", [answer(32), answer(0), answer(0, {})], ids=["no such object", "no entry", "empty"])
def test_server_without_a_root_dse_is_nothing_special(
    connection: Connection, mocker: MockerFixture, nothing: tuple[list[Entry], Result]
) -> None:
    """Where there is nothing to read, the defaults are those that every LDAP server understands."""
    mocker.patch.object(connection, "search", return_value=nothing)
    auto = Auto(SETTINGS)
    assert auto.password_change(connection, soon()) == "modify"
    assert auto.filter(connection, soon()).naming[0][0] == "uid"


def test_what_is_configured_is_not_asked_for(connection: Connection, mocker: MockerFixture) -> None:
    """Settings that are given stand, and no server is asked about them."""
    asked = mocker.patch.object(connection, "search")
    auto = Auto(Domain(servers=("ldap://localhost",), base_dn="dc=x", password_change="modify", inactive="(x=y)"))
    assert (auto.password_change(connection, soon()), auto.inactive(connection, soon())) == ("modify", "(x=y)")
    assert not asked.called
