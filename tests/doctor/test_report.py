"""How findings are printed, and with which status `ldapauth doctor` ends."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ldapauth.cli import main
from ldapauth.doctor.finding import Finding, Mark
from tests import configuration
from tests.integration.test_secrets import forms_of
from tests.servers.slapd import Slapd

HEALTHY: dict[str, Any] = {"operations": ["check_password", "user_exists"]}
RISKY: dict[str, Any] = {**HEALTHY, "insecure_plaintext": True}
BROKEN: dict[str, Any] = {**HEALTHY, "base_dn": "dc=nowhere"}


def run(directory: Path, slapd: Slapd, *arguments: str, color: bool = False, **changes: Any) -> Result:
    """What `ldapauth doctor` prints, and its status."""
    file = configuration.write(directory, configuration.domain_table(slapd, **changes))
    return CliRunner().invoke(main, ["--config", str(file), "doctor", *arguments], color=color)


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["text", "JSON"])
@pytest.mark.parametrize(
    ("changes", "status"), [(HEALTHY, 0), (RISKY, 1), (BROKEN, 2)], ids=["healthy", "risky", "broken"]
)
def test_the_status_is_for_scripts(
    slapd: Slapd, tmp_path: Path, arguments: list[str], changes: dict[str, Any], status: int
) -> None:
    """The status is 0 when nothing is wrong, 1 for warnings alone, and 2 for problems; what was not asked is none."""
    outcome = run(tmp_path, slapd, *arguments, **changes)
    assert outcome.exit_code == status
    assert "not asked" in outcome.output


def test_a_configuration_that_is_wrong_ends_with_2(tmp_path: Path) -> None:
    """A configuration that can't be used is a problem like others."""
    outcome = CliRunner().invoke(main, ["--config", str(tmp_path / "none"), "doctor"])
    assert outcome.exit_code == 2
    assert outcome.output.startswith("configuration\n  problem    ")


def test_text_is_in_paragraphs(slapd: Slapd, tmp_path: Path) -> None:
    """Findings stand below what they are about, with their mark, the remedy below, and a count at the end."""
    outcome = run(tmp_path, slapd, **BROKEN)
    first, second, count = outcome.output.split("\n\n")
    assert first.startswith("configuration\n  ok         ")
    assert second.startswith(f"{configuration.DOMAIN} on {slapd.url}\n  ok         ")
    assert "\n  problem    there is no dc=nowhere, " in second
    assert "\n             -> correct base_dn" in second
    assert count == "1 problem(s), 2 not asked\n"
    assert "\x1b" not in outcome.output


def test_a_terminal_has_colours(slapd: Slapd, tmp_path: Path) -> None:
    """On a terminal each mark has its colour, and nothing else of a text is changed."""
    outcome = run(tmp_path, slapd, color=True, **BROKEN)
    assert "\x1b[31mproblem  \x1b[0m" in outcome.output
    assert "\x1b[32mok       \x1b[0m" in outcome.output


def test_json_has_everything(slapd: Slapd, tmp_path: Path) -> None:
    """The object for programs has the status and each finding, with where it belongs, its mark and its remedy."""
    report = json.loads(run(tmp_path, slapd, "--json", **BROKEN).output)
    assert report["status"] == 2
    (problem,) = [finding for finding in report["findings"] if finding["mark"] == "problem"]
    assert problem["check"] == "base DN"
    assert (problem["domain"], problem["server"]) == (configuration.DOMAIN, slapd.url)
    assert problem["remedy"].startswith("correct base_dn")
    assert set(problem) == {"domain", "server", "check", "mark", "finding", "remedy"}
    assert {finding["mark"] for finding in report["findings"]} == {"ok", "not asked", "problem"}


def test_any_encoding_will_do(slapd: Slapd, tmp_path: Path) -> None:
    """Where the output has an encoding that lacks a character, its escape is printed."""
    file = configuration.write(tmp_path, configuration.domain_table(slapd, base_dn="ou=\u043b\u044e\u0434\u0438,dc=x"))
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [sys.executable, "-m", "ldapauth", "--config", str(file), "doctor"],
        capture_output=True,
        env=environment,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (2, b"")
    assert b"\\u043b" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["text", "JSON"])
@pytest.mark.parametrize("changes", [HEALTHY, RISKY, BROKEN, {"bind_dn": "cn=x"}, {"start_tls": True}])
def test_no_secret_is_printed(slapd: Slapd, tmp_path: Path, arguments: list[str], changes: dict[str, Any]) -> None:
    """Whatever is found, no secret of the configuration is printed, and no password of the directory."""
    output = run(tmp_path, slapd, *arguments, **changes).output
    secrets = [slapd.service_password, "http-secret", "juliet-secret"]
    assert [form for secret in secrets for form in forms_of(secret) if form in output] == []


def test_findings_are_harmless() -> None:
    """A finding's texts are one line each, and command no terminal."""
    finding = Finding(Mark.PROBLEM, "a\nb\x1b[2J", "c\r\x9bd\u202e")
    assert (finding.text, finding.remedy) == (r"a\nb\x1b[2J", r"c\r\x9bd\u202e")
