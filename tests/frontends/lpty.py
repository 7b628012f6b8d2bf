"""What of Prosody calls lpty: `lpty.lua` under a real Lua, with the real library, as mod_auth_external does."""

import re
import select
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.frontends.programs import GENERIC, PATIENCE
from tests.servers.process import ServerError, wait_until

INSTALL_COMMAND = "apt-get install lua5.2 lua-lpty"

# Patience where it is not the timeout that is tried, for no busy machine to change an answer.
NO_HURRY = 10.0

_SCRIPT = Path(__file__).with_name("lpty.lua")


def find_lua() -> list[str]:
    """The command that runs Lua with lpty.

    Raises:
        ServerError: There is none; the message has the command that installs it.
    """
    for program in ("lua5.2", "lua5.1"):
        path = shutil.which(program)
        if path and subprocess.run([path, "-e", 'require "lpty"'], capture_output=True, check=False).returncode == 0:
            return [path]
    raise ServerError(f"there is no Lua with lpty; install it with: {INSTALL_COMMAND}")


class Prosody:
    """What of Prosody calls lpty. A context manager after which neither it nor the helper runs.

    Args:
        lua: The command that runs Lua.
        pass_fds: Descriptors that it inherits, and opens no others but terminals.
    """

    def __init__(self, lua: Sequence[str], pass_fds: Sequence[int] = ()) -> None:
        self._process = subprocess.Popen(
            [*lua, str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=pass_fds,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def order(self, *words: str) -> str:
        """Has something done and returns what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(words).encode() + b"\n")
        assert select.select([self._process.stdout], [], [], PATIENCE)[0], words
        return self._process.stdout.readline().decode().removesuffix("\n")

    def new(self, command: Path) -> None:
        """Has a new terminal for a command."""
        assert self.order("new", str(command)) == "ok"

    def start(self) -> None:
        """Starts the command, as the first question would."""
        assert self.order("start") == "ok"

    def ask(self, question: str, timeout: float = NO_HURRY) -> str:
        """Asks, and returns what is made of the answer."""
        return self.order("ask", str(timeout), f"{question}\n".encode().hex())

    def wait_until_over(self) -> None:
        """Waits until the command has ended."""
        assert wait_until(lambda: self.order("running") == "no", PATIENCE)


def is_echo(outcome: str, question: str) -> bool:
    """Whether Prosody has read its own question."""
    return outcome in {f"other {(question + end).encode().hex()}" for end in ("", "\n", "\r\n")}


@dataclass
class Command:
    """What `external_auth_command` names, and its log."""

    path: Path
    log_file: Path
    seen: int = field(default=0)

    @classmethod
    def make(cls, directory: Path, config: Path, log: Path) -> Self:
        """Writes an executable that runs the program with a configuration of its own."""
        path = directory / "helper"
        path.write_text(f"#!/bin/sh\nexport LDAPAUTH_CONFIG='{config}'\nexec '{GENERIC.program}'\n")
        path.chmod(0o755)
        return cls(path, log)

    @property
    def log(self) -> str:
        """What has been logged."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        """The process that was started last."""
        return int(re.findall(r"event=start pid=(\d+)", self.log)[-1])

    def is_ready(self) -> bool:
        """Whether one more process answers than was waited for."""
        return self.log.count("event=ready") > self.seen

    def wait_until_ready(self) -> None:
        """Waits until one more process answers."""
        assert wait_until(self.is_ready, PATIENCE), self.log
        self.seen += 1


def opened(pid: int) -> set[str]:
    """What a process has open, the master side of any terminal as `/dev/ptmx`."""
    names = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return {"/dev/ptmx" if name.endswith("/ptmx") else name for name in names}


def file_name(descriptor: int) -> str:
    """The name by which `opened` has what is open here."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())
