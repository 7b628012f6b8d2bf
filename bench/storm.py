"""A storm: everybody logs in again at once, after a restart of the XMPP server; `python -m bench --storm`.

Each peer has everybody's login twice: as on a morning, and then once more, which is the storm. What is printed is the
storm's time, and what it asked of the directory.
"""

import random
import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from bench import http
from bench.helpers import PROGRAM, Helper
from bench.lua import Lualdap
from bench.neighbours import Neighbours
from bench.peer import PASSWORD, PEOPLE, USER, Login, Unavailable, environment
from bench.world import World
from tests.servers.ports import LOOPBACK
from tests.servers.redis import Redis

_TTL = 3600.0  # longer than the storm and what was before it
_SECRET = "a secret of the benchmark, and long enough"  # noqa: S105 - it protects made-up passwords
_SETTLE = 0.5  # seconds in which slapd writes its log


class Row(NamedTuple):
    """What came of a storm.

    Attributes:
        label: By which the table names the peer.
        seconds: From the first login to the last answer.
        searches: What the directory was asked meanwhile.
        binds: Likewise; those of connections are among them.
        errors: Answers that were not yes.
    """

    label: str
    seconds: float
    searches: int
    binds: int
    errors: int


Ask = Callable[[Sequence[Login]], int]
"""Has everybody log in, and says how many were refused."""


def storm() -> str:
    """The table, as docs/performance.md has it."""
    neighbours = Neighbours()
    with World(loglevel="stats") as world, Redis() as redis:
        rows = []
        for label, start in _peers(world, redis):
            redis.run("FLUSHALL")
            rows.append(_row(world, label, start))
        others = neighbours.share()
    lines = [
        f"{PEOPLE:,} logins; others used {others:.0%} of the CPU.",
        "",
        f"| {'peer':<58} | seconds | logins/s | searches | binds | errors |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        if isinstance(row, str):
            lines.append(f"| {row} |||||")
        else:
            rate = PEOPLE / row.seconds
            cells = (f"{row.seconds:.1f}", f"{rate:,.0f}", f"{row.searches:,}", f"{row.binds:,}", str(row.errors))
            lines.append(f"| {row.label:<58} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _peers(world: World, redis: Redis) -> Iterator[tuple[str, Callable[[ExitStack], Callable[[], Ask]]]]:
    """Each peer with what starts it; that gives what is called before each of its two times."""
    target = world.targets[0]
    shared = {"storage": redis.url, "secret": _SECRET}

    def lualdap(running: ExitStack) -> Callable[[], Ask]:
        return lambda: _fresh(running, Lualdap(target))

    def helper(name: str, guard: dict[str, Any]) -> Callable[[ExitStack], Callable[[], Ask]]:
        command = [str(PROGRAM), "--config", str(world.configuration(name, target, guard=guard))]
        return lambda running: lambda: _fresh(running, Helper(name, name, target, command, environment()))

    def app(name: str, guard: dict[str, Any]) -> Callable[[ExitStack], Callable[[], Ask]]:
        config = world.configuration(name, target, guard=guard)

        def start(running: ExitStack) -> Callable[[], Ask]:
            gunicorn = http.Gunicorn("ldapauth.frontends.http:create_app()", {"LDAPAUTH_CONFIG": str(config)})
            running.enter_context(gunicorn)
            return lambda: lambda logins: _over_http(gunicorn.port, logins)

        return start

    yield "lualdap, as mod_auth_ldap calls it", lualdap
    yield "ldapauth-generic, started anew", helper("storm-helper", {})
    yield "ldapauth-generic, started anew, cache_ttl and Redis", helper("storm-redis", {"cache_ttl": _TTL, **shared})
    yield "ldapauth over HTTP", app("storm-http", {})
    yield "ldapauth over HTTP, cache_ttl", app("storm-http-cache", {"cache_ttl": _TTL})
    yield "ldapauth over HTTP, cache_ttl and Redis", app("storm-http-redis", {"cache_ttl": _TTL, **shared})


def _row(world: World, label: str, start: Callable[[ExitStack], Callable[[], Ask]]) -> Row | str:
    """One peer: everybody once, and again."""
    everybody = [Login(USER % number, PASSWORD % number, right=True) for number in range(PEOPLE)]
    print(label, file=sys.stderr)  # noqa: T201 - it takes minutes
    with ExitStack() as running:
        try:
            ready = start(running)
            random.shuffle(everybody)
            ready()(everybody)
            ask = ready()
        except Unavailable as error:
            return f"{label}: {error}"
        random.shuffle(everybody)
        before = world.operations(_SETTLE)
        begin = time.perf_counter()
        errors = ask(everybody)
        seconds = time.perf_counter() - begin
        asked = world.operations(_SETTLE) - before
    return Row(label, seconds, asked["SRCH"], asked["BIND"], errors)


def _fresh(running: ExitStack, program: Helper) -> Ask:
    """A program that was started just now, as with its XMPP server."""
    program.start()
    running.callback(program.stop)
    return program.refused


def _over_http(port: int, logins: Sequence[Login]) -> int:
    """The logins over as many connections as there are threads, each asked when the one before was answered."""
    left = iter(logins)
    refused = 0
    with selectors.DefaultSelector() as selector, ExitStack() as connections:
        for login in (next(left) for _ in range(http.CONNECTIONS)):
            connection = connections.enter_context(socket.create_connection((LOOPBACK, port)))
            selector.register(connection, selectors.EVENT_READ, bytearray())
            connection.sendall(http.request(login))
        while selector.get_map():
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)  # noqa: S101 - for the type checker: only those are there
                key.data.extend(key.fileobj.recv(4096))
                head, end, body = bytes(key.data).partition(b"\r\n\r\n")
                if not end or body not in {b"true", b"false"}:
                    continue
                refused += body != b"true" or not head.startswith(b"HTTP/1.1 200 ")
                key.data.clear()
                following = next(left, None)
                if following is None:
                    selector.unregister(key.fileobj)
                else:
                    key.fileobj.sendall(http.request(following))
    return refused
