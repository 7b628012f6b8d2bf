"""What a helper costs before its first answer, beside what importing ldap3 alone costs."""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.helpers import PROGRAM
from bench.peer import USER, Login, Metric, Peer, Sample, end, environment, spawn
from bench.world import DOMAIN, World

_IMPORT = "import ldap3, sys; print(1, flush=True); sys.stdin.read()"


def peers(world: World) -> list[Peer]:
    """The peers of this family."""
    target = world.targets[0]
    ours = [str(PROGRAM), "--config", str(world.configuration("start", target))]
    return [
        Start("start", "ldapauth-generic, to the first answer", ours, target.wire),
        Start("start-import", "python -c 'import ldap3'", [sys.executable, "-c", _IMPORT]),
    ]


class Start(Peer):
    """A program that says `1` when it is ready: ours to a question that waits in the pipe from the beginning."""

    def __init__(self, key: str, label: str, command: Sequence[str], wire: str = "") -> None:
        super().__init__(key, label, wire)
        self._command = command

    def start(self) -> None:
        """Starts it once, so that its modules are compiled, as they are where it was installed."""
        self.measure([])

    def measure(self, logins: Sequence[Login]) -> Sample:  # noqa: ARG002 - there is one question
        """One start."""
        start = time.perf_counter()
        process = spawn(self._command, environment())
        try:
            assert process.stdin is not None  # noqa: S101 - for the type checker: `spawn` makes pipes
            assert process.stdout is not None  # noqa: S101 - likewise
            process.stdin.write(f"isuser:{USER % 0}:{DOMAIN}\n".encode())
            answer = process.stdout.read(2)
            seconds = time.perf_counter() - start
            if answer != b"1\n":
                raise RuntimeError(f"{self.key}: a wrong answer: {answer!r}")
            return {Metric.START: seconds * 1e3, Metric.MEMORY: _peak_memory(process) / 2**20}
        finally:
            end(process)

    def stop(self) -> None:
        """There is nothing to stop."""


def _peak_memory(process: subprocess.Popen[bytes]) -> int:
    """Bytes. Not of the resource usage, in which a child inherits the peak of its parent."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
