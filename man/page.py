"""Makes a manual page of a document: the Markdown that docs/configuration.md is written in becomes roff (man(7)).

Owns the conversion and nothing else; needs the standard library alone, as it runs where the package is built.
"""

import re
from collections.abc import Iterator


def page(markdown: str, name: str, section: int, summary: str) -> str:
    """Returns the manual page.

    Args:
        markdown: The document. Its title is left out.
        name: What the page describes.
        section: The section of the manual.
        summary: The line that `apropos` shows.
    """
    head = f'.TH "{name.upper()}" "{section}" "" "ldapauth" ""\n.ad l\n'
    named = f".SH NAME\n{_escaped(name)} \\- {_escaped(summary)}\n"
    return "".join([head, named, ".SH DESCRIPTION\n", *_blocks(markdown)])


def _blocks(markdown: str) -> Iterator[str]:
    """The document block by block: a heading, a table, a block of code, a list, a paragraph."""
    # What the group has caught, every second piece, is code.
    for number, piece in enumerate(re.split(r"^```.*?\n(.*?)^```$", markdown, flags=re.MULTILINE | re.DOTALL)):
        if number % 2:
            yield f".PP\n.in +4n\n.nf\n{_guarded(_escaped(piece))}.fi\n.in\n"
            continue
        for block in filter(None, map(str.strip, re.split(r"\n\s*\n", piece))):
            yield from _text(block)


def _text(text: str) -> Iterator[str]:
    if heading := re.match(r"(#+) (.*)", text):
        level = len(heading[1])
        if level > 1:
            yield f"{'.SH' if level == 2 else '.SS'} {_inline(heading[2])}\n"
    elif text.startswith("|"):
        yield from _table(text.splitlines())
    else:
        # An item begins a line; whatever is before the first one is a paragraph.
        first, *items = re.split(r"^(?:-|\d+\.) ", text, flags=re.MULTILINE)
        if first.strip():
            yield f".PP\n{_guarded(_inline(' '.join(first.split())))}\n"
        for item in items:
            yield f".IP \\(bu 2\n{_guarded(_inline(' '.join(item.split())))}\n"


def _table(lines: list[str]) -> Iterator[str]:
    """A row is an entry: its first cell, and the others behind it, the last one as a text of its own."""
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    for first, *cells in rows:
        details = [f"{head.lower()}: {cell}" for head, cell in zip(heads[1:-1], cells[:-1], strict=True)]
        body = f"({'; '.join(details)}) {cells[-1]}" if details else cells[-1]
        yield f".TP\n{_inline(first)}\n{_guarded(_inline(body))}\n"


def _inline(text: str) -> str:
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)
    pieces = re.split(r"(`[^`]+`|\*\*[^*]+\*\*|(?<!\w)\*[^*\s][^*]*\*)", text)
    return "".join(map(_styled, pieces))


def _styled(piece: str) -> str:
    if piece.startswith(("`", "**")) and len(piece) > 2:
        return rf"\fB{_escaped(piece.strip('*`'))}\fR"
    if piece.startswith("*") and piece.endswith("*") and len(piece) > 2:
        return rf"\fI{_escaped(piece[1:-1])}\fR"
    return _escaped(piece)


def _escaped(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    return text.replace("^", r"\(ha").replace("~", r"\(ti")


def _guarded(text: str) -> str:
    """A text of which no line is a request of roff's."""
    return re.sub(r"^([.'])", r"\&\1", text, flags=re.MULTILINE)
