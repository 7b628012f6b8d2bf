"""The command `ldapauth` as it is typed."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ldapauth.cli import main
from tests import configuration
from tests.servers.slapd import Slapd


@pytest.mark.parametrize(
    ("jid", "typed", "status", "said"),
    [
        ("juliet@example.com", "juliet-secret\n", 0, "accepted"),
        ("juliet@example.com", "wrong\n", 1, "the password is wrong"),
        ("nobody@example.com", "x\n", 1, "no entry matches"),
        ("juliet@example.net", "x\n", 1, "no such domain"),
        ("juliet@example.com", "", 2, "no password was given"),
    ],
    ids=["right", "wrong", "unknown", "domain", "end of input"],
)
def test_check_says_in_words_and_by_its_status(config_file: Path, jid: str, typed: str, status: int, said: str) -> None:
    """The status is 0 for yes, 1 for no and 2 for no answer, and a sentence says why."""
    outcome = CliRunner().invoke(main, ["--config", str(config_file), "check", jid], input=typed)
    assert outcome.exit_code == status
    assert said in outcome.output


def test_check_without_a_directory_is_no_answer(slapd: Slapd, tmp_path: Path) -> None:
    """A directory that can't be asked is status 2, in words that can't command the terminal."""
    file = configuration.write(tmp_path, configuration.domain_table(slapd, servers=["ldapi://%2Fno%1b%5B2J"]))
    outcome = CliRunner().invoke(main, ["--config", str(file), "check", "juliet@example.com"], input="x\n")
    assert outcome.exit_code == 2
    assert "no answer: ldapi:" in outcome.output
    assert "\x1b" not in outcome.output


def test_config_shows_what_is_in_effect(config_file: Path, slapd: Slapd) -> None:
    """The configuration is printed with its defaults and without its secrets."""
    outcome = CliRunner().invoke(main, ["--config", str(config_file), "config"])
    assert outcome.exit_code == 0
    assert "connect_timeout = 2.0" in outcome.output
    assert slapd.service_password not in outcome.output


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"filter": None}, "filter, inactive, password_change"),
        ({"password_change": "modify"}, "inactive"),
        ({"directory": "openldap", "filter": None}, ""),
    ],
    ids=["auto", "little left", "named"],
)
def test_config_says_what_it_leaves_to_the_directory(
    slapd: Slapd, tmp_path: Path, changes: dict[str, Any], left: str
) -> None:
    """What only a server can decide is named, and no server is asked; with the kind named, all is shown."""
    servers = ["ldaps://nowhere.invalid"]
    file = configuration.write(tmp_path, configuration.domain_table(slapd, servers=servers, **changes))
    outcome = CliRunner().invoke(main, ["--config", str(file), "config"])
    assert outcome.exit_code == 0
    line = f'# domains."example.com": as is usual in the directory that answers: {left}.'
    assert (line in outcome.output) == bool(left)
    assert ("as is usual" in outcome.output) == bool(left)


def test_mistakes_are_lines_and_status_2(tmp_path: Path) -> None:
    """A configuration that can't be used is a line for each mistake."""
    file = tmp_path / "x.toml"
    file.write_text("[domains.example.com]\nservers = []\n[log]\ntarget = 'x'\n")
    outcome = CliRunner().invoke(main, ["--config", str(file), "config"])
    assert outcome.exit_code == 2
    assert 'put the domain in quotes, as in [domains."example.com"]' in outcome.output
    assert "log.target: expected" in outcome.output
