"""The service account's bind, and what the server says of itself."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from ldapauth.directory import wire
from ldapauth.directory.connection import Connection
from ldapauth.doctor.finding import Line, Mark
from ldapauth.doctor.patient import Patient
from ldapauth.doctor.server import parsed
from ldapauth.kinds import Name
from tests import configuration
from tests.doctor import examined, findings, only, problems, skipped
from tests.servers.slapd import Slapd


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """A slapd that counts what it is asked."""
    with Slapd(loglevel="stats") as server:
        yield server


def ask(directory: Path, slapd: Slapd, **changes: Any) -> list[Line]:
    """What is said about a domain on the slapd."""
    return examined(directory, configuration.domain_table(slapd, **changes))


def test_a_wrong_password_is_sent_once(slapd: Slapd, tmp_path: Path) -> None:
    """A service account's wrong password is a problem, and neither another server nor another domain sends it again."""
    before = slapd.operations()["BIND"]
    servers = [slapd.url, f"ldap://localhost:{slapd.port}"]
    table = configuration.domain_table(slapd, bind_password="not-the-password", servers=servers)
    lines = examined(tmp_path, table, domains={"a.example": table, "b.example": table})
    assert slapd.operations()["BIND"] - before == 1
    (found,) = findings(lines, "bind")
    assert (found.mark, found.text) == (Mark.PROBLEM, f"{slapd.service_dn} can't bind (result 49)")
    assert "bind_dn or the password" in found.remedy
    assert skipped(lines).count("bind") == 3
    assert [finding.mark for finding in findings(lines, "root DSE")] == [Mark.OK] * 8


def test_other_accounts_are_tried_after_a_wrong_password(slapd: Slapd, tmp_path: Path) -> None:
    """A password that was refused keeps no other one from being tried."""
    wrong, right = configuration.domain_table(slapd, bind_password="x"), configuration.domain_table(slapd)
    lines = examined(tmp_path, wrong, domains={"a.example": wrong, "b.example": right})
    assert [finding.mark for finding in findings(lines, "bind")] == [Mark.PROBLEM, Mark.OK]


@pytest.mark.parametrize(
    ("dn", "code", "remedy"),
    [("cn=nobody,dc=example,dc=com", 49, "correct bind_dn"), ("no DN at all", 34, "no DN to this server")],
)
def test_a_wrong_dn(slapd: Slapd, tmp_path: Path, dn: str, code: int, remedy: str) -> None:
    """A service account that there is not is a problem, with the server's result."""
    found = only(ask(tmp_path, slapd, bind_dn=dn), "bind")
    assert f"(result {code}" in found.text
    assert remedy in found.remedy


def test_the_server_may_quote_the_password(slapd: Slapd, tmp_path: Path, mocker: MockerFixture) -> None:
    """A server's words that have the password in them are not shown, and others are."""
    said = ["try Hidden-Word again", "data 775"]
    mocker.patch.object(Connection, "bind", side_effect=[wire.Result(1, "bind", 49, message=text) for text in said])
    texts = [only(ask(tmp_path, slapd, bind_password="hidden-word"), "bind").text for _ in said]
    assert [text.partition(" can't bind ")[2] for text in texts] == ["(result 49)", "(result 49: data 775)"]


def test_nobody_need_bind(tmp_path: Path) -> None:
    """Without a service account everything is asked anonymously."""
    with Slapd(anonymous_read=True) as slapd:
        lines = ask(tmp_path, slapd, bind_dn=None, bind_password=None, operations=["check_password"])
    assert only(lines, "bind").text.startswith("no bind_dn")
    assert problems(lines) == {}


def test_what_an_openldap_says(slapd: Slapd, tmp_path: Path) -> None:
    """An OpenLDAP is recognised, with what it offers for passwords; it does not show what time it is."""
    lines = ask(tmp_path, slapd)
    assert [finding.text for finding in findings(lines, "root DSE")] == [
        "OpenLDAP",
        "offers password modify (RFC 3062); does not mention StartTLS, password policy control",
    ]
    assert only(lines, "clock").mark is Mark.NOT_ASKED


def test_a_password_policy_is_seen(tmp_path: Path) -> None:
    """That a server has a control for its password policy is said."""
    with Slapd(ppolicy=True) as slapd:
        assert "password policy control" in findings(ask(tmp_path, slapd), "root DSE")[1].text.partition(";")[0]


def test_a_password_in_clear_is_a_warning(slapd: Slapd, tmp_path: Path) -> None:
    """Where userPassword would be replaced by the password as it is, that is a warning; RFC 3062 is none."""
    by_modify = only(ask(tmp_path, slapd, password_change="modify"), "password change")
    assert by_modify.mark is Mark.WARNING
    assert 'password_change = "auto"' in by_modify.remedy
    assert (
        only(ask(tmp_path, slapd), "password change").text
        == "a new password is set by RFC 3062, and the server hashes it"
    )
    assert findings(ask(tmp_path, slapd, operations=["check_password"]), "password change") == []


ACTIVE_DIRECTORY = "1.2.840.113556.1.4.800"

ROOT_DSES: dict[str, tuple[dict[str, str], Name, str]] = {
    "Samba 4.17": (
        {
            "vendorName": "Samba Team (https://www.samba.org)",
            "vendorVersion": "4.17.12-Debian",
            "supportedCapabilities": ACTIVE_DIRECTORY,
            "currentTime": "20261126222308.0Z",
        },
        "active-directory",
        "Samba Team (https://www.samba.org) 4.17.12-Debian",
    ),
    "389 Directory Server 2.3": (
        {"vendorname": "389 Project", "VENDORVERSION": "389-Directory/2.3.1 B2025.016.1616"},
        "389ds",
        "389 Project 389-Directory/2.3.1 B2025.016.1616",
    ),
    "OpenLDAP 2.5": ({"objectClass": "OpenLDAProotDSE"}, "openldap", ""),
    "another": ({"vendorName": "Novell, Inc."}, "other", "Novell, Inc."),
    "one that says nothing": ({}, "other", ""),
}


@pytest.mark.parametrize(("attributes", "kind", "name"), ROOT_DSES.values(), ids=ROOT_DSES)
def test_servers_are_recognised(attributes: dict[str, str], kind: Name, name: str) -> None:
    """A server is recognised by its root DSE, whatever the case of the attributes' names."""
    root = parsed(wire.Entry(1, "", {key: [value.encode()] for key, value in attributes.items()}))
    assert (root.kind, root.name) == (kind, name)


@pytest.mark.parametrize("shown", [attributes for attributes, *_ in ROOT_DSES.values()], ids=ROOT_DSES)
def test_every_server_has_a_name(slapd: Slapd, tmp_path: Path, mocker: MockerFixture, shown: dict[str, str]) -> None:
    """Whatever a server says of itself, there is something to say about it."""
    entry = wire.Entry(1, "", {key: [value.encode()] for key, value in shown.items()})
    mocker.patch.object(Patient, "root_dse", return_value=parsed(entry))
    made, offered = findings(ask(tmp_path, slapd), "root DSE")
    assert (made.mark, offered.mark) == (Mark.OK, Mark.OK)
    assert made.text


@pytest.mark.parametrize(("seconds", "mark"), [(0, Mark.OK), (-50, Mark.OK), (90, Mark.WARNING), (-4000, Mark.WARNING)])
def test_clocks_that_differ_are_a_warning(
    slapd: Slapd, tmp_path: Path, mocker: MockerFixture, seconds: int, mark: Mark
) -> None:
    """A server's clock that is more than a minute from this machine's is a warning, fast or slow."""
    time = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    entry = wire.Entry(1, "", {"currentTime": [time.strftime("%Y%m%d%H%M%S.0Z").encode()]})
    mocker.patch.object(Patient, "root_dse", return_value=parsed(entry))
    found = only(ask(tmp_path, slapd), "clock")
    assert found.mark is mark
    assert mark is Mark.OK or str(abs(seconds))[:-1] in found.text


@pytest.mark.parametrize("text", ["", "x", "20261399000000Z", "2026112622230Z", "20261126222308+0100"])
def test_a_clock_that_makes_no_sense_is_not_asked(
    slapd: Slapd, tmp_path: Path, mocker: MockerFixture, text: str
) -> None:
    """A time that can't be read is as good as none."""
    entry = wire.Entry(1, "", {"currentTime": [text.encode()]})
    mocker.patch.object(Patient, "root_dse", return_value=parsed(entry))
    assert only(ask(tmp_path, slapd), "clock").mark is Mark.NOT_ASKED


def show_as_root_dse(mocker: MockerFixture, *attributes: tuple[str, str]) -> None:
    """Has servers show nothing but this as their root DSE; nothing at all, without any."""
    search = Connection.search
    shown = [wire.Entry(1, "", {name: [value.encode()] for name, value in attributes})] if attributes else []

    def answer(self: Connection, query: wire.Search, *others: Any) -> Any:
        entries, result = search(self, query, *others)
        return (shown if entries and not entries[0].dn else entries), result

    mocker.patch.object(Connection, "search", answer)


def test_a_server_without_a_root_dse(slapd: Slapd, tmp_path: Path, mocker: MockerFixture) -> None:
    """A server that does not show its root DSE is asked everything else."""
    show_as_root_dse(mocker)
    lines = ask(tmp_path, slapd)
    assert set(skipped(lines)) == {"root DSE", "password change", "clock", "write rights"}
    assert only(lines, "search").mark is Mark.OK


def test_an_active_directory_takes_new_passwords_over_tls_only(
    slapd: Slapd, tmp_path: Path, mocker: MockerFixture
) -> None:
    """What would refuse a change of password is a problem before the first user tries."""
    show_as_root_dse(mocker, ("supportedCapabilities", ACTIVE_DIRECTORY))
    found = only(ask(tmp_path, slapd, servers=[f"ldap://localhost:{slapd.port}"]), "password change")
    assert (found.mark, "over TLS only" in found.text) == (Mark.PROBLEM, True)


def test_a_freeipa_wants_tls_for_new_passwords(slapd: Slapd, tmp_path: Path, mocker: MockerFixture) -> None:
    """FreeIPA, a 389 Directory Server whose way is RFC 3062, refuses that in clear, which is a problem."""
    offer = ("supportedExtension", "1.3.6.1.4.1.4203.1.11.1")
    show_as_root_dse(mocker, ("vendorName", "389 Project"), ("ipaDomainLevel", "1"), offer)
    servers = [f"ldap://localhost:{slapd.port}"]
    in_clear = only(ask(tmp_path, slapd, servers=servers), "password change")
    assert (in_clear.mark, "over TLS only" in in_clear.text) == (Mark.PROBLEM, True)
    by_modify = ask(tmp_path, slapd, servers=servers, password_change="modify")
    assert only(by_modify, "password change").mark is Mark.OK


def test_rfc_3062_must_be_offered(slapd: Slapd, tmp_path: Path, mocker: MockerFixture) -> None:
    """A configuration that demands RFC 3062 of a server without it is a problem; where it says auto, modify is used."""
    show_as_root_dse(mocker, ("vendorName", "Example"))
    assert only(ask(tmp_path, slapd, password_change="extended"), "password change").mark is Mark.PROBLEM
    assert "ppolicy_hash_cleartext" in only(ask(tmp_path, slapd), "password change").remedy
