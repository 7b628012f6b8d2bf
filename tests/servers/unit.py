"""Runs the service of `deploy/` as its two units say, where there is no systemd to do it.

What a unit says about the start is done: the socket, the credentials, the checks before it, readiness, reload. What it
takes away from the process is not; `systemd-analyze` has a look at that.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.servers.process import Daemon, ProcessInfo, ServerError, descendants

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

# What systemd does between its fork and the program: the socket is descriptor 3, and the variables name the process.
_ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def directives(file: Path) -> dict[str, list[str]]:
    """The values of each key of a unit, in order."""
    found: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


class Unit(Daemon):
    """`ldapauth.service` with `ldapauth.socket`: `with Unit(configuration, secrets) as unit: ...`."""

    def __init__(
        self,
        configuration: str,
        secrets: Mapping[str, str],
        environment: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> None:
        """Prepares a service; nothing runs yet.

        Args:
            configuration: The text of `/etc/ldapauth.toml`.
            secrets: The files in `/etc/ldapauth`, by their names.
            environment: More environment variables.
            programs: What is in place of `/opt/ldapauth/bin`; where the tests' own Python is, if not given.
        """
        super().__init__("unit")
        self._programs = programs or Path(sys.executable).parent
        self._configuration = configuration
        self._secrets = secrets
        self._extra_environment = dict(environment or {})
        self._service = directives(DEPLOY / "ldapauth.service")
        self._socket_unit = directives(DEPLOY / "ldapauth.socket")
        self._listener: socket.socket | None = None
        self._notified: socket.socket | None = None
        self._ready = False

    @property
    def address(self) -> Path:
        """The socket that the app answers on."""
        (listen,) = self._socket_unit["ListenStream"]
        return Path(self.here(listen))

    @property
    def configuration(self) -> Path:
        """The configuration file."""
        return Path(self.here("/etc/ldapauth.toml"))

    def here(self, text: str) -> str:
        """A text of `deploy/` with the places of this service: what is in /etc and /run is in its directory."""
        text = text.replace("/opt/ldapauth/bin", str(self._programs))
        for place in ("/etc/ldapauth", "/run/ldapauth"):
            text = text.replace(place, f"{self.directory}{place}")
        return text

    def workers(self) -> list[ProcessInfo]:
        """Returns the processes that answer."""
        return descendants(self.pid)

    def reload(self) -> None:
        """Does what `systemctl reload` does.

        Raises:
            ServerError: A command failed; those behind it were not run. The message has what it wrote.
        """
        for command in self._service["ExecReload"]:
            self._run(command.replace("$MAINPID", str(self.pid)))

    def close(self) -> None:
        """Stops the service and its socket, and removes their directory."""
        super().close()
        for open_socket in (self._listener, self._notified):
            if open_socket is not None:
                open_socket.close()

    def _prepare(self) -> None:
        # The proxy's user has to come by on the way to the socket.
        self.directory.chmod(0o711)
        etc, run = Path(self.here("/etc/ldapauth")), self.address.parent
        credentials = self.directory / "credentials"
        for directory in (etc, run, credentials):
            directory.mkdir(parents=True)
        self.configuration.write_text(self.here(self._configuration))
        shutil.copy(DEPLOY / "gunicorn.conf.py", etc)
        for name, secret in self._secrets.items():
            (etc / name).touch(mode=0o600)
            (etc / name).write_text(secret)
        for loaded in self._service["LoadCredential"]:
            name, _, source = loaded.partition(":")
            shutil.copy(self.here(source), credentials / name)
        self._listener = self._listen()
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(self.directory / "notify"))
        self._notified.settimeout(0)

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.address))
        (mode,), (group,) = self._socket_unit["SocketMode"], self._socket_unit["SocketGroup"]
        self.address.chmod(int(mode, 8))
        if os.geteuid() == 0:
            shutil.chown(self.address, group=group)
        listener.listen(socket.SOMAXCONN)
        return listener

    def _launch(self) -> None:
        self._ready = False
        for command in self._service["ExecStartPre"]:
            self._run(command)
        super()._launch()

    def _run(self, command: str) -> None:
        done = subprocess.run(
            shlex.split(self.here(command)), env=self._environment(), capture_output=True, check=False, timeout=60
        )
        if done.returncode != 0:
            raise ServerError(f"{command} failed with {done.returncode}: {done.stderr.decode(errors='replace')}")

    def _command(self) -> Sequence[str]:
        (command,) = self._service["ExecStart"]
        return [sys.executable, "-c", _ACTIVATE, str(self._fd), *shlex.split(self.here(command))]

    @property
    def _fd(self) -> int:
        if self._listener is None:
            raise ServerError("the unit was not started")
        return self._listener.fileno()

    def _inherited(self) -> Sequence[int]:
        return (self._fd,)

    def _environment(self) -> Mapping[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "GUNICORN_CMD_ARGS"}
        return {
            **inherited,
            "HOME": str(self.directory),
            # The place of the configuration is the program's own, and can't be changed otherwise.
            "LDAPAUTH_CONFIG": str(self.configuration),
            "CREDENTIALS_DIRECTORY": str(self.directory / "credentials"),
            "NOTIFY_SOCKET": str(self.directory / "notify"),
            **self._extra_environment,
        }

    def _is_ready(self) -> bool:
        if self._notified is not None:
            with suppress(BlockingIOError):
                self._ready = b"READY=1" in self._notified.recv(4096).split(b"\n") or self._ready
        return self._ready
