"""What the doctor says of a real 389 Directory Server and a real Active Directory: kind, passwords, clock, rights."""

from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from ldapauth.doctor.finding import Line, Mark
from tests.doctor import examined, findings, only, problems, skipped
from tests.doctor.test_people import MANY
from tests.servers import ds389_config
from tests.servers.certificates import CertificateAuthority
from tests.servers.ds389 import Ds389
from tests.servers.people import SUFFIX
from tests.servers.samba import Samba

WRITING = ["set_password", "register", "remove_user"]
USER_CLASSES = ["top", "person", "organizationalPerson", "user"]


def ask(path: Path, server: Ds389 | Samba, **changes: Any) -> list[Line]:
    """What is said about a domain on the server, from the least that an administrator writes."""
    table = {
        "servers": [server.ldaps_url],
        "bind_dn": server.service_dn,
        "bind_password": server.service_password,
        "base_dn": server.people_dn,
        "operations": ["check_password", *WRITING],
        "ca_file": str(server.ca),
        **changes,
    }
    return examined(path, {key: value for key, value in table.items() if value is not None})


def reader(server: Ds389 | Samba) -> dict[str, str]:
    """The service account that may only read."""
    return {"bind_dn": server.reader_dn, "bind_password": server.reader_password}


def marks(lines: list[Line], check: str = "write rights") -> list[Mark]:
    """How what a check has found is meant."""
    return [finding.mark for finding in findings(lines, check)]


@pytest.mark.ds389
@pytest.mark.parametrize("directory", ["auto", "389ds"])
def test_a_healthy_389_directory_server(ds389: Ds389, tmp_path: Path, directory: str) -> None:
    """A 389 Directory Server is recognised, shows its clock, hashes what modify brings, and tells every right."""
    lines = ask(tmp_path, ds389, directory=directory)
    assert problems(lines) == {}
    assert skipped(lines) == []
    assert findings(lines, "root DSE")[0].text.startswith("389 Project 389-Directory/")
    assert only(lines, "password change").text == "a new password is set by modify, and the server hashes it"
    assert only(lines, "clock").text == "the server's clock and this machine's agree"
    assert only(lines, "search").mark is Mark.OK
    assert marks(lines) == [Mark.OK] * 3


@pytest.mark.ds389
def test_a_389_directory_server_tells_which_right_is_missing(ds389: Ds389, tmp_path: Path) -> None:
    """A service account that may only read is a problem for each operation that writes, and nothing is written."""
    before = ds389.entry(f"uid=juliet,{ds389.people_dn}", "*", "modifyTimestamp")
    lines = ask(tmp_path, ds389, **reader(ds389))
    assert marks(lines) == [Mark.PROBLEM] * 3
    assert set(problems(lines)) == {"write rights"}
    assert ds389.entry(f"uid=juliet,{ds389.people_dn}", "*", "modifyTimestamp") == before


@pytest.mark.ds389
def test_rfc_3062_on_a_389_directory_server_wants_tls(ds389: Ds389, tmp_path: Path) -> None:
    """RFC 3062, which a 389 Directory Server refuses in clear (result 13), is a problem there, and not over TLS."""
    in_clear = ask(tmp_path, ds389, servers=[ds389.url], ca_file=None, password_change="extended")
    assert "over TLS only" in problems(in_clear)["password change"]
    assert problems(ask(tmp_path, ds389, password_change="extended")) == {}
    assert problems(ask(tmp_path, ds389, servers=[ds389.url], ca_file=None)) == {}


@pytest.mark.ds389
def test_another_kind_than_the_configuration_says(ds389: Ds389, tmp_path: Path) -> None:
    """A `directory` that is not the server's kind is a warning that names the kind, and what follows is one too."""
    lines = ask(tmp_path, ds389, directory="active-directory")
    kind = findings(lines, "root DSE")[0]
    assert (kind.mark, kind.remedy) == (Mark.WARNING, 'set directory = "auto", or "389ds"')
    assert "no Active Directory" in problems(lines)["password change"]


@pytest.mark.ds389
def test_a_base_that_is_not_in_a_389_directory_server(ds389: Ds389, tmp_path: Path) -> None:
    """A base DN that is not there is a problem whose remedy says what there is."""
    lines = ask(tmp_path, ds389, base_dn=f"ou=nowhere,{SUFFIX}")
    assert f"(there is {SUFFIX})" in only(lines, "base DN").remedy


@pytest.mark.ds389
def test_a_missing_index_on_a_389_directory_server(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, mocker: MockerFixture
) -> None:
    """Among 10,000 entries it refuses to look through them all, and what to index is said; with an index it is fast."""
    mocker.patch.object(ds389_config, "entries", return_value=ds389_config.entries() + MANY)
    with Ds389(CertificateAuthority(tmp_path_factory.mktemp("crowded"))) as crowded:
        without = only(ask(tmp_path, crowded, filter="(&(objectClass=person)(description={user}))"), "search")
        with_one = only(ask(tmp_path, crowded), "search")
    assert (without.mark, without.remedy) == (Mark.PROBLEM, "index description for equality there")
    assert "(result 11" in without.text
    assert with_one.mark is Mark.OK


@pytest.mark.samba
@pytest.mark.parametrize("directory", ["auto", "active-directory"])
def test_a_healthy_active_directory(samba: Samba, tmp_path: Path, directory: str) -> None:
    """An Active Directory is recognised, shows its clock, and tells whether users may be added, not the rest."""
    lines = ask(tmp_path, samba, directory=directory, register={"object_classes": USER_CLASSES})
    assert problems(lines) == {}
    assert findings(lines, "root DSE")[0].text.startswith("an Active Directory by Samba Team")
    change = only(lines, "password change").text
    assert change == "a new password is set by replacing unicodePwd, and the server hashes it"
    assert only(lines, "clock").text == "the server's clock and this machine's agree"
    assert only(lines, "search").mark is Mark.OK
    assert findings(lines, "read rights")[1].text == "the service account may read sAMAccountName"
    assert marks(lines) == [Mark.NOT_ASKED, Mark.OK, Mark.NOT_ASKED]
    assert findings(lines, "write rights")[0].remedy.startswith("on a domain controller: dsacls ")


@pytest.mark.samba
def test_an_active_directory_tells_who_may_add(samba: Samba, tmp_path: Path) -> None:
    """A service account that may only read may not add users, which is a problem."""
    lines = ask(tmp_path, samba, **reader(samba), register={"object_classes": USER_CLASSES})
    assert marks(lines) == [Mark.NOT_ASKED, Mark.PROBLEM, Mark.NOT_ASKED]


@pytest.mark.samba
def test_an_active_directory_takes_no_passwords_in_clear(samba: Samba, tmp_path: Path) -> None:
    """Without TLS an Active Directory lets nobody bind and takes no new password; both are problems."""
    lines = ask(tmp_path, samba, servers=[samba.url], ca_file=None)
    assert "(result 8" in problems(lines)["bind"]
    assert "over TLS only" in problems(lines)["password change"]


@pytest.mark.samba
@pytest.mark.parametrize("way", ["modify", "extended"])
def test_other_ways_set_no_password_in_an_active_directory(samba: Samba, tmp_path: Path, way: str) -> None:
    """A way of changing passwords that is not Active Directory's is a problem there."""
    lines = ask(tmp_path, samba, password_change=way)
    assert f'password_change = "{way}"' in problems(lines)["password change"]


@pytest.mark.samba
def test_an_active_directory_tells_which_index_is_missing(samba: Samba, tmp_path: Path) -> None:
    """An attribute that has no index in the schema is a warning; one that has is none."""
    lines = ask(tmp_path, samba, filter="(&(objectClass=user)(|(sAMAccountName={user})(description={user})))")
    assert problems(lines)["search"].startswith("description has no index")
