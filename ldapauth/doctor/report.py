"""How findings are written: as text with colours on a terminal, or as JSON; and the exit status for scripts."""

import io
import json
import sys
from collections import Counter
from collections.abc import Iterable

import click

from .finding import Line, Mark

_COLOURS = {Mark.OK: "green", Mark.WARNING: "yellow", Mark.PROBLEM: "red", Mark.NOT_ASKED: "cyan"}
_COUNTED = {Mark.PROBLEM: "problem(s)", Mark.WARNING: "warning(s)", Mark.NOT_ASKED: "not asked"}
_WIDTH = max(len(mark) for mark in Mark)

STATUSES = {Mark.OK: 0, Mark.NOT_ASKED: 0, Mark.WARNING: 1, Mark.PROBLEM: 2}
"""The exit status is the highest of these."""


def as_text(lines: Iterable[Line]) -> int:
    """Prints each finding as it comes, below what it is about, and returns the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a server's words may be in any script
    above: str | None = None
    marks: Counter[Mark] = Counter()
    for line in lines:
        title = " on ".join(filter(None, (line.domain, line.server))) or "configuration"
        if title != above:
            click.secho(title if above is None else f"\n{title}", bold=True)
            above = title
        finding = line.finding
        marks[finding.mark] += 1
        mark = click.style(f"{finding.mark:{_WIDTH}}", fg=_COLOURS[finding.mark])
        click.echo(f"  {mark}  {finding.text}")
        if finding.remedy:
            click.echo(f"  {'':{_WIDTH}}  -> {finding.remedy}")
    counts = [f"{marks[mark]} {word}" for mark, word in _COUNTED.items() if marks[mark]]
    click.echo(f"\n{', '.join(counts) or 'nothing is wrong'}")
    return _status(marks)


def as_json(lines: Iterable[Line]) -> int:
    """Prints one object with all findings, and returns the exit status."""
    found = list(lines)
    status = _status(line.finding.mark for line in found)
    findings = [
        {
            "domain": line.domain,
            "server": line.server,
            "check": line.check,
            "mark": line.finding.mark,
            "finding": line.finding.text,
            "remedy": line.finding.remedy,
        }
        for line in found
    ]
    json.dump({"status": status, "findings": findings}, sys.stdout, indent=2)
    click.echo()
    return status


def _status(marks: Iterable[Mark]) -> int:
    return max((STATUSES[mark] for mark in marks), default=0)
