"""`python -m tests.fuzz`: a fuzzer that is guided by coverage looks for bytes that the reader of LDAP answers dies of.

It needs atheris (`pip install atheris`), which is no dependency of the tests; they have the same properties from
hypothesis. Arguments are libFuzzer's, such as `-max_total_time=600`, and a folder for what it finds worth keeping.
"""

import importlib
import sys
from typing import Any

atheris: Any = importlib.import_module("atheris")  # no dependency, and without types

with atheris.instrument_imports():
    from ldapauth.directory import wire


def one(data: bytes) -> None:
    """Any bytes, in pieces, are messages or a `ProtocolError`, and what is known at a glance is what they say."""
    size = data[0] + 1 if data else 1
    stream = bytes(data[1:])
    whole = _read([stream])
    assert _read([stream[start : start + size] for start in range(0, len(stream), size)]) == whole
    begun = wire.sole_entry(stream, 7, b"uid", b"juliet")
    dn = begun[0] if begun and begun[1] == wire.search_success(7) else None
    if dn is not None:
        assert whole == ([wire.Entry(7, wire.decoded_dn(dn), {"uid": [b"juliet"]}), wire.Result(7, "search", 0)], False)


def _read(pieces: list[bytes]) -> tuple[list[wire.Message], bool]:
    """The messages, and whether they ended with an error."""
    reader, messages = wire.Reader(), []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (message := reader.next_message()) is not None:
                messages.append(message)
    except wire.ProtocolError:
        return messages, True
    return messages, False


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
