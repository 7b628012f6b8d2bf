"""Logins over HTTP: our app, and a route that answers `true`, under the same gunicorn command."""

import base64
import http.client
import re
import selectors
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.peer import (
    PASSWORD,
    PEOPLE,
    ROOT,
    USER,
    WARM_UP,
    Login,
    Metric,
    Peer,
    Sample,
    cpu_seconds,
    draw,
    environment,
)
from bench.world import CREDENTIALS, DOMAIN, World
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import Daemon, descendants

WORKERS, THREADS = 2, 8
CONNECTIONS = WORKERS * THREADS
SECONDS = 2

_TOKEN = base64.b64encode(CREDENTIALS.encode()).decode()
_HEADERS = f"Host: {LOOPBACK}\r\nAuthorization: Basic {_TOKEN}"
_WRK_SCRIPT = Path(__file__).parent / "programs" / "wrk.lua"
_RECEIVE = 65536


def peers(world: World) -> list[Peer]:
    """The peers of this family."""
    ours = [
        App(
            f"http{target.suffix}",
            "ldapauth over HTTP",
            "ldapauth.frontends.http:create_app()",
            target.wire,
            config=world.configuration(f"http{target.suffix}", target),
        )
        for target in world.targets
    ]
    return [*ours, App("http-true", "Flask, a route that answers true", "bench.programs.answers_true:app")]


class Gunicorn(Daemon):
    """An app under gunicorn on loopback.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, app: str, env: Mapping[str, str]) -> None:
        super().__init__("gunicorn")
        self.port = free_port()
        self._app = app
        self._app_environment = env

    def _prepare(self) -> None:
        """There is nothing to prepare."""

    def _command(self) -> Sequence[str]:
        threads = ["--worker-class", "gthread", "--workers", str(WORKERS), "--threads", str(THREADS)]
        options = ["--bind", f"{LOOPBACK}:{self.port}", "--chdir", str(ROOT), "--no-control-socket"]
        return [sys.executable, "-m", "gunicorn", *threads, *options, self._app]

    def _environment(self) -> Mapping[str, str]:
        return environment(**self._app_environment)

    def _is_ready(self) -> bool:
        try:
            return ask(self.port, draw(1)[0]) in {"true", "false"}
        except OSError:
            return False


class App(Peer):
    """An app under load of as many connections as it has threads.

    Args:
        key: As of every peer.
        label: Likewise.
        app: The app, as gunicorn names it.
        wire: As of every peer.
        config: The configuration of ours.
    """

    def __init__(self, key: str, label: str, app: str, wire: str = "", config: Path | None = None) -> None:
        super().__init__(key, label, wire)
        self._checks = config is not None
        self._gunicorn = Gunicorn(app, {"LDAPAUTH_CONFIG": str(config)} if config else {})

    def start(self) -> None:
        """Starts it."""
        self._gunicorn.start()

    def measure(self, logins: Sequence[Login]) -> Sample:
        """Right passwords for some seconds, however many the logins are; some of those before, for the wrong ones."""
        port = self._gunicorn.port
        for login in [*logins[:WARM_UP], Login(USER % 0, "wrong", right=False)]:
            if ask(port, login) != ("true" if login.right or not self._checks else "false"):
                raise RuntimeError(f"{self.key}: a wrong answer")
        pids = [info.pid for info in descendants(self._gunicorn.pid)]
        cpu = cpu_seconds(pids)
        count, seconds = (with_wrk if shutil.which("wrk") else without_wrk)(port)
        cpu = cpu_seconds(pids) - cpu
        return {Metric.RATE: count / seconds, Metric.CPU: cpu / count * 1e6}

    def stop(self) -> None:
        """Stops it."""
        self._gunicorn.close()


def ask(port: int, login: Login) -> str:
    """One question, on a connection of its own."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    try:
        connection.request("GET", _target(login), headers={"Authorization": f"Basic {_TOKEN}"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def with_wrk(port: int) -> tuple[int, float]:
    """Has wrk ask; how many answers came, and in how many seconds.

    Raises:
        RuntimeError: Not every answer was `true`.
    """
    load = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{SECONDS}s"]
    script = ["--script", str(_WRK_SCRIPT), f"http://{LOOPBACK}:{port}", "--"]
    done = subprocess.run(  # noqa: S603 - a command of our own
        [*load, *script, str(PEOPLE), USER, PASSWORD, DOMAIN, _TOKEN], capture_output=True, text=True, check=True
    )
    count, microseconds, wrong = map(int, re.findall(r"\d+", done.stdout.splitlines()[-1]))
    if wrong:
        raise RuntimeError(f"{wrong} of {count} answers are wrong")
    return count, microseconds / 1e6


def without_wrk(port: int) -> tuple[int, float]:
    """Asks as wrk would; how many answers came, and in how many seconds.

    Raises:
        RuntimeError: An answer was not `true`.
    """
    questions = _questions()
    count = 0
    with selectors.DefaultSelector() as selector:
        for _ in range(CONNECTIONS):
            connection = socket.create_connection((LOOPBACK, port))
            selector.register(connection, selectors.EVENT_READ, bytearray())
            connection.sendall(next(questions))
        start = time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)  # noqa: S101 - for the type checker: only those are there
                if _answered(key.fileobj, key.data):
                    count += 1
                    key.fileobj.sendall(next(questions))
        seconds = time.perf_counter() - start
        for key in list(selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
    return count, seconds


def _answered(connection: socket.socket, read: bytearray) -> bool:
    """Whether an answer is complete, after what has come of it now."""
    data = connection.recv(_RECEIVE)
    read += data
    head, end, body = bytes(read).partition(b"\r\n\r\n")
    if not data or not head.startswith(b"HTTP/1.1 200 ") or not b"true".startswith(body):
        raise RuntimeError("an answer is wrong")
    if not end or body != b"true":
        return False
    read.clear()
    return True


def _questions() -> Iterator[bytes]:
    """Requests with the right passwords of random people."""
    while True:
        for login in draw(CONNECTIONS):
            if login.right:
                yield request(login)


def request(login: Login) -> bytes:
    """A question, as it goes over a connection that is kept."""
    return f"GET {_target(login)} HTTP/1.1\r\n{_HEADERS}\r\n\r\n".encode()


def _target(login: Login) -> str:
    query = urllib.parse.urlencode({"user": login.user, "server": DOMAIN, "pass": login.password})
    return f"/check_password?{query}"
