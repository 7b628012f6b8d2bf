"""The manual pages name every option and every setting, and can be read."""

import re
from pathlib import Path

import click
import pytest

from ldapauth import cli
from ldapauth.frontends import helper
from man.page import page
from tests.servers.process import checked, find_program
from tests.test_docs import REFERENCE, SECTIONS, settings

MAN = Path(__file__).parents[1] / "man"
PAGES = {file.name: file.read_text() for file in sorted(MAN.glob("*.1"))}
CONFIGURATION = page(REFERENCE.read_text(), "ldapauth.toml", 5, "the configuration of ldapauth")


def plain(roff: str) -> str:
    """What is read, without fonts."""
    return re.sub(r"\\f[A-Z]", "", roff).replace("\\-", "-")


def options(command: click.Command) -> list[str]:
    """The long options of a command, but for the one that each has."""
    names = [name for parameter in command.params for name in parameter.opts if name.startswith("--")]
    return [name for name in names if name != "--help"]


def test_every_option_is_there() -> None:
    """The page of `ldapauth` has each command with each of its options, and no other."""
    text = plain(PAGES["ldapauth.1"])
    commands = cli.main.commands
    for name, command in commands.items():
        assert re.search(rf"^\.(B|BI|BR) {name}\b", text, re.MULTILINE), name
        assert all(option in text for option in options(command)), name
    known = {"--help", *options(cli.main), *(option for command in commands.values() for option in options(command))}
    assert set(re.findall(r"--[a-z][a-z-]+", text)) == known


@pytest.mark.parametrize("protocol", ["generic", "ejabberd"])
def test_helpers_take_one_option(protocol: str) -> None:
    """The page of each helper has its one option."""
    assert set(re.findall(r"--[a-z]+", plain(PAGES[f"ldapauth-{protocol}.1"]))) == {"--config"}
    assert re.findall(r"--[a-z]+", helper._USAGE) == ["--config"]


@pytest.mark.parametrize("name", SECTIONS)
def test_every_setting_is_there(name: str) -> None:
    """The page of the configuration has a heading for each table and an entry for each setting in it."""
    _, found, rest = plain(CONFIGURATION).partition(f"\n.SH [{name}]\n")
    assert found
    entries = re.findall(r"^\.TP\n(.*)$", rest.partition("\n.SH")[0], re.MULTILINE)
    assert entries == list(settings(SECTIONS[name]))


@pytest.mark.parametrize("name", [*PAGES, "ldapauth.toml.5"])
def test_pages_can_be_read(name: str, tmp_path: Path) -> None:
    """`man` shows each page, and has nothing to say against it."""
    file = tmp_path / name
    file.write_text(PAGES.get(name, CONFIGURATION))
    man = find_program("man", "apt-get install man-db")
    done = checked(["env", "MANROFFOPT=-ww", man, "--warnings", "-l", "-Tutf8", str(file)])
    assert done.stderr == b""
    assert len(done.stdout) > 1000


def test_code_stays_as_it_is() -> None:
    """An example in the document is in the page letter by letter, and no line of it is taken for a request of roff."""
    made = page('# X\n\nText.\n\n```toml\n.a = "\\\\x"\n\'b\' = "c-d"\n```\n', "x", 5, "y")
    assert '\\&.a = "\\e\\ex"\n\\(aqb\\(aq = "c\\-d"\n' in made


def test_reference_is_all_of_it() -> None:
    """Nothing of the reference's text is lost on the way, but for the targets of its links and the heads of tables."""
    shown = set(re.findall(r"[A-Za-z]{4,}", plain(CONFIGURATION).replace("\\(aq", "'")))
    text = re.sub(r"\]\([^)]+\)", "]", REFERENCE.read_text().partition("\n")[2])
    text = re.sub(r"^```.*$|^.*\n\| ---", "", text, flags=re.MULTILINE)
    assert sorted(set(re.findall(r"[A-Za-z]{4,}", text)) - shown) == []
