"""ejabberd's extauth framing: two bytes of length and a command; the answer is `00 02 00 01` or `00 02 00 00`. Sans-IO.

Owns the framing. Knows nothing of what a frame says (`command.py`), of descriptors or of time.
"""

_HEAD = 2


class Codec:
    """Turns bytes into frames, and answers into bytes. A frame has 65,535 bytes at most, so nothing more is kept."""

    terminal_safe = False  # lpty hands answers over as C strings, and these begin with NUL

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes what was read."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The content of the next frame, which may be empty; None when there is none yet."""
        if len(self._buffer) < _HEAD:
            return None
        end = _HEAD + int.from_bytes(self._buffer[:_HEAD], "big")
        if len(self._buffer) < end:
            return None
        frame = bytes(self._buffer[_HEAD:end])
        del self._buffer[:end]
        return frame

    def rest(self) -> bytes:
        """What has come of a frame that has not ended."""
        return bytes(self._buffer)

    @staticmethod
    def encode(*, accepted: bool) -> bytes:
        """An answer."""
        return b"\0\2\0\1" if accepted else b"\0\2\0\0"
