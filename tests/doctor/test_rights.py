"""Whether the service account may write what is configured, found out without a trace in the directory."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ldapauth.doctor.finding import Line, Mark
from tests import configuration
from tests.doctor import examined, findings, only, problems
from tests.servers.people import PEOPLE, PEOPLE_DN
from tests.servers.process import find_program
from tests.servers.slapd import INSTALL_COMMAND, Slapd

WRITING = ["set_password", "register", "remove_user"]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "with a password policy"])
def slapd(request: pytest.FixtureRequest) -> Iterator[Slapd]:
    """A slapd that counts what it is asked, without a password policy and with one."""
    with Slapd(ppolicy=request.param, loglevel="stats") as server:
        yield server


def ask(directory: Path, slapd: Slapd, **changes: Any) -> list[Line]:
    """What is said about a domain on the slapd."""
    return examined(directory, configuration.domain_table(slapd, **changes))


def reader(slapd: Slapd) -> dict[str, str]:
    """The service account that may only read."""
    return {"bind_dn": slapd.reader_dn, "bind_password": slapd.reader_password}


def test_who_may_set_passwords(slapd: Slapd, tmp_path: Path) -> None:
    """An OpenLDAP tells whether the account may set passwords: one may, and another may not, which is a problem."""
    assert (
        findings(ask(tmp_path, slapd), "write rights")[0].text
        == "set_password: the service account may write userPassword"
    )
    refused = findings(ask(tmp_path, slapd, **reader(slapd)), "write rights")[0]
    assert refused.mark is Mark.PROBLEM
    assert refused.text.startswith("set_password: the service account may not write userPassword (asked about uid=")
    assert slapd.reader_dn in refused.remedy


def test_nothing_is_written(slapd: Slapd, tmp_path: Path) -> None:
    """Asking for rights changes no entry and no operational attribute, adds nothing, and deletes nothing."""
    before = {person.dn: slapd.entry(person.dn, "*", "+") for person in PEOPLE}
    counted = slapd.operations()
    ask(tmp_path, slapd)
    ask(tmp_path, slapd, **reader(slapd))
    assert {person.dn: slapd.entry(person.dn, "*", "+") for person in PEOPLE} == before
    spent = slapd.operations() - counted
    assert (spent["MOD"], spent["ADD"], spent["DEL"], spent["EXT"]) == (2, 0, 0, 0)
    assert slapd.log.count("RESULT tag=103 err=0") == 0


def test_what_can_not_be_told_is_not_claimed(slapd: Slapd, tmp_path: Path) -> None:
    """What an OpenLDAP does not tell is not asked, with the command that tells it on the server."""
    for account, verdict in (({}, "ALLOWED"), (reader(slapd), "DENIED")):
        _, *others = findings(ask(tmp_path, slapd, **account), "write rights")
        assert [finding.mark for finding in others] == [Mark.NOT_ASKED] * 2
        for finding in others:
            command = shlex.split(finding.remedy.removeprefix("on the server: "))
            assert command[0] == "slapacl"
            program = find_program("slapd", INSTALL_COMMAND)
            file = str(slapd.directory / "slapd.conf")
            done = subprocess.run(
                [program, "-T", "acl", "-f", file, *command[1:]],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            assert verdict in done.stdout + done.stderr


def test_only_what_is_on_is_asked(slapd: Slapd, tmp_path: Path) -> None:
    """A domain whose users may not write needs no right to."""
    before = slapd.operations()["MOD"]
    lines = ask(tmp_path, slapd, operations=["check_password", "user_exists"], **reader(slapd))
    assert problems(lines) == {}
    assert findings(lines, "write rights") == []
    assert slapd.operations()["MOD"] == before


def test_where_accounts_are_made(slapd: Slapd, tmp_path: Path) -> None:
    """The right to add is asked about where `register` would add."""
    changes = {"operations": ["check_password", "register"], "register": {"dn": f"cn={{user}},ou=new,{PEOPLE_DN}"}}
    assert f"ou=new,{PEOPLE_DN} children/add" in only(ask(tmp_path, slapd, **changes), "write rights").remedy


def test_nobody_may_write(tmp_path: Path) -> None:
    """Without a service account nothing can be written, which is a problem where it is on."""
    with Slapd(anonymous_read=True) as slapd:
        lines = ask(tmp_path, slapd, bind_dn=None, bind_password=None)
    (password, *others) = findings(lines, "write rights")
    assert (password.mark, "bind_dn" in password.remedy) == (Mark.PROBLEM, True)
    assert {finding.remedy for finding in others} == {"a service account (bind_dn) is needed to write"}
