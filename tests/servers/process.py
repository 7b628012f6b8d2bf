"""Runs a server program privately: in a directory of its own, and with nothing left of it afterwards."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

# How often a condition is looked at: short, as a server is usually ready after some tens of milliseconds.
_POLL_SECONDS = 0.005
# Debian keeps servers where the PATH of an ordinary user does not lead.
_SERVER_DIRECTORIES = ("/usr/sbin", "/sbin")
# In the environment of a server, and so of all it starts, with the server's directory for its value.
_MARK = "PRIVATE_TEST_SERVER"


class ServerError(RuntimeError):
    """A real server is not installed, did not start, or did not answer as it must."""


@dataclass(frozen=True)
class ProcessInfo:
    """What /proc says about a process; the time it started at tells it from a later process with the same id."""

    pid: int
    parent: int
    started: int
    command: tuple[str, ...]


def find_program(name: str, install_command: str) -> str:
    """Returns the path of a program.

    Raises:
        ServerError: It is not installed; the message has the command that installs it.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SERVER_DIRECTORIES))
    program = shutil.which(name, path=path)
    if program is None:
        raise ServerError(f"{name} is not installed; install it with: {install_command}")
    return program


def failure(done: subprocess.CompletedProcess[bytes]) -> ServerError:
    """Returns the error that says how a program failed, and what it wrote about it."""
    program = Path(os.fsdecode(done.args[0])).name
    said = (done.stderr or done.stdout).decode(errors="replace").strip()
    return ServerError(f"{program} failed with {done.returncode}: {said}")


def checked(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[bytes]:
    """Runs a program that is given a text, and returns what came of it.

    Raises:
        ServerError: It failed; the message has what it wrote.
    """
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False, timeout=60)
    if done.returncode != 0:
        raise failure(done)
    return done


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Waits until a condition holds, and returns whether it did so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def accepts(path: Path) -> bool:
    """Says whether something accepts connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def process_info(pid: int) -> ProcessInfo | None:
    """Returns what is known about a process, or None when it has ended (a zombie has)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    # The name, second and in parentheses, may hold anything; what follows its end is plain.
    fields = stat.rpartition(")")[2].split()
    if fields[0] == "Z":
        return None
    arguments = command.decode(errors="replace").rstrip("\0").split("\0")
    return ProcessInfo(pid=pid, parent=int(fields[1]), started=int(fields[19]), command=tuple(arguments))


def descendants(pid: int) -> list[ProcessInfo]:
    """Returns the children of a process, their children, and so on."""
    everything = [info for info in map(process_info, _pids()) if info is not None]
    found: list[ProcessInfo] = []
    parents = {pid}
    while parents:
        children = [info for info in everything if info.parent in parents]
        found += children
        parents = {info.pid for info in children}
    return found


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _has_variable(pid: int, variable: bytes) -> bool:
    try:
        return variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        # It has ended, or is another user's and so none of ours.
        return False


class Daemon(ABC):
    """A server process with a temporary directory: a context manager that starts it, and in the end removes both.

    The directory is kept from the first `start()` to `close()`, so that a restarted server finds its data again.

    Attributes:
        killed: The processes that did not end by themselves when the server was stopped for the last time.
    """

    start_seconds = 30.0
    stop_seconds = 10.0
    children_stop_seconds = 5.0

    def __init__(self, name: str) -> None:
        self.name = name
        self.killed: list[ProcessInfo] = []
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def directory(self) -> Path:
        """The server's temporary directory."""
        if self._temporary is None:
            raise ServerError(f"{self.name} was not started")
        return Path(self._temporary.name)

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        """What the server has written on its standard output and error, all its starts together."""
        return self._output_file.read_text(errors="replace") if self._output_file.exists() else ""

    def processes(self) -> list[ProcessInfo]:
        """Returns the server's process and all that came from it, even those whose parent is gone."""
        variable = os.fsencode(f"{_MARK}={self.directory}")
        marked = [process_info(pid) for pid in _pids() if _has_variable(pid, variable)]
        return [info for info in marked if info is not None]

    def start(self) -> None:
        """Starts the server and returns when it is ready.

        Raises:
            ServerError: It did not get ready; the message has what it wrote.
        """
        if self._process is not None:
            raise ServerError(f"{self.name} was started already")
        try:
            if self._temporary is None:
                self._temporary = tempfile.TemporaryDirectory(prefix=f"{self.name}-", ignore_cleanup_errors=True)
                self._prepare()
            self._launch()
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Stops the server if it runs, and keeps its directory."""
        process, self._process = self._process, None
        if process is None:
            return
        _terminate(process, self.stop_seconds)
        wait_until(lambda: not self.processes(), self.children_stop_seconds)
        self.killed = self.processes()
        for info in self.killed:
            with suppress(ProcessLookupError):
                os.kill(info.pid, signal.SIGKILL)

    def restart(self) -> None:
        """Stops the server and starts it with the same data, at the same address."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stops the server and removes its directory."""
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    @abstractmethod
    def _prepare(self) -> None:
        """Writes what the server needs into its new directory."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Returns the command that runs the server in the foreground."""

    @abstractmethod
    def _environment(self) -> Mapping[str, str]:
        """Returns the environment variables of the server."""

    def _inherited(self) -> Sequence[int]:
        """Returns the descriptors that the server is started with, besides the three usual ones."""
        return ()

    @abstractmethod
    def _is_ready(self) -> bool:
        """Says whether the server can be used."""

    @property
    def _output_file(self) -> Path:
        return self.directory / "output.log"

    def _launch(self) -> None:
        with self._output_file.open("ab") as output:
            process = self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={**self._environment(), _MARK: str(self.directory)},
                pass_fds=self._inherited(),
                # Its own process group: a Ctrl-C in the terminal is for the tests only, which then stop it in order.
                start_new_session=True,
            )
        wait_until(lambda: process.poll() is not None or self._is_ready(), self.start_seconds)
        if process.poll() is not None or not self._is_ready():
            raise ServerError(f"{self.name} did not start (exit code {process.poll()}); it wrote:\n{self.output}")


def _terminate(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Asks a process to end, and ends it when it has not done so after some time."""
    # Not its group, and not at once: Erlang's node takes the death of its own child for a crash, and a helper is to
    # show that it ends by itself when its server does.
    process.terminate()
    # A test may have stopped it to have a server that hangs.
    process.send_signal(signal.SIGCONT)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
