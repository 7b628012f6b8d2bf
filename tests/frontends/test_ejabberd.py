"""The framing of ejabberd's protocol: frames out of bytes, however they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldapauth.frontends import command
from ldapauth.frontends.command import Command, Malformed
from ldapauth.frontends.ejabberd import Codec
from tests.frontends.fixtures import UNFINISHED, Fixture, cuts, described, frames, load

FIXTURES = load("ejabberd")
GOOD = b"isuser:juliet:example.com"
UNDERSTOOD = "isuser 'juliet' 'example.com'"


def framed(content: bytes) -> bytes:
    """A frame."""
    return len(content).to_bytes(2, "big") + content


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_frames_do_not_depend_on_how_the_bytes_come(fixture: Fixture) -> None:
    """Whole, byte by byte, or split at any one place, an input gives the same frames."""
    for cut in cuts(fixture.data):
        assert described(Codec(), cut) == fixture.expected


@pytest.mark.parametrize("fixture", [fixture for fixture in FIXTURES if fixture.finished], ids=str)
@pytest.mark.parametrize(
    ("trailing", "more"),
    [(framed(GOOD), UNDERSTOOD), (framed(GOOD)[:-1], UNFINISHED), (b"\0", UNFINISHED)],
    ids=["another-frame", "half-a-frame", "half-a-length"],
)
def test_what_follows_changes_nothing(fixture: Fixture, trailing: bytes, more: str) -> None:
    """Data behind an input leaves its frames as they are, and is what comes next."""
    assert described(Codec(), [fixture.data + trailing]) == [*fixture.expected, more]


@pytest.mark.parametrize("size", [1, 4096, 65_536, 1 << 17], ids=lambda size: f"pieces-of-{size}")
def test_longest_frame_is_understood(size: int) -> None:
    """A frame of 65,535 bytes comes out whole, and so does the next."""
    longest = b"auth:juliet:example.com:".ljust(65_535, b"x")
    data = framed(longest) + framed(GOOD)
    codec = Codec()
    assert frames(codec, (data[start : start + size] for start in range(0, len(data), size))) == [longest, GOOD]
    assert codec.rest() == b""


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_zero_length_is_malformed_and_the_next_frame_read(count: int) -> None:
    """Each zero length gives one malformed frame; it is neither the end nor skipped."""
    assert described(Codec(), [b"\0\0" * count + framed(GOOD)]) == ["malformed: unknown command"] * count + [UNDERSTOOD]


@given(st.lists(st.binary(max_size=300)))
def test_any_bytes_give_commands_or_malformed(pieces: list[bytes]) -> None:
    """Whatever comes in whatever pieces, each frame is a command or malformed, and nothing gets lost."""
    codec = Codec()
    found = frames(codec, pieces)
    assert all(isinstance(command.parse(frame), Command | Malformed) for frame in found)
    assert b"".join(map(framed, found)) + codec.rest() == b"".join(pieces)


@given(st.lists(st.binary(max_size=300)), st.integers(min_value=1, max_value=50))
def test_contents_come_out_as_they_went_in(contents: list[bytes], size: int) -> None:
    """Whatever the frames hold and wherever they are cut, the same come out in order, and a good one is understood."""
    data = b"".join(map(framed, [*contents, GOOD]))
    found = frames(Codec(), [data[start : start + size] for start in range(0, len(data), size)])
    assert found == [*contents, GOOD]


def test_answers() -> None:
    """Yes and no are two bytes, 1 and 0, behind their length."""
    assert (Codec.encode(accepted=True), Codec.encode(accepted=False)) == (b"\0\2\0\1", b"\0\2\0\0")
