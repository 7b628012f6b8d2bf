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
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Takes what was read; gives the lines that have ended by now, an empty one for each that is too long."""
        whole = self._rest + data
        lines = whole.split(b"\n")
        self._rest = lines.pop()
        if self._skipping and lines:
            lines[0] = b""
            self._skipping = False
        if len(self._rest) > MAX_LINE:
            self._rest = b""
            self._skipping = True
        return lines if len(whole) <= MAX_LINE else [line if len(line) <= MAX_LINE else b"" for line in lines]

    def rest(self) -> bytes:
        """What has come of a line that has not ended."""
        return self._rest or (b" " if self._skipping else b"")

    @staticmethod
    def encode(*, accepted: bool) -> bytes:
        """An answer."""
        return b"1\n" if accepted else b"0\n"
