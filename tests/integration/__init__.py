"""Tests of the whole: real programs in front of it, real directories behind it. Here is what they share."""

import contextlib
import socketserver
import threading
from collections.abc import Iterator

from tests.servers.ports import LOOPBACK


class _Silence(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while self.request.recv(65536):
            pass


@contextlib.contextmanager
def silent_directory() -> Iterator[str]:
    """Runs a directory that accepts connections, reads what it is asked, and says nothing; gives its URL."""
    with socketserver.ThreadingTCPServer((LOOPBACK, 0), _Silence) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"ldap://{LOOPBACK}:{server.server_address[1]}"
        server.shutdown()
