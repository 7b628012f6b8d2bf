"""What is said of a configuration: mistakes, secrets, deadlines, protections that were taken away."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from ldapauth import config, doctor
from ldapauth.doctor.finding import Mark
from ldapauth.errors import ConfigurationError
from tests import configuration
from tests.doctor import examined, findings, only, problems
from tests.servers.certificates import CertificateAuthority, yesterday
from tests.servers.slapd import Slapd


def table(**changes: Any) -> dict[str, Any]:
    """A domain whose server nobody has to start: it refuses at once."""
    return {"servers": ["ldapi://%2Fnonexistent"], "base_dn": "dc=example,dc=com", **changes}


def test_each_mistake_is_a_problem(tmp_path: Path) -> None:
    """A configuration that can't be used is a problem for each mistake, and nothing is asked."""
    lines = examined(tmp_path, table(filter="(uid={user}", scope="all"), log={"target": "x"})
    assert [line.finding.mark for line in lines] == [Mark.PROBLEM] * 2
    assert {line.finding.text.partition(":")[0] for line in lines} == {
        "log.target",
        f'domains."{configuration.DOMAIN}".scope',
    }


def test_a_template_that_is_wrong_is_a_problem(tmp_path: Path) -> None:
    """What a filter's text means is a part of the configuration too."""
    lines = examined(tmp_path, table(filter="(uid={user}"))
    assert problems(lines) == {
        "configuration": f'domains."{configuration.DOMAIN}".filter: is not a search filter (RFC 4515)'
    }


def test_no_configuration_is_a_problem(tmp_path: Path) -> None:
    """A file that is not there is a problem that names it."""
    lines = list(doctor.examine(str(tmp_path / "none.toml")))
    assert [line.finding.text for line in lines] == [f"{tmp_path}/none.toml: No such file or directory"]


def test_credentials_that_are_wrong_stop_nothing(tmp_path: Path) -> None:
    """That the app can't start is a problem, and the rest is examined."""
    lines = examined(tmp_path, table(), http={"credentials_file": "missing"})
    assert findings(lines, "configuration")[1].mark is Mark.PROBLEM
    assert problems(lines)["configuration"].startswith("http.credentials_file: ")
    assert findings(lines, "reach")


def test_credentials_may_be_the_apps_alone(tmp_path: Path, mocker: MockerFixture) -> None:
    """That the credentials may not be read by a helper's user is a warning, and the rest is examined."""
    settings = config.load(str(configuration.write(tmp_path, table())))
    refused = ConfigurationError("http.credentials_file: /x: Permission denied")
    mocker.patch.object(config, "load", side_effect=[refused, settings])
    lines = list(doctor.examine("x"))
    assert findings(lines, "configuration")[1].mark is Mark.WARNING
    assert findings(lines, "reach")


def test_all_mistakes_are_said(tmp_path: Path) -> None:
    """Mistakes of the app's table are said beside others."""
    lines = examined(tmp_path, table(scope="all"), http={"credentials": "x"})
    assert len(findings(lines, "configuration")) == 2


def test_a_secret_for_everybody_is_a_warning(tmp_path: Path) -> None:
    """A secret's file that every user may read is a warning, with the command that mends it."""
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o644)
    lines = examined(tmp_path, table(bind_dn="cn=x", bind_password_file="password"))
    first = findings(lines, "secrets")[0]
    assert (first.mark, first.remedy) == (Mark.WARNING, f"chmod o-rwx {secret}")


def test_a_log_that_can_not_be_written_is_a_warning(tmp_path: Path) -> None:
    """A log file where nobody may write is a warning."""
    lines = examined(tmp_path, table(), log={"target": "/nonexistent/log"})
    assert "nothing will be logged" in problems(lines)["secrets"]


def test_root_may_read_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only one user may read can't be told by root, which is said; without such files there is nothing to say."""
    (tmp_path / "password").write_text("x")
    (tmp_path / "password").chmod(0o600)
    with_file = table(bind_dn="cn=x", bind_password_file="password")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert Mark.NOT_ASKED in {finding.mark for finding in findings(examined(tmp_path, with_file), "secrets")}
    assert only(examined(tmp_path, table()), "secrets").mark is Mark.OK
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert only(examined(tmp_path, with_file), "secrets").mark is Mark.OK


@pytest.mark.parametrize(
    ("section", "deadline", "late"),
    [
        ("http", 4.9, False),
        ("http", 5, True),
        ("generic", 4.9, False),
        ("generic", 6, True),
        ("ejabberd", 29, False),
        ("ejabberd", 30, True),
    ],
)
def test_a_deadline_must_end_before_the_patience(tmp_path: Path, section: str, deadline: float, late: bool) -> None:  # noqa: FBT001 - a case
    """A deadline that is not below the time that the XMPP server waits is a problem, which names both times."""
    lines = examined(tmp_path, table(), **{section: {"deadline": deadline}})
    finding = only(lines, "deadlines")
    assert (finding.mark is Mark.PROBLEM) is late
    assert f"{deadline:g}" in finding.text
    assert (f"set {section}.deadline" in finding.remedy) is late


def test_open_http_is_a_warning(tmp_path: Path) -> None:
    """An app that answers whoever can connect is a warning; one that can't start is not."""
    file = configuration.write(tmp_path, table())
    file.write_text(file.read_text().replace(f'credentials = "{configuration.CREDENTIALS}"', "insecure_open = true"))
    assert only(list(doctor.examine(str(file))), "HTTP credentials").mark is Mark.WARNING
    file.write_text(file.read_text().replace("insecure_open = true", ""))
    assert only(list(doctor.examine(str(file))), "HTTP credentials").mark is Mark.OK


def test_credentials_that_are_being_changed_are_said(tmp_path: Path) -> None:
    """That several credentials are good is said, lest the old ones stay."""
    lines = examined(tmp_path, table(), http={"credentials": ["prosody:new", "prosody:old"]})
    assert only(lines, "HTTP credentials").text == "http.credentials: any of 2 will do"


@pytest.mark.parametrize("setting", ["insecure_plaintext", "insecure_skip_verify"])
def test_a_protection_that_is_taken_away_is_a_warning(tmp_path: Path, setting: str) -> None:
    """Each setting that takes a protection away is a warning."""
    assert setting in problems(examined(tmp_path, table(**{setting: True})))["protections"]


def test_a_clients_certificate_has_an_end(tmp_path: Path) -> None:
    """A client's certificate that has expired is a problem, one that soon does a warning, and a good one neither."""
    authority = CertificateAuthority(tmp_path)
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=3)
    marks = []
    for name, end in (("good", None), ("soon", soon), ("expired", yesterday())):
        pair = authority.issue(name, common_name="xmpp", not_after=end)
        lines = examined(tmp_path, table(client_cert=str(pair.certificate), client_key=str(pair.key)))
        marks.append(only(lines, "client certificate").mark)
    assert marks == [Mark.OK, Mark.WARNING, Mark.PROBLEM]


def test_a_domain_may_be_chosen(slapd: Slapd, tmp_path: Path) -> None:
    """Only the domains that are named are examined; one without a table is a problem."""
    lines = examined(tmp_path, configuration.domain_table(slapd), "EXAMPLE.COM", "other.example")
    assert {line.domain for line in lines} == {"", "example.com", "other.example"}
    assert only(lines, "domain").text == "is not configured"
