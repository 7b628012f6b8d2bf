"""nginx, gunicorn and slapd as the files in `deploy/` set them up: what is logged, what is lost, who gets in."""

import contextlib
import os
import signal
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Self

import pytest
import tomli_w

from tests import configuration
from tests.configuration import DOMAIN
from tests.integration import silent_directory
from tests.servers.certificates import Certificates
from tests.servers.gunicorn import Answer, ask, basic, raw
from tests.servers.nginx import STRANGER, Nginx
from tests.servers.people import person
from tests.servers.process import ServerError, wait_until
from tests.servers.slapd import Slapd
from tests.servers.unit import Unit

JULIET = person("juliet")
ROMEO = person("romeo")
CREDENTIALS = "xmpp:http-secret"
AUTHORIZATION = {"Authorization": basic(CREDENTIALS)}
SILENT = "silent.example"

MARKER = "Losung"
"""What is in every password that must be found nowhere; it is the same in every encoding of a URL."""

PATIENCE = 20.0
"""Seconds until a test gives up waiting."""


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """A directory that never answers."""
    with silent_directory() as url:
        yield url


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """The directory, which logs all that it can of what it is asked."""
    with Slapd(loglevel="stats") as server:
        yield server


@pytest.fixture(scope="module")
def unit(slapd: Slapd, silent: str) -> Iterator[Unit]:
    """The service, with everything logged that gunicorn and the app can log."""
    table = configuration.domain_table(
        slapd, bind_password=None, bind_password_file="$CREDENTIALS_DIRECTORY/bind-password"
    )
    tree = {
        "http": {"credentials_file": "$CREDENTIALS_DIRECTORY/http-credentials"},
        "log": {"level": "debug"},
        "domains": {DOMAIN: table, SILENT: {**table, "servers": [silent], "deadline": 1}},
    }
    secrets = {"bind-password": slapd.service_password, "http-credentials": CREDENTIALS}
    logged = {"GUNICORN_CMD_ARGS": "--log-level debug --access-logfile access.log"}
    with Unit(tomli_w.dumps(tree), secrets, logged) as unit:
        yield unit


@pytest.fixture(scope="module")
def nginx(unit: Unit, certificates: Certificates) -> Iterator[Nginx]:
    """The reverse proxy before it."""
    with Nginx(unit.address, certificates.server, certificates.ca) as nginx:
        yield nginx


def question(password: str, *, user: str = JULIET.uid, domain: str = DOMAIN) -> str:
    """The target of a login."""
    return "/check_password?" + urllib.parse.urlencode({"user": user, "server": domain, "pass": password})


def login(client: HTTPSConnection, password: str, *, user: str = JULIET.uid, domain: str = DOMAIN) -> Answer:
    """Asks on a client's connection whether a password is right."""
    return ask(client, "GET", question(password, user=user, domain=domain), AUTHORIZATION)


def said(nginx: Nginx, password: str, domain: str = DOMAIN) -> tuple[int, bytes]:
    """The status and body of a login on a connection of its own, as Prosody asks."""
    with contextlib.closing(nginx.client()) as client:
        answer = login(client, password, domain=domain)
        return answer.status, answer.body


def each_of(threads: int, work: Callable[[int], object]) -> list[object]:
    """What comes of a piece of work in so many threads."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(threads)))


def during(nginx: Nginx, incident: Callable[[], object], password: str) -> int:
    """Does something while a question of the silent directory is under way, and returns the status of its answer."""
    with ThreadPoolExecutor(1) as pool:
        before = open_questions(nginx)
        asked = pool.submit(said, nginx, password, SILENT)
        assert wait_until(lambda: open_questions(nginx) > before, PATIENCE)
        incident()
        return asked.result()[0]


def open_questions(nginx: Nginx) -> int:
    """How many connections of clients nginx has."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(row[1].endswith(f":{nginx.port:04X}") and row[3] == "01" for row in rows)


def upstream_connections(unit: Unit) -> set[str]:
    """The open connections to the app's socket, by inode."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return {row[6] for row in rows if row[-1] == str(unit.address) and row[5] == "03"}


def written(*directories: Path) -> dict[Path, bytes]:
    """The content of every file below the directories."""
    return {path: path.read_bytes() for top in directories for path in top.rglob("*") if path.is_file()}


def test_right_password_only(nginx: Nginx) -> None:
    """Over TLS, through nginx and gunicorn, a user logs in by the right password and no other."""
    assert said(nginx, str(JULIET.password)) == (200, b"true")
    assert said(nginx, "wrong") == (200, b"false")


def test_no_password_is_written_down(nginx: Nginx, unit: Unit, slapd: Slapd) -> None:
    """A thousand logins, and all that can go wrong with more of them, leave no password in any file of the three."""
    with contextlib.closing(nginx.client()) as client:
        form = urllib.parse.urlencode({"user": ROMEO.uid, "server": DOMAIN, "pass": f"{MARKER}-right"}).encode()
        assert ask(client, "POST", "/set_password", AUTHORIZATION, form).status == 204

    def logins(thread: int) -> list[bytes]:
        with contextlib.closing(nginx.client()) as client:
            passwords = (f"{MARKER}-{thread}-{number}" if number % 4 else f"{MARKER}-right" for number in range(125))
            return [login(client, password, user=ROMEO.uid).body for password in passwords]

    assert each_of(8, logins) == [[b"false" if number % 4 else b"true" for number in range(125)]] * 8

    provoke(nginx, unit)

    assert said(nginx, str(JULIET.password)) == (200, b"true")
    slapd.stop()  # what it has still to write
    slapd.start()
    files = written(nginx.directory, unit.directory, slapd.directory)
    assert [path for path, content in files.items() if MARKER.encode() in content] == []
    # All of them have written about it, each in its place.
    logs = b"".join(files.values())
    for trace in (
        " check_password 200 ",
        " check_password 504 ",
        '"GET /check_password HTTP',
        "was sent SIGKILL",
        "BIND",
    ):
        assert trace.encode() in logs, trace


def provoke(nginx: Nginx, unit: Unit) -> None:
    """Has everything fail that may write about a request, each time with a marked password in it."""
    # Too long for nginx, and for gunicorn alone.
    assert b" 414 " in nginx.exchange(raw("GET", question(MARKER * 5000)))
    assert b" 414 " in straight(unit, raw("GET", question(MARKER * 5000)))
    # No request at all: a space, bytes, a broken header, a form without its end, an escaped question mark.
    end = "Connection: close"
    broken = (
        raw("GET", f"/check_password?pass={MARKER} x y"),
        raw("GET", f"/check_password?pass={MARKER}\u00fc", end),
        raw("GET", f"/check_password%3fpass={MARKER}%0a", end),
        raw("GET", question(MARKER), f"{MARKER} : {MARKER}", end),
        raw("GET", question(MARKER), f"Referer: https://localhost{question(MARKER)}", f"X: {'x' * 9000}{MARKER}"),
        raw("POST", "/set_password", "Content-Length: 500", body=f"pass={MARKER}".encode()),
        raw("POST", "/set_password", "Content-Length: x", body=f"pass={MARKER}".encode()),
        raw("POST", "/set_password", f"Content-Length: {10**6}", body=f"pass={MARKER}".encode()),
        raw("POST", "/set_password", "Transfer-Encoding: chunked", body=f"5\r\n{MARKER}\r\n".encode()),
    )
    # All of gunicorn is late until nginx gives up, on some of them and on a good one; others nginx itself waits for.
    signal_workers(unit, signal.SIGSTOP)
    with ThreadPoolExecutor(len(broken) + 1) as pool:
        late = pool.submit(said, nginx, MARKER)
        list(pool.map(nginx.exchange, broken))
        assert late.result()[0] == 504
    signal_workers(unit, signal.SIGCONT)
    for octets in broken:
        straight(unit, octets)
    # A worker that dies with a question in it, as gunicorn ends one that hangs, and as the kernel does.
    for number in (signal.SIGABRT, signal.SIGKILL):
        assert during(nginx, lambda: signal_workers(unit, number), MARKER) in {502, 503}  # noqa: B023
        assert wait_until(lambda: len(unit.workers()) == 2, PATIENCE)
    # The directory is late; then gunicorn is gone.
    assert said(nginx, MARKER, SILENT)[0] == 503
    unit.stop()
    unit.address.rename(f"{unit.address}.away")
    assert said(nginx, MARKER)[0] == 502
    Path(f"{unit.address}.away").rename(unit.address)
    unit.start()


def signal_workers(unit: Unit, number: int) -> None:
    """Sends a signal to each worker."""
    for worker in unit.workers():
        os.kill(worker.pid, number)


def straight(unit: Unit, octets: bytes) -> bytes:
    """Sends bytes to gunicorn itself, with no nginx between, and returns what comes back."""
    received = bytearray()
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
        sock.settimeout(PATIENCE)
        sock.connect(str(unit.address))
        sock.sendall(octets)
        sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(65536):
            received += piece
    return bytes(received)


class Load:
    """Logins without a pause while something happens: `with Load(nginx, keep=True) as load: ...; load.answers`."""

    def __init__(self, nginx: Nginx, *, keep: bool, threads: int = 4) -> None:
        """Prepares the load.

        Args:
            nginx: Who is asked.
            keep: Whether connections are kept, as MongooseIM does, or each question has its own, as Prosody does.
            threads: How many ask at a time.
        """
        self._nginx, self._keep = nginx, keep
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]
        self.answers: list[object] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Waits until so many more questions were answered."""
        enough = len(self.answers) + more
        assert wait_until(lambda: len(self.answers) >= enough, PATIENCE)

    def _ask(self) -> None:
        client = self._nginx.client()
        while not self._over.is_set():
            try:
                answer = login(client, str(JULIET.password))
                self.answers.append((answer.status, answer.body))
            except (OSError, HTTPException) as error:
                self.answers.append(repr(error))
                client.close()
            if not self._keep:
                client.close()
        client.close()


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "closed"])
def test_reload_and_restart_of_the_app_lose_nothing(nginx: Nginx, unit: Unit, *, keep: bool) -> None:
    """While logins go on, the app is reloaded and restarted, and each login is answered, and right."""
    with Load(nginx, keep=keep) as load:
        workers = unit.workers()
        unit.reload()
        assert wait_until(lambda: not {one.pid for one in workers} & {one.pid for one in unit.workers()}, PATIENCE)
        load.wait_for(20)
        unit.restart()
        load.wait_for(20)
    assert set(load.answers) == {(200, b"true")}


def test_reload_of_nginx_loses_nothing(nginx: Nginx) -> None:
    """While logins go on, a connection each, nginx reads its configuration again, and each login is answered."""
    with Load(nginx, keep=False) as load:
        workers = {worker.pid for worker in nginx.workers()}
        nginx.reload()
        assert wait_until(lambda: not workers & {worker.pid for worker in nginx.workers()}, PATIENCE)
        load.wait_for(20)
    assert set(load.answers) == {(200, b"true")}


def test_broken_configuration_is_not_taken_over(nginx: Nginx, unit: Unit) -> None:
    """A reload with a mistake in the configuration fails and names it; what runs goes on."""
    right, workers = unit.configuration.read_text(), unit.workers()
    unit.configuration.write_text(right.replace("base_dn", "base"))
    try:
        with pytest.raises(ServerError, match="base: unknown key"):
            unit.reload()
    finally:
        unit.configuration.write_text(right)
    assert unit.workers() == workers
    assert said(nginx, str(JULIET.password)) == (200, b"true")


def test_connections_are_kept(nginx: Nginx, unit: Unit) -> None:
    """Two XMPP servers with pools of connections ask and ask, and neither nginx nor gunicorn opens another one."""
    pools = [[nginx.client() for _ in range(4)] for _ in range(2)]
    clients = [client for pool in pools for client in pool]

    def ask_on(number: int) -> list[bytes]:
        return [login(clients[number], str(JULIET.password)).body for _ in range(25)]

    with contextlib.ExitStack() as stack:
        for client in clients:
            stack.callback(client.close)
        each_of(len(clients), ask_on)
        upstream, ours = upstream_connections(unit), [client.sock for client in clients]
        # One after another: how many are under way at a time is then nobody's chance.
        for number in range(len(clients)):
            assert ask_on(number) == [b"true"] * 25
        assert [client.sock for client in clients] == ours
        assert upstream_connections(unit) == upstream != set()


@pytest.mark.parametrize(
    "octets",
    [
        raw("GET", question(str(JULIET.password)), f"Authorization: {AUTHORIZATION['Authorization']}"),
        raw("GET", "/"),
        raw("GET", "/x y z"),
        raw("GET", "/" + "x" * 50_000),
        raw("GET", "/", "X: " + "x" * 50_000),
        raw("POST", "/set_password", "Content-Length: 1000000"),
        b"noise\r\n\r\n",
    ],
    ids=["login", "root", "space", "long line", "long header", "long body", "noise"],
)
def test_strangers_get_nothing(nginx: Nginx, octets: bytes) -> None:
    """Whoever is not on the list gets no byte of an answer, whatever is sent."""
    assert nginx.exchange(octets, STRANGER) == b""


def test_who_is_on_the_list_is_told(nginx: Nginx) -> None:
    """Whoever is on the list and sends what is no request is told so."""
    assert b" 400 " in nginx.exchange(b"noise\r\n\r\n")


def test_other_users_do_not_get_to_the_socket(unit: Unit) -> None:
    """The socket can be opened by its group, in which the proxy is, and by nobody else."""
    assert unit.address.stat().st_mode & 0o777 == 0o660
