"""What is common to everything that is measured. Knows no peer."""

import enum
import os
import random
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The project, from which the programs of `bench.programs` are run."""

PEOPLE = 10_000
USER, PASSWORD = "user%05d", "secret%05d"

WARM_UP = 20
"""Logins before each turn that do not count: connections are open and caches warm on a server that is in use."""

_WRONG_ONE_IN = 50
_CPUCLOCK_SCHED = 2


class Unavailable(Exception):
    """A peer is not installed; the text says how it can be had."""


class Metric(enum.Enum):
    """What is measured; the value is the head of the column."""

    RATE = "logins/s"
    CPU = "CPU µs/login"
    START = "start ms"
    MEMORY = "peak MiB"


Sample = Mapping[Metric, float]


@dataclass(frozen=True)
class Login:
    """One login; now and then with a wrong password, so that a peer that accepts everything is found out."""

    user: str
    password: str
    right: bool


class Peer(ABC):
    """One way to check passwords.

    Attributes:
        key: By which `--only` and the ratios name it.
        label: By which the table names it.
        wire: What it speaks to the directory: `plain`, `TLS`, or nothing.
    """

    def __init__(self, key: str, label: str, wire: str = "") -> None:
        self.key = key
        self.label = label
        self.wire = wire

    @abstractmethod
    def start(self) -> None:
        """Makes it ready.

        Raises:
            Unavailable: It is not installed.
        """

    @abstractmethod
    def measure(self, logins: Sequence[Login]) -> Sample:
        """One turn, in which every answer is compared with what it must be."""

    @abstractmethod
    def stop(self) -> None:
        """Leaves nothing behind; it may not have been started."""


def draw(count: int) -> list[Login]:
    """Logins of random people."""
    drawn = []
    for _ in range(count):
        number, right = random.randrange(PEOPLE), random.randrange(_WRONG_ONE_IN) > 0  # noqa: S311 - no secret
        drawn.append(Login(USER % number, PASSWORD % number + ("" if right else "!"), right))
    return drawn


def cpu_seconds(pids: Iterable[int]) -> float:
    """The CPU time, of user and system, that processes have used.

    It is what `/proc/PID/stat` has in hundredths of a second, and too coarse there. Source: clock_getcpuclockid(3).
    """
    return sum(time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED) for pid in pids)


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what changes how Python and libldap work."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LDAP"))} | more


def spawn(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A program with pipes to its standard input and output."""
    return subprocess.Popen(  # noqa: S603 - the commands are this package's own
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=ROOT, env=env
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a program by closing its input, and waits for it."""
    with process:
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
