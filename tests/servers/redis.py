"""A private Redis, that forgets everything when it ends."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import Daemon, checked, find_program

INSTALL_COMMAND = "apt-get install redis-server"


class Redis(Daemon):
    """A Redis of its own on loopback: `with Redis() as redis: ...`.

    Attributes:
        port: Its port, kept through restarts.
    """

    def __init__(self, *, password: str = "") -> None:
        """Prepares a server; nothing runs yet.

        Args:
            password: What clients must know, if anything.

        Raises:
            ServerError: Redis or its command line tool is not installed.
        """
        super().__init__("redis")
        self._program = find_program("redis-server", INSTALL_COMMAND)
        self._client = find_program("redis-cli", INSTALL_COMMAND)
        self._password = password
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it is, with the password."""
        user = f":{self._password}@" if self._password else ""
        return f"redis://{user}{LOOPBACK}:{self.port}/0"

    def run(self, *command: str) -> str:
        """What it says to a command."""
        return checked([*self._cli(), *command]).stdout.decode().strip()

    def everything(self) -> bytes:
        """All that it keeps, as its dump has it: each key and each value."""
        keys = self.run("KEYS", "*").split()
        values = [self.run("GET", key) for key in keys if self.run("TYPE", key) == "string"]
        return "\n".join([*keys, *values]).encode()

    def _cli(self) -> list[str]:
        secret = ["--no-auth-warning", "-a", self._password] if self._password else []
        return [self._client, "-h", LOOPBACK, "-p", str(self.port), *secret]

    def _prepare(self) -> None:
        """There is nothing to prepare: what it needs stands on the command line."""

    def _command(self) -> Sequence[str]:
        options = ["--bind", LOOPBACK, "--port", str(self.port), "--save", "", "--appendonly", "no"]
        secret = ["--requirepass", self._password] if self._password else []
        return [self._program, *options, *secret, "--dir", str(self.directory)]

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def _is_ready(self) -> bool:
        done = subprocess.run([*self._cli(), "PING"], capture_output=True, check=False, timeout=10)
        return done.stdout.strip() == b"PONG"
