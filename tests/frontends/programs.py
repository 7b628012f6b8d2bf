"""Runs the helper programs as XMPP servers do: over pipes, or on a pseudo-terminal."""

import contextlib
import io
import os
import pty
import re
import select
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests import configuration
from tests.servers.ports import LOOPBACK
from tests.servers.process import Daemon, wait_until
from tests.servers.slapd import Slapd

PATIENCE = 20.0
"""Seconds until a test gives up waiting; what it waits for takes a small part of them."""

_LOG_LINE = re.compile(r"[-0-9]{10} [:0-9]{8},\d{3} (?:DEBUG|INFO|WARNING|ERROR) event=\w[-\w]*(?: [a-z]+=.+)?")


# Runs a command, reports its process id, lets go of the terminal, sleeps, and ends as the command does.
_SLEEPER = """
import os, sys
child = os.spawnvp(os.P_NOWAIT, sys.argv[2], sys.argv[2:])
os.write(int(sys.argv[1]), b"%d\\n" % child)
os.closerange(0, 1024)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
os._exit(code) if code >= 0 else os.kill(os.getpid(), -code)
"""


@dataclass(frozen=True)
class Wire:
    """A protocol as its clients speak it; deliberately not the code under test.

    Attributes:
        name: The protocol, as the programs and the configuration call it.
        question: Makes a question of a command.
        yes: The answer to a question that is accepted.
        no: The answer to any other.
    """

    name: str
    question: Callable[[bytes], bytes]
    yes: bytes
    no: bytes

    @property
    def program(self) -> str:
        """The installed program."""
        return str(Path(sys.executable).parent / f"ldapauth-{self.name}")

    def questions(self, commands: Iterable[str | bytes]) -> bytes:
        """The bytes of several questions, one behind the other."""
        return b"".join(
            self.question(command.encode() if isinstance(command, str) else command) for command in commands
        )


GENERIC = Wire("generic", lambda text: text + b"\n", b"1\n", b"0\n")
EJABBERD = Wire("ejabberd", lambda text: len(text).to_bytes(2, "big") + text, b"\0\2\0\1", b"\0\2\0\0")


def configure(
    directory: Path, slapd: Slapd, *, url: str | None = None, deadline: float = 10.0, log: Path | None = None
) -> Path:
    """Writes a configuration with every operation on, for both programs, and returns its path.

    Args:
        directory: Where to write it.
        slapd: The LDAP server.
        url: Where it is reached, if not directly.
        deadline: Seconds for an answer; long by default, for no busy machine to change an answer.
        log: The file that the log goes to; standard error, if not given.
    """
    limit = {"deadline": deadline}
    table = configuration.domain_table(slapd, servers=[url or slapd.url], deadline=deadline, connect_timeout=deadline)
    target = "stderr" if log is None else str(log)
    return configuration.write(directory, table, generic=limit, ejabberd=limit, log={"target": target})


def patched(statements: str) -> list[str]:
    """A command that runs the generic program after some statements, which break it or make a race repeatable."""
    return [sys.executable, "-c", f"{statements}\nfrom ldapauth.frontends import helper\nhelper.generic()"]


def is_log(text: str) -> bool:
    """Whether a text is whole lines of the log and nothing else."""
    return all(_LOG_LINE.fullmatch(line) for line in text.removesuffix("\n").split("\n")) if text else True


class Helper:
    """A helper program that runs: asked, and ended. A context manager after which it runs no more."""

    def __init__(self, wire: Wire, process: subprocess.Popen[bytes], *, reads: IO[bytes], writes: IO[bytes]) -> None:
        self.wire = wire
        self.process = process
        self._reads = reads
        self._writes = writes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self.process.pid

    def send(self, data: bytes) -> None:
        """Writes bytes as they are."""
        while data:
            data = data[self._writes.write(data) :]

    def ask(self, command: str | bytes) -> bool:
        """Asks one question and returns the answer, without which it is an error."""
        (answer,) = self.ask_all([command])
        return answer

    def ask_all(self, commands: Sequence[str | bytes]) -> list[bool]:
        """Sends questions at once and returns their answers."""
        self.send(self.wire.questions(commands))
        return self.answers(len(commands))

    def wait_until_accepted(self, command: str) -> None:
        """Asks until the answer is yes: a directory that has failed may be left alone for a moment."""
        assert wait_until(lambda: self.ask(command), PATIENCE)

    def answers(self, count: int) -> list[bool]:
        """The next answers; any other byte is an error."""
        meaning = {self.wire.yes: True, self.wire.no: False}
        size = len(self.wire.yes)
        data = self.receive(count * size)
        return [meaning[data[start : start + size]] for start in range(0, len(data), size)]

    def receive(self, size: int, seconds: float = PATIENCE) -> bytes:
        """So many bytes; less when the output ends before, or time runs out."""
        data = b""
        end = time.monotonic() + seconds
        while len(data) < size and select.select([self._reads], [], [], max(0.0, end - time.monotonic()))[0]:
            try:
                piece = self._reads.read(size - len(data))
            except OSError:  # EIO: nobody has the terminal open any more
                break
            if not piece:
                break
            data += piece
        return data

    def rest(self) -> bytes:
        """What it still writes until its output ends."""
        return self.receive(1 << 20)

    def status(self) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(PATIENCE)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def close_input(self) -> None:
        """Ends its input."""
        self._writes.close()

    def close_output(self) -> None:
        """Stops reading what it writes."""
        self._reads.close()

    def hang_up(self) -> None:
        """Closes both."""
        self.close_input()
        self.close_output()

    def descriptors(self) -> set[int]:
        """The descriptors it has open."""
        return {int(path.name) for path in Path(f"/proc/{self.pid}/fd").iterdir()}


class PipeHelper(Helper):
    """A helper whose standard input and output are pipes, as ejabberd and MongooseIM run it.

    Args:
        wire: The protocol.
        config: The configuration file, named in the environment; None for no such variable.
        command: The command, if not the installed program alone.
        environment: More environment variables.
        stderr: Where standard error goes, if not into `stderr`.
        pass_fds: Descriptors that it inherits.
    """

    def __init__(
        self,
        wire: Wire,
        config: Path | None,
        *,
        command: list[str] | None = None,
        environment: Mapping[str, str] | None = None,
        stderr: IO[bytes] | None = None,
        pass_fds: Iterable[int] = (),
    ) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        process = subprocess.Popen(
            command or [wire.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr if stderr is None else stderr,
            bufsize=0,
            env=_environment(config, environment),
            pass_fds=tuple(pass_fds),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        super().__init__(wire, process, reads=process.stdout, writes=process.stdin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._stderr.close()

    @property
    def stderr(self) -> str:
        """What it has written on standard error."""
        return os.pread(self._stderr.fileno(), 1 << 20, 0).decode()

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Waits until its log has a text so many times; a line is written after the answer that it is about."""
        assert wait_until(lambda: self.stderr.count(text) == times, PATIENCE), self.stderr


class TerminalHelper(Helper):
    """A helper on a pseudo-terminal as Prosody runs it with lpty: standard input, output and error are the terminal.

    It leads a session of its own, and inherits the master side too. Its log must go to a file. Its parent process does
    nothing but sleep, as Prosody does while it waits; these tests have other threads, and look around meanwhile.

    Args:
        config: The configuration file.
        log: The file its log goes to.
        wire: The protocol.
        command: The command, if not the installed program alone.
        echo: Whether echo is still on at the start, as it sometimes is with lpty.
        typed: What is typed before the program starts.
        controlling: Whether the terminal is that of its session, so that closing it sends a signal.
        asleep: Whether that is so; else its parent is the process of the tests.
        keep_slave: Whether the test keeps its side too, for `has_read_all`; then the end of its output is not seen.
        environment: More environment variables.
        pass_fds: More descriptors that it inherits.
    """

    def __init__(
        self,
        config: Path,
        log: Path,
        *,
        wire: Wire = GENERIC,
        command: Sequence[str] = (),
        echo: bool = False,
        typed: bytes = b"",
        controlling: bool = True,
        asleep: bool = True,
        keep_slave: bool = False,
        environment: Mapping[str, str] | None = None,
        pass_fds: Iterable[int] = (),
    ) -> None:
        self._log = log
        master, slave = pty.openpty()
        _set_modes(slave, echo=echo)
        os.write(master, typed)
        report, reporter = os.pipe()
        # The process id stays that of the program: setsid forks only where it leads a group already.
        run = ["setsid", *(["--ctty"] if controlling else []), *(command or [wire.program])]
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", _SLEEPER, str(reporter), *run] if asleep else run,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=_environment(config, environment),
            pass_fds=(master, reporter, *pass_fds),
        )
        os.close(reporter)
        with os.fdopen(report) as reported:
            self._pid = int(reported.readline()) if asleep else process.pid
        self._slave = io.FileIO(slave, "r")
        if not keep_slave:
            self._slave.close()
        super().__init__(wire, process, reads=io.FileIO(master, "r"), writes=io.FileIO(os.dup(master), "w"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
        super().__exit__(kind, error, traceback)

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._pid

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def hang_up(self) -> None:
        """Closes whatever of the terminal is open here."""
        self._slave.close()
        super().hang_up()

    @property
    def has_read_all(self) -> bool:
        """Whether it has read everything that was typed; with `keep_slave`."""
        return not select.select([self._slave], [], [], 0)[0]

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def raw(self) -> bool:
        """Whether its terminal passes every byte on unchanged, in both directions."""
        input_modes, output_modes, _, local_modes, *_ = termios.tcgetattr(self._reads)
        changing = termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.ISTRIP
        editing = termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN
        return not (input_modes & changing or output_modes & termios.OPOST or local_modes & editing)

    def wait_until_ready(self) -> Self:
        """Waits until it answers."""
        assert wait_until(lambda: self.raw and "event=ready" in self.log, PATIENCE), self.log
        assert any(self.answers_an_empty_line() for _ in range(10)), self.log
        return self

    def answers_an_empty_line(self) -> bool:
        """Whether it answers, which it does with no; what it is asked too early it throws away."""
        self.send(b"\n")
        answer = self.receive(len(self.wire.no), seconds=2)
        assert answer in {b"", self.wire.no}, answer
        return bool(answer)

    def wait_for_log(self, text: str) -> None:
        """Waits until its log has a text."""
        assert wait_until(lambda: text in self.log, PATIENCE), self.log


class Relay:
    """Stands between a helper and an LDAP server, and can hold back what the server says. A context manager."""

    def __init__(self, slapd: Slapd) -> None:
        self._upstream = slapd.port
        self._open = threading.Event()
        self._open.set()
        self._holding = threading.Event()
        self._server = socketserver.ThreadingTCPServer((LOOPBACK, 0), self._handler())
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"ldap://{LOOPBACK}:{self._server.server_address[1]}"

    def hold(self) -> None:
        """Holds back what the server says from now on."""
        self._holding.clear()
        self._open.clear()

    def wait_until_holding(self) -> None:
        """Waits until something is held back: a question is under way."""
        assert self._holding.wait(PATIENCE)

    def release(self) -> None:
        """Lets go what is held back and holds back no more."""
        self._open.set()

    def _handler(self) -> type[socketserver.BaseRequestHandler]:
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, relay._upstream)) as server:
                    client: socket.socket = self.request
                    threading.Thread(target=_pass_on, args=(client, server, lambda: None), daemon=True).start()
                    _pass_on(server, client, relay._wait)

        return Handler

    def _wait(self) -> None:
        if not self._open.is_set():
            self._holding.set()
            self._open.wait()


@contextlib.contextmanager
def hanging(server: Daemon) -> Iterator[None]:
    """Has a server accept connections and never answer."""
    os.kill(server.pid, signal.SIGSTOP)
    assert wait_until(lambda: _is_stopped(server.pid), PATIENCE)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextlib.contextmanager
def stopped(server: Daemon) -> Iterator[None]:
    """Has nothing listen where a server was."""
    server.stop()
    try:
        yield
    finally:
        server.start()


def _is_stopped(pid: int) -> bool:
    """Whether each thread of a process has come to a stop, which takes a moment after the signal."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


def _environment(config: Path | None, more: Mapping[str, str] | None) -> dict[str, str]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), **(more or {})}
    return environment if config is None else {**environment, "LDAPAUTH_CONFIG": str(config)}


def _set_modes(slave: int, *, echo: bool) -> None:
    """Sets what lpty's child sets, before or (with echo) after the program has begun to read."""
    modes = termios.tcgetattr(slave)
    modes[0] |= termios.ICRNL | termios.IXON
    modes[1] |= termios.OPOST | termios.ONLCR
    modes[3] |= termios.ISIG
    if echo:
        modes[3] |= termios.ECHO | termios.ICANON
    else:
        modes[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(slave, termios.TCSANOW, modes)


def _pass_on(source: socket.socket, target: socket.socket, before_each: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            before_each()
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
