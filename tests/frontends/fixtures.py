"""The wire fixtures, and ways to feed a codec: what the tests of both codecs share."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ldapauth.frontends import command
from ldapauth.frontends.stdio import Codec

UNFINISHED = "unfinished"

_ROOT = Path(__file__).parents[1] / "wire"


@dataclass(frozen=True)
class Fixture:
    """One input, and what must come out of it; see the README beside the files."""

    name: str
    data: bytes
    expected: list[str]

    def __str__(self) -> str:
        return self.name

    @property
    def finished(self) -> bool:
        """Whether the input ends with the end of a frame."""
        return UNFINISHED not in self.expected


def load(protocol: str) -> list[Fixture]:
    """The fixtures of a protocol, those of `valid/` seen to have nothing malformed in them, the others something."""
    fixtures = [_read(path) for path in sorted((_ROOT / protocol).glob("*/*.bin"))]
    for fixture in fixtures:
        wrong = any(line.startswith(("malformed", UNFINISHED)) for line in fixture.expected)
        assert wrong == fixture.name.startswith("invalid/"), fixture.name
    return fixtures


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The data whole, byte by byte, and in two pieces split at every place."""
    yield [data]
    yield [data[index : index + 1] for index in range(len(data))]
    for index in range(1, len(data)):
        yield [data[:index], data[index:]]


def frames(codec: Codec, pieces: Iterable[bytes]) -> list[bytes]:
    """The frames that a codec finds in what it is fed."""
    return [frame for piece in pieces for frame in codec.feed(piece)]


def described(codec: Codec, pieces: Iterable[bytes]) -> list[str]:
    """What comes out of a codec, written as in the fixtures."""
    lines = [_described(command.parse(frame)) for frame in frames(codec, pieces)]
    return [*lines, UNFINISHED] if codec.rest() else lines


def _described(parsed: command.Command | command.Malformed) -> str:
    if isinstance(parsed, command.Malformed):
        return f"malformed: {parsed.why}"
    fields = [parsed.local_part, parsed.domain]
    if parsed.name not in {"isuser", "removeuser"}:
        fields.append(parsed.secret)
    return " ".join([parsed.name, *map(ascii, fields)])


def _read(path: Path) -> Fixture:
    expected = path.with_suffix(".txt").read_text(encoding="ascii").splitlines()
    return Fixture(f"{path.parent.name}/{path.stem}", path.read_bytes(), expected)
