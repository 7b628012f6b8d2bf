"""The document for Prosody's administrators explains what the helper logs about itself."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRONTENDS = ROOT / "ldapauth" / "frontends"
CLIENTS = (ROOT / "docs" / "clients.md").read_text()
DOCUMENT = (ROOT / "docs" / "prosody.md").read_text()


def found(pattern: str, *files: str) -> list[str]:
    """What a pattern finds in the source of the helper, up to where a text is put together."""
    texts = [(FRONTENDS / file).read_text() for file in files]
    return sorted({hit.partition(" (")[0] for text in texts for hit in re.findall(pattern, text)})


EVENTS = found(r'log\.event\(_log, logging\.\w+, "([\w-]+)"', "stdio.py")
LEAVING = found(r'(?:_Leave|_end)\(f?"([^"]+)"', "stdio.py")
MALFORMED = found(r'(?:self\._refuse|Malformed)\("([^"]+)"', "stdio.py", "command.py")


def rows(heading: str) -> list[str]:
    """The first cells of the table behind a heading."""
    section = DOCUMENT.partition(f" {heading}\n")[2].partition("\n##")[0]
    return [
        name for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall("`(.*?)`", cell)
    ]


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("What the log says", [*EVENTS, "bug"]),
        ("Reasons for leaving", [*LEAVING, "SIGTERM", "SIGHUP"]),
        ("Reasons for being malformed", MALFORMED),
    ],
    ids=["events", "leaving", "malformed"],
)
def test_every_line_of_the_helper_is_explained(heading: str, names: list[str]) -> None:
    """Each event and each reason in the source has a row, and no other has one."""
    assert sorted(rows(heading)) == sorted(names)


def test_every_rule_of_the_terminal_has_tests_named_after_it() -> None:
    """Each rule in the document on clients has at least one test with its name, and each such test a rule."""
    table = CLIENTS.partition("\n| Rule |")[2].partition("\n\n")[0]
    names = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    tests = [path.read_text() for path in (ROOT / "tests" / "frontends").glob("test_terminal*.py")]
    named = [name for text in tests for name in re.findall(r"^def test_(\w+)", text, re.MULTILINE)]
    rules = {name: [rule for rule in names if name.startswith(f"rule_{rule}_")] for name in named}
    assert [name for name, found in rules.items() if len(found) != 1] == []
    assert {rule for found in rules.values() for rule in found} == set(names)
