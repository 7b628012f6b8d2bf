"""What the doctor has to say: findings, each with a mark and a remedy. Imports nothing of ours but the errors.

Texts come from servers and certificates too, so they are made harmless for a terminal here, once.
"""

import dataclasses
import enum

from ldapauth.errors import printable


class Mark(enum.StrEnum):
    """How a finding is meant."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    NOT_ASKED = "not asked"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found out, or could not be.

    Attributes:
        mark: How it is meant.
        text: What was found, in one line.
        remedy: What to do about it, in one line; empty where nothing has to be done.
    """

    mark: Mark
    text: str
    remedy: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", printable(self.text))
        object.__setattr__(self, "remedy", printable(self.remedy))


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A finding and where it belongs.

    Attributes:
        domain: The domain; empty for what concerns all of them.
        server: The server's URL; empty for what concerns all of them.
        check: The name of the check.
        finding: What it found.
    """

    domain: str
    server: str
    check: str
    finding: Finding


class NotAsked(Exception):
    """A check can't be made; the text says why."""


def ok(text: str) -> Finding:
    """Something that is as it must be."""
    return Finding(Mark.OK, text)


def warning(text: str, remedy: str) -> Finding:
    """Something that works and could do harm, now or later."""
    return Finding(Mark.WARNING, text, remedy)


def problem(text: str, remedy: str) -> Finding:
    """Something because of which logins, or what else the configuration allows, fail."""
    return Finding(Mark.PROBLEM, text, remedy)


def not_asked(text: str, remedy: str = "") -> Finding:
    """Something that could not be found out."""
    return Finding(Mark.NOT_ASKED, text, remedy)
