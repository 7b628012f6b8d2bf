"""lualdap, called as Prosody's mod_auth_ldap calls it: within one process, so without a pipe for each question."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.helpers import Helper
from bench.peer import Peer, Unavailable
from bench.world import Target, World
from tests.servers.process import ServerError, find_program

_INSTALL_COMMAND = "apt-get install lua5.4 lua-ldap"
_SCRIPT = Path(__file__).parent / "programs" / "mod_auth_ldap.lua"


def peers(world: World) -> list[Peer]:
    """The peers of this family."""
    return [Lualdap(target) for target in world.targets]


class Lualdap(Helper):
    """A Lua program that is given all logins at once, and answers them at once."""

    def __init__(self, target: Target) -> None:
        command = ["lua5.4", str(_SCRIPT), *target.arguments]
        super().__init__("lualdap", "lualdap, as mod_auth_ldap calls it", target, command, target.environment())

    def start(self) -> None:
        """Starts the program, if Lua and the library are there."""
        try:
            lua = find_program("lua5.4", _INSTALL_COMMAND)
        except ServerError:
            raise Unavailable(f"not installed: {_INSTALL_COMMAND}") from None
        if subprocess.run([lua, "-e", "require 'lualdap'"], capture_output=True, check=False).returncode:  # noqa: S603 - a command of our own
            raise Unavailable(f"not installed: {_INSTALL_COMMAND}")
        super().start()

    def _exchange(self, to: int, back: int, questions: Sequence[bytes]) -> list[bytes]:
        """The answers to the questions, which an empty line ends."""
        with os.fdopen(to, "wb", closefd=False) as stream:
            stream.write(b"".join(questions) + b"\n")
        with os.fdopen(back, "rb", closefd=False, buffering=0) as stream:
            return [stream.readline() for _ in questions]
