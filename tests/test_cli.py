"""The command `ldapauth` as it is typed."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ldapauth.cli import main
from tests import configuration
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.slapd import Slapd

PROGRAM = Path(sys.executable).with_name("ldapauth")


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


def checked(file: Path, *arguments: str, typed: str = "") -> tuple[int, list[str]]:
    """The status of `ldapauth check`, and what it says, without the times that steps took."""
    outcome = CliRunner().invoke(main, ["--config", str(file), "check", *arguments], input=typed)
    return outcome.exit_code, [re.sub(r"^ *\d+\.\d+ ms  ", "", line) for line in outcome.output.splitlines()]


def test_check_tells_each_step(slapd: Slapd, tmp_path: Path) -> None:
    """What was asked of which server is told step by step, a server that is down included, and the name unescaped."""
    down = f"ldap://{LOOPBACK}:{free_port()}"
    file = configuration.write(tmp_path, configuration.domain_table(slapd, servers=[down, slapd.url]))
    status, lines = checked(file, "d\\27artagnan@example.com", "--password-file", "-", typed="wrong\n")
    dn = f"uid=d'artagnan,{slapd.people_dn}"
    assert (status, lines) == (
        1,
        [
            'asking for d\'artagnan, as [domains."example.com"] says',
            f"{down}  no answer: Connection refused",
            f"{slapd.url}  connected, in clear",
            f"{slapd.url}  bound as the service account {slapd.service_dn}",
            f"{slapd.url}  searched {slapd.people_dn}: {dn}",
            f"{slapd.url}  connected, in clear",
            f"{slapd.url}  not bound as {dn} (result 49)",
            "refused: the directory says that the password is wrong",
        ],
    )


def test_check_of_a_user_alone(slapd: Slapd, config_file: Path) -> None:
    """Whether there is a user is asked without a password, and nobody binds as the user."""
    status, lines = checked(config_file, "juliet@example.com", "--operation", "exists")
    assert (status, lines[-1]) == (0, "accepted")
    assert lines[-2] == f"{slapd.url}  searched {slapd.people_dn}: uid=juliet,{slapd.people_dn}"
    status, lines = checked(config_file, "nobody@example.com", "--operation", "exists")
    assert (status, lines[-2]) == (1, f"{slapd.url}  searched {slapd.people_dn}: nobody")


@pytest.mark.parametrize(
    ("content", "status"),
    [(b" spaced ", 0), (b" spaced \n", 0), (b" spaced \r\n", 0), (b"spaced", 1), (b" spaced \n\n", 1), (b"\xff", 2)],
    ids=["bare", "line", "line of Windows", "stripped", "two line breaks", "no text"],
)
def test_a_password_from_a_file(config_file: Path, tmp_path: Path, content: bytes, status: int) -> None:
    """A password's file holds it as it is, spaces included, apart from one line break at its end."""
    file = tmp_path / "password"
    file.write_bytes(content)
    assert checked(config_file, "spaced@example.com", "--password-file", str(file))[0] == status


def test_a_password_from_standard_input(config_file: Path, slapd: Slapd) -> None:
    """The password may come through a pipe, and then nothing is asked for on the terminal."""
    typed = subprocess.run(
        [PROGRAM, "--config", config_file, "check", "juliet@example.com", "--password-file", "-"],
        input="juliet-secret\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    *_, step, verdict = typed.stdout.splitlines()
    assert step.endswith(f"{slapd.url}  bound as uid=juliet,{slapd.people_dn}")
    assert (verdict, typed.stderr) == ("accepted", "")
    assert "juliet-secret" not in typed.stdout


def test_steps_can_not_command_a_terminal(slapd: Slapd, tmp_path: Path) -> None:
    """What is in a name, typed or found, is shown without what a terminal would take for a command."""
    file = configuration.write(tmp_path, configuration.domain_table(slapd))
    _, lines = checked(file, "a\x1b[2Jb@example.com", "--operation", "exists")
    assert all(line.isprintable() for line in lines)
    _, lines = checked(file, "a@b\x9b2J.example", "--operation", "exists")
    assert all(line.isprintable() for line in lines)


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
