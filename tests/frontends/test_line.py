"""The framing of the generic line protocol: lines out of bytes, however they come."""

import tracemalloc
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldapauth.frontends import command, line
from ldapauth.frontends.command import Command, Malformed
from ldapauth.frontends.line import MAX_LINE, Codec
from tests.frontends.fixtures import UNFINISHED, Fixture, cuts, described, frames, load

FIXTURES = load("line")
GOOD = b"isuser:juliet:example.com"
UNDERSTOOD = "isuser 'juliet' 'example.com'"
TOO_LONG = [MAX_LINE + 1, 100_000, 1_000_000]

# Many small pieces as they come from a pipe or a terminal, with line breaks likely enough.
pieces = st.lists(st.binary(max_size=20) | st.sampled_from([b"\n", b":", b"auth:", b"auth:a:b:c\n", b"isuser:a:b\n"]))


def in_pieces(data: bytes, size: int) -> list[bytes]:
    """The data in pieces of one size."""
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_lines_do_not_depend_on_how_the_bytes_come(fixture: Fixture) -> None:
    """Whole, byte by byte, or split at any one place, an input gives the same lines."""
    for cut in cuts(fixture.data):
        assert described(Codec(), cut) == fixture.expected


@pytest.mark.parametrize("fixture", [fixture for fixture in FIXTURES if fixture.finished], ids=str)
@pytest.mark.parametrize(
    ("trailing", "more"),
    [(GOOD + b"\n", UNDERSTOOD), (GOOD, UNFINISHED), (b"\xff", UNFINISHED)],
    ids=["another-line", "half-a-line", "a-byte"],
)
def test_what_follows_changes_nothing(fixture: Fixture, trailing: bytes, more: str) -> None:
    """Data behind an input leaves its lines as they are, and is what comes next."""
    assert described(Codec(), [fixture.data + trailing]) == [*fixture.expected, more]


@pytest.mark.parametrize("size", [4096, 65_536, 1 << 21], ids=lambda size: f"pieces-of-{size}")
def test_longest_line_is_understood(size: int) -> None:
    """A line of exactly the limit comes out whole."""
    longest = b"auth:juliet:example.com:".ljust(MAX_LINE, b"x")
    assert frames(Codec(), in_pieces(longest + b"\n" + GOOD + b"\n", size)) == [longest, GOOD]


@pytest.mark.parametrize("length", TOO_LONG)
@pytest.mark.parametrize("size", [100, 4096, 65_536, 1 << 21], ids=lambda size: f"pieces-of-{size}")
def test_too_long_line_is_malformed_and_the_next_one_read(length: int, size: int) -> None:
    """A line beyond the limit gives one malformed frame, and the line behind it is understood."""
    data = b"auth:juliet:example.com:".ljust(length, b"x") + b"\n" + GOOD + b"\n"
    assert described(Codec(), in_pieces(data, size)) == ["malformed: unknown command", UNDERSTOOD]


def test_end_of_a_too_long_line_is_no_line_of_its_own() -> None:
    """What comes of a too long line after the limit is passed over, even if it reads like a question."""
    codec = Codec()
    assert frames(codec, [b"x" * (MAX_LINE + 1), GOOD + b"\n"]) == [b""]
    assert codec.rest() == b""


def test_too_long_line_that_has_not_ended_is_unfinished() -> None:
    """After more than the limit without a line break there is no frame, and the input counts as unfinished."""
    assert described(Codec(), in_pieces(b"x" * (MAX_LINE + 1), 4096)) == [UNFINISHED]


def test_endless_line_takes_no_memory() -> None:
    """A megabyte without a line break is not kept."""
    codec = Codec()
    piece = b"x" * 4096
    tracemalloc.start()
    try:
        assert frames(codec, [piece] * 256) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_LINE
    assert described(codec, [b"\n" + GOOD + b"\n"]) == ["malformed: unknown command", UNDERSTOOD]


@given(pieces)
def test_any_bytes_give_commands_or_malformed(given_pieces: list[bytes]) -> None:
    """Whatever comes in whatever pieces, each line break ends one frame that is a command or malformed."""
    found = frames(Codec(), given_pieces)
    assert len(found) == b"".join(given_pieces).count(b"\n")
    assert all(isinstance(command.parse(frame), Command | Malformed) for frame in found)


@given(pieces)
def test_good_line_is_understood_after_any_noise(noise: list[bytes]) -> None:
    """After any noise that a line break ends, a good line is understood."""
    assert described(Codec(), [*noise, b"\n", GOOD, b"\n"])[-1] == UNDERSTOOD


@given(pieces, st.integers(min_value=1, max_value=30))
def test_limit_does_not_depend_on_how_the_bytes_come(given_pieces: list[bytes], limit: int) -> None:
    """Whatever the pieces, the same lines are too long, and the others come out whole."""
    *lines, _ = b"".join(given_pieces).split(b"\n")
    with mock.patch.object(line, "MAX_LINE", limit):
        assert frames(Codec(), given_pieces) == [b"" if len(whole) > limit else whole for whole in lines]


def test_answers() -> None:
    """Yes is a 1 and no a 0, on a line of its own."""
    assert (Codec.encode(accepted=True), Codec.encode(accepted=False)) == (b"1\n", b"0\n")
