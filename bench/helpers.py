"""Programs that answer the generic line protocol over pipes, one question at a time."""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.peer import WARM_UP, Login, Metric, Peer, Sample, Unavailable, cpu_seconds, draw, end, environment, spawn
from bench.world import DOMAIN, Target, World

PROGRAM = Path(sys.executable).with_name("ldapauth-generic")

_ANSWER = 64  # bytes, more than any answer
_PYTHON_LDAP = "not installed: apt-get install gcc libldap2-dev libsasl2-dev && pip install python-ldap"


def peers(world: World) -> list[Peer]:
    """The peers of this family."""
    return [peer for target in world.targets for peer in _peers(world, target)]


def _peers(world: World, target: Target) -> list[Peer]:
    def bench_program(name: str) -> list[str]:
        return [sys.executable, "-m", f"bench.programs.{name}", *target.arguments]

    ours = [str(PROGRAM), "--config", str(world.configuration(f"helper{target.suffix}", target))]
    libldap = target.environment()
    return [
        Helper("ours", "ldapauth-generic", target, ours, environment()),
        Helper("floor", "bare sockets, hand-made BER", target, bench_program("floor"), environment()),
        Helper("ldap3", "ldap3, search + rebind", target, bench_program("with_ldap3"), environment()),
        PythonLdap("python-ldap", "python-ldap, kept connections", target, bench_program("with_python_ldap"), libldap),
    ]


class Helper(Peer):
    """A program with one question under way.

    Args:
        name: The key without what the target adds to it.
        label: As of every peer.
        target: What it asks.
        command: The program.
        env: Its environment.
    """

    def __init__(self, name: str, label: str, target: Target, command: Sequence[str], env: Mapping[str, str]) -> None:
        super().__init__(name + target.suffix, label, target.wire)
        self._command = command
        self._environment = env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the program."""
        self._process = spawn(self._command, self._environment)

    def measure(self, logins: Sequence[Login]) -> Sample:
        """The logins, one after the other."""
        assert self._process is not None  # noqa: S101 - for the type checker: it was started
        self._ask(self._process, draw(WARM_UP))
        cpu = cpu_seconds([self._process.pid])
        seconds = self._ask(self._process, logins)
        cpu = cpu_seconds([self._process.pid]) - cpu
        return {Metric.RATE: len(logins) / seconds, Metric.CPU: cpu / len(logins) * 1e6}

    def stop(self) -> None:
        """Ends the program."""
        if self._process:
            end(self._process)

    def refused(self, logins: Sequence[Login]) -> int:
        """How many of the logins, all with the right password, are refused."""
        assert self._process is not None  # noqa: S101 - for the type checker: it was started
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: `spawn` makes pipes
        assert self._process.stdout is not None  # noqa: S101 - likewise
        questions = [f"auth:{login.user}:{DOMAIN}:{login.password}\n".encode() for login in logins]
        answers = self._exchange(self._process.stdin.fileno(), self._process.stdout.fileno(), questions)
        return len(questions) - answers.count(b"1\n")

    def _ask(self, process: subprocess.Popen[bytes], logins: Sequence[Login]) -> float:
        """Seconds until everything is answered."""
        assert process.stdin is not None  # noqa: S101 - for the type checker: `spawn` makes pipes
        assert process.stdout is not None  # noqa: S101 - likewise
        questions = [f"auth:{login.user}:{DOMAIN}:{login.password}\n".encode() for login in logins]
        expected = [b"1\n" if login.right else b"0\n" for login in logins]
        start = time.perf_counter()
        answers = self._exchange(process.stdin.fileno(), process.stdout.fileno(), questions)
        seconds = time.perf_counter() - start
        if answers != expected:
            raise RuntimeError(f"{self.key}: a wrong answer among {answers}")
        return seconds

    def _exchange(self, to: int, back: int, questions: Sequence[bytes]) -> list[bytes]:
        """The answers to the questions, each asked when the one before is answered."""
        answers = []
        for question in questions:
            os.write(to, question)
            answers.append(os.read(back, _ANSWER))
        return answers


class PythonLdap(Helper):
    """The one with python-ldap, which is no dependency of the project: it is built with a compiler."""

    def start(self) -> None:
        """Starts the program, if the library is there."""
        if importlib.util.find_spec("ldap") is None:
            raise Unavailable(_PYTHON_LDAP)
        super().start()
