r"""The generic line protocol of Prosody's mod_auth_external: one command a line, one `1\n` or `0\n` each. Sans-IO.

Owns the framing. Knows nothing of what a line says (`command.py`), of descriptors or of time.
"""

MAX_LINE = 65536
"""Bytes of a line that are kept; Prosody sends 1,000 at most. A longer one is refused as a whole."""


class Codec:
    r"""Turns bytes into lines, and answers into bytes.

    A line ends at `\n` alone: `\r` and every other kind of line break can be part of a password.
    """

    terminal_safe = True

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> None:
        """Takes what was read."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next line without its end; empty for one that is too long; None when there is none yet."""
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > MAX_LINE:
                self._skipping = True
                self._buffer.clear()
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        skipped, self._skipping = self._skipping or end > MAX_LINE, False
        return b"" if skipped else line

    def rest(self) -> bytes:
        """What has come of a line that has not ended."""
        return bytes(self._buffer) or (b" " if self._skipping else b"")

    @staticmethod
    def encode(*, accepted: bool) -> bytes:
        """An answer."""
        return b"1\n" if accepted else b"0\n"
