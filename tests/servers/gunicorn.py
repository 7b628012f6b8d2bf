"""A private gunicorn that serves the app."""

import base64
import http.client
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import Daemon, ProcessInfo, descendants

ROOT = Path(__file__).parents[2]

FACTORY = "ldapauth.frontends.http:create_app()"
MODULE = "wsgi:app"

CLIENT_SECONDS = 5.0
"""How long a client waits for an answer: as long as XMPP servers do, before they give up."""

# Of gunicorn's command line, where it has no configuration file of its own. Everything that it can log is logged.
_OPTIONS: Mapping[str, str | int] = {
    "worker-class": "gthread",
    "threads": 8,
    "workers": 1,
    "no-control-socket": True,
    "access-logfile": "access.log",
    "log-level": "debug",
}


@dataclass(frozen=True)
class Answer:
    """What came back for a request; a header is found whatever its case."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Gunicorn(Daemon):
    """A gunicorn of its own: `with Gunicorn(config_file) as gunicorn: gunicorn.request("GET", "/...")`.

    It runs in its own directory, where files named in its options are.
    """

    def __init__(
        self,
        config_file: Path,
        *,
        app: str = FACTORY,
        unix_socket: bool = False,
        gunicorn_config: Path | None = None,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        """Prepares a server; nothing runs yet.

        Args:
            config_file: The app's configuration.
            app: The WSGI app, as gunicorn names it.
            unix_socket: Whether it listens on a Unix socket instead of a port of the loopback interface.
            gunicorn_config: A configuration file of gunicorn's own, in place of what the tests usually set: threads,
                one worker, no control socket, an access log, and an error log at the level of debugging.
            options: More options of gunicorn's command line, without the dashes; True for one without a value.
        """
        super().__init__("gunicorn")
        self._config_file = config_file
        self._app = app
        self._port = None if unix_socket else free_port()
        usual = {"config": str(gunicorn_config)} if gunicorn_config is not None else _OPTIONS
        self._options = {**usual, **(options or {})}

    @property
    def address(self) -> tuple[str, int] | str:
        """Where it listens: host and port, or the path of a Unix socket."""
        return (LOOPBACK, self._port) if self._port is not None else str(self.directory / "http")

    @property
    def access_log(self) -> str:
        """The access log."""
        return _text(self.directory / "access.log")

    @property
    def error_log(self) -> str:
        """The error log, which is also where gunicorn says what it does."""
        return _text(self.directory / "error.log")

    @property
    def log(self) -> str:
        """All that it has written: both logs, and what went to standard output and error, as the app's log does."""
        return f"{self.output}{self.error_log}{self.access_log}"

    def workers(self) -> list[ProcessInfo]:
        """Returns the processes that answer."""
        return descendants(self.pid)

    def connect(self, seconds: float = CLIENT_SECONDS) -> socket.socket:
        """Returns a connection to it, on which nothing is waited for longer than that."""
        address = self.address
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(seconds)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def client(self) -> http.client.HTTPConnection:
        """Returns a client that keeps its connection for as long as the server does."""
        return _Client(self)

    def request(
        self, verb: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Asks on a connection of its own and returns the answer."""
        with closing(self.client()) as client:
            return ask(client, verb, target, headers, body)

    def exchange(self, octets: bytes, seconds: float = CLIENT_SECONDS) -> bytes:
        """Sends bytes, as they are and to their end, and returns all that comes back, which may be nothing."""
        received = bytearray()
        with self.connect(seconds) as sock, suppress(ConnectionError):
            # A server need not read what it refuses: then the rest cannot be sent, and yet there is an answer.
            with suppress(ConnectionError):
                sock.sendall(octets)
            with suppress(OSError):  # ENOTCONN, when the server has closed the connection
                sock.shutdown(socket.SHUT_WR)
            while piece := sock.recv(65536):
                received += piece
        return bytes(received)

    def _prepare(self) -> None:
        pass

    def _command(self) -> Sequence[str]:
        address = self.address
        options = {
            "bind": f"unix:{address}" if isinstance(address, str) else f"{address[0]}:{address[1]}",
            "pythonpath": str(ROOT),
            "error-logfile": "error.log",
            **self._options,
        }
        arguments = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "gunicorn", *arguments, self._app]

    def _environment(self) -> Mapping[str, str]:
        # HOME: what gunicorn would leave there is to be found, and to be gone with the directory.
        inherited = {name: value for name, value in os.environ.items() if name != "GUNICORN_CMD_ARGS"}
        return {**inherited, "HOME": str(self.directory), "LDAPAUTH_CONFIG": str(self._config_file)}

    def _is_ready(self) -> bool:
        """Says whether a worker serves: the port is open before, and stays so for a moment when no worker can start."""
        try:
            with self.connect() as probe:
                probe.shutdown(socket.SHUT_WR)
                return probe.recv(1) == b""
        except OSError:
            return False


class _Client(http.client.HTTPConnection):
    """The standard library's client, on a connection to a `Gunicorn`."""

    def __init__(self, server: Gunicorn) -> None:
        super().__init__("localhost")
        self._server = server

    def connect(self) -> None:
        self.sock = self._server.connect()


def ask(
    client: http.client.HTTPConnection,
    verb: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Asks on a client's connection; nothing but `Host` and the body's length is added to the headers."""
    client.putrequest(verb, target, skip_accept_encoding=True)
    for name, value in (headers or {}).items():
        client.putheader(name, value)
    if body is not None:
        client.putheader("Content-Length", str(len(body)))
    client.endheaders(body)
    response = client.getresponse()
    return Answer(response.status, response.headers, response.read())


def raw(verb: str, target: str | bytes, *headers: str | bytes, body: bytes = b"") -> bytes:
    """Returns a request as it goes over the wire, with `Host` and no other header than the given ones."""
    lines = [
        b"%s %s HTTP/1.1" % (verb.encode(), _octets(target)),
        b"Host: localhost",
        *map(_octets, headers),
        b"",
        body,
    ]
    return b"\r\n".join(lines)


def basic(credentials: str | bytes) -> str:
    """Returns the value of an `Authorization` header (RFC 7617)."""
    return f"Basic {base64.b64encode(_octets(credentials)).decode()}"


def _octets(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""
