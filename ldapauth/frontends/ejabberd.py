"""ejabberd's extauth framing: two bytes of length and a command; the answer is `00 02 00 01` or `00 02 00 00`. Sans-IO.

Owns the framing. Knows nothing of what a frame says (`command.py`), of descriptors or of time.
"""

_HEAD = 2


class Codec:
    """Turns bytes into frames, and answers into bytes. A frame has 65,535 bytes at most, so nothing more is kept."""

    terminal_safe = False  # lpty hands answers over as C strings, and these begin with NUL

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Takes what was read; gives the content of each frame that has ended by now, which may be empty."""
        data = self._rest + data
        frames, offset = [], 0
        while (start := offset + _HEAD) <= len(data):
            end = start + int.from_bytes(data[offset:start], "big")
            if end > len(data):
                break
            frames.append(data[start:end])
            offset = end
        self._rest = data[offset:]
        return frames

    def rest(self) -> bytes:
        """What has come of a frame that has not ended."""
        return self._rest

    @staticmethod
    def encode(*, accepted: bool) -> bytes:
        """An answer."""
        return b"\0\2\0\1" if accepted else b"\0\2\0\0"
