"""A private nginx: Debian's own configuration, with `deploy/nginx.conf` where the documentation puts it."""

import os
import signal
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPSConnection
from pathlib import Path

from tests.servers.certificates import KeyPair
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import Daemon, ProcessInfo, descendants, find_program
from tests.servers.unit import DEPLOY

INSTALL_COMMAND = "apt-get install nginx-light"
STRANGER = "127.0.0.2"
"""An address of this machine that is not on the list of those who may ask."""

_DEBIAN = Path("/etc/nginx/nginx.conf")
_PORT = "8443"
# Only so that it needs no directory of the system's.
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx(Daemon):
    """An nginx of its own on loopback: `with Nginx(socket_of_the_app, certificate, ca) as nginx: ...`.

    Attributes:
        port: Where it serves HTTPS.
    """

    def __init__(self, upstream: Path, certificate: KeyPair, ca: Path, site: str | None = None) -> None:
        """Prepares a server; nothing runs yet.

        Args:
            upstream: The socket of the app.
            certificate: Its own certificate.
            ca: Who has signed that.
            site: A configuration in place of `deploy/nginx.conf` as it is.

        Raises:
            ServerError: nginx is not installed.
        """
        super().__init__("nginx")
        self._program = find_program("nginx", INSTALL_COMMAND)
        self._upstream = upstream
        self._certificate = certificate
        self._site = (DEPLOY / "nginx.conf").read_text() if site is None else site
        self._context = ssl.create_default_context(cafile=str(ca))
        self.port = free_port()

    def workers(self) -> list[ProcessInfo]:
        """Returns the processes that answer; while it reloads, old ones and new ones."""
        return descendants(self.pid)

    def reload(self) -> None:
        """Has it read its configuration again, as `nginx -s reload` does."""
        os.kill(self.pid, signal.SIGHUP)

    def client(self, source: str = LOOPBACK) -> HTTPSConnection:
        """Returns a client that keeps its connection for as long as the server does.

        Args:
            source: The address that it comes from.
        """
        return HTTPSConnection(LOOPBACK, self.port, timeout=15, context=self._context, source_address=(source, 0))

    def exchange(self, octets: bytes, source: str = LOOPBACK) -> bytes:
        """Sends bytes, as they are, and returns all that comes back until the connection is closed."""
        received = bytearray()
        with (
            socket.create_connection((LOOPBACK, self.port), 15, (source, 0)) as plain,
            self._context.wrap_socket(plain, server_hostname=LOOPBACK) as secured,
            suppress(OSError),
        ):
            secured.sendall(octets)
            while piece := secured.recv(65536):
                received += piece
        return bytes(received)

    def _prepare(self) -> None:
        # Its workers are another user's, who look at nothing but the upstream's socket.
        (self.directory / "log").mkdir()
        (self.directory / "conf.d").mkdir()
        lines = [f"{kind}_temp_path {self.directory}/{kind};\n" for kind in _TEMPORARY]
        (self.directory / "conf.d" / "temporary.conf").write_text("".join(lines))
        (self.directory / "conf.d" / "ldapauth.conf").write_text(self.here(self._site))
        (self.directory / "nginx.conf").write_text(self.here(_DEBIAN.read_text()))

    def here(self, text: str) -> str:
        """A configuration with the places of this server."""
        places = {
            "unix:/run/ldapauth/http.sock": f"unix:{self._upstream}",
            "/etc/ldapauth/tls/certificate.pem": str(self._certificate.certificate),
            "/etc/ldapauth/tls/key.pem": str(self._certificate.key),
            "/var/log/nginx": f"{self.directory}/log",
            "/run/nginx.pid": f"{self.directory}/pid",
            "/etc/nginx/conf.d": f"{self.directory}/conf.d",
            "/etc/nginx/sites-enabled": f"{self.directory}/sites-enabled",
            f"listen {_PORT}": f"listen {LOOPBACK}:{self.port}",
            f"listen [::]:{_PORT}": f"listen [::1]:{self.port}",
            "192.0.2.10 ": f"{LOOPBACK} ",
        }
        for place, private in places.items():
            text = text.replace(place, private)
        return text

    def _command(self) -> Sequence[str]:
        log = self.directory / "log" / "error.log"
        configuration = self.directory / "nginx.conf"
        return [self._program, "-e", str(log), "-c", str(configuration), "-g", "daemon off;"]

    def _environment(self) -> Mapping[str, str]:
        return dict(os.environ)

    def _is_ready(self) -> bool:
        with suppress(OSError), socket.create_connection((LOOPBACK, self.port), 1):
            return True
        return False
