"""What the helpers written in Python share: their arguments, and the line protocol with one question under way."""

import os
import sys
from collections.abc import Callable
from typing import NamedTuple

_READ = 4096


class Arguments(NamedTuple):
    """The arguments: where the directory is and whom to trust, where people are, and the account that searches."""

    url: str
    ca_file: str
    base_dn: str
    service_dn: str
    service_password: str

    @property
    def tls(self) -> bool:
        """Whether it is LDAPS."""
        return self.url.startswith("ldaps://")

    @property
    def address(self) -> tuple[str, int]:
        """The host and port."""
        host, _, port = self.url.partition("://")[2].rpartition(":")
        return host, int(port)


def arguments() -> Arguments:
    """The program's arguments."""
    return Arguments(*sys.argv[1:])


def serve(check: Callable[[bytes, bytes], bool]) -> None:
    """Answers until the input ends. Whoever asks waits for each answer, so what one read gives is one question."""
    while line := os.read(0, _READ):
        _, user, _, password = line[:-1].split(b":", 3)
        os.write(1, b"1\n" if check(user, password) else b"0\n")


def serve_ejabberd(check: Callable[[bytes, bytes], bool]) -> None:
    """The same, for ejabberd: two bytes of length stand before a question, and the length of an answer before it."""
    while frame := os.read(0, _READ):
        _, user, _, password = frame[2:].split(b":", 3)
        os.write(1, b"\0\2\0\1" if check(user, password) else b"\0\2\0\0")
