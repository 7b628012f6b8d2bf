"""The guard in service: real programs, over every door, on real directories that lock accounts, with a real Redis."""

import contextlib
import http.client
import os
import re
import signal
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests import configuration
from tests.configuration import CREDENTIALS, DOMAIN
from tests.frontends.programs import EJABBERD, GENERIC, PATIENCE, PipeHelper, hanging, stopped
from tests.servers.certificates import Certificates
from tests.servers.gunicorn import ROOT, Gunicorn, basic
from tests.servers.nginx import Nginx
from tests.servers.people import State
from tests.servers.ports import LOOPBACK
from tests.servers.process import wait_until
from tests.servers.redis import Redis
from tests.servers.samba import Samba
from tests.servers.slapd import Slapd
from tests.servers.unit import DEPLOY

AnyServer = Slapd | Samba

USER, RIGHT = State.EASILY_LOCKED.value, "Right-Guess-1"
"""Somebody whom three wrong passwords lock out."""

EPOCH = "ldapauth:guard:epoch"
"""The key in Redis that has another value each time that everybody is forgotten."""

SECRET = "a secret that is long enough for it"
DOORS = ["http", "generic", "ejabberd"]
SERVERS = [pytest.param("ppolicy", id="ppolicy"), pytest.param("samba", id="samba", marks=pytest.mark.samba)]

ON_EACH_SERVER = pytest.mark.parametrize("name", SERVERS)
OVER_EACH_DOOR = pytest.mark.parametrize("door", DOORS)

Start = Callable[..., "Door"]


class Door(Protocol):
    """One way to ask."""

    def login(self, user: str, password: str) -> bool:
        """Whether the password is accepted; an outage is a no where the protocol has no word for it."""

    def set_password(self, user: str, password: str) -> bool:
        """Whether the password was changed."""


class HelperDoor:
    """A helper program."""

    def __init__(self, helper: PipeHelper) -> None:
        self.helper = helper

    def login(self, user: str, password: str) -> bool:
        """Whether the password is accepted."""
        return self.helper.ask(f"auth:{user}:{DOMAIN}:{password}")

    def set_password(self, user: str, password: str) -> bool:
        """Whether the password was changed."""
        return self.helper.ask(f"setpass:{user}:{DOMAIN}:{password}")


class HttpDoor:
    """The app under gunicorn; each question has a connection of its own, which any worker may take."""

    def __init__(self, gunicorn: Gunicorn) -> None:
        self.gunicorn = gunicorn

    def login(self, user: str, password: str) -> bool:
        """Whether the password is accepted."""
        return self.status_and_body(user, password) == (200, b"true")

    def status_and_body(self, user: str, password: str) -> tuple[int, bytes]:
        """What comes back for a login."""
        query = urllib.parse.urlencode({"user": user, "server": DOMAIN, "pass": password})
        answer = self.gunicorn.request("GET", f"/check_password?{query}", {"Authorization": basic(CREDENTIALS)})
        return answer.status, answer.body

    def set_password(self, user: str, password: str) -> bool:
        """Whether the password was changed."""
        form = urllib.parse.urlencode({"user": user, "server": DOMAIN, "pass": password}).encode()
        answer = self.gunicorn.request("POST", "/set_password", {"Authorization": basic(CREDENTIALS)}, form)
        return answer.status == http.client.NO_CONTENT


@pytest.fixture(scope="module")
def ppolicy() -> Iterator[Slapd]:
    """A slapd with a password policy."""
    with Slapd(ppolicy=True) as server:
        yield server


@pytest.fixture(scope="module")
def redis_server() -> Iterator[Redis]:
    """A private Redis."""
    with Redis() as server:
        yield server


@pytest.fixture
def redis(redis_server: Redis) -> Redis:
    """The same, with nothing in it."""
    redis_server.run("FLUSHALL")
    return redis_server


@pytest.fixture
def server(request: pytest.FixtureRequest, name: str) -> AnyServer:
    """The server of a case, with nothing counted against the user."""
    found = request.getfixturevalue(name)
    assert isinstance(found, AnyServer)
    found.unlock(found.dn(State.EASILY_LOCKED.person))
    return found


@pytest.fixture
def start(server: AnyServer, tmp_path: Path) -> Iterator[Start]:
    """Starts programs on the server of a case, with a `[guard]` table; all of them log to one file."""
    with contextlib.ExitStack() as running:

        def door(kind: str, *, workers: int = 1, **guard: Any) -> Door:
            config = configured(tmp_path, server, guard)
            if kind == "http":
                options: dict[str, str | int] = {"workers": workers, "worker-class": "gthread", "threads": 4}
                return HttpDoor(running.enter_context(Gunicorn(config, options=options)))
            wire = {"generic": GENERIC, "ejabberd": EJABBERD}[kind]
            return HelperDoor(running.enter_context(PipeHelper(wire, config)))

        yield door


def configured(directory: Path, server: AnyServer, guard: dict[str, Any]) -> Path:
    """Writes the configuration."""
    windows = isinstance(server, Samba)
    table = {
        "servers": [server.ldaps_url if isinstance(server, Samba) else server.url],
        "directory": "active-directory" if windows else "openldap",
        "bind_dn": server.service_dn,
        "bind_password": server.service_password,
        "base_dn": server.people_dn,
        "operations": configuration.ALL_OPERATIONS,
        **({"ca_file": str(server.ca)} if isinstance(server, Samba) else {}),
    }
    limits = {kind: {"deadline": 4.0} for kind in ("generic", "ejabberd")}
    return configuration.write(directory, table, guard=guard, log={"target": str(log(directory))}, **limits)


def log(directory: Path) -> Path:
    """Where everything is logged."""
    return directory / "log"


def words(directory: Path) -> list[str]:
    """How the logins were answered, in the words of the log."""
    return re.findall(
        r"event=check_password .*?verdict=\w+(?: reason=([-\w]+))?",
        log(directory).read_text() if log(directory).exists() else "",
    )


def count(server: AnyServer) -> int:
    """How many wrong passwords the directory counts against the user."""
    return server.bad_passwords(server.dn(State.EASILY_LOCKED.person))


def undisturbed(directory: Path, attempt: Callable[[], None]) -> None:
    """Tries something that Redis is needed for; again, where the machine was too busy for it to answer within 50 ms."""
    for _ in range(20):
        assert wait_until(lambda: times(directory, "redis-failed") == times(directory, "redis-back"), PATIENCE)
        before = times(directory, "redis-failed")
        try:
            attempt()
        except AssertionError:
            if times(directory, "redis-failed") == before:
                raise
        else:
            return
    pytest.fail("Redis never answered in time")


def times(directory: Path, event: str) -> int:
    """How often something was logged."""
    return log(directory).read_text().count(f"event={event}") if log(directory).exists() else 0


# An old password on a phone.


@ON_EACH_SERVER
@OVER_EACH_DOOR
def test_old_password_is_counted_once(start: Start, server: AnyServer, door: str) -> None:
    """A phone tries an old password a thousand times: the directory counts one, and the right one still logs in."""
    phone = start(door)
    assert not any(phone.login(USER, "old-password") for _ in range(1000))
    assert count(server) == 1
    assert phone.login(USER, RIGHT)


@ON_EACH_SERVER
def test_old_password_is_counted_once_over_all_doors(
    start: Start, server: AnyServer, redis: Redis, tmp_path: Path
) -> None:
    """With one Redis that holds however many processes the phone is answered by: two workers, and two helpers."""
    shared = {"storage": redis.url, "secret": SECRET}
    doors = [start("http", workers=2, **shared), *(start(kind, **shared) for kind in ("generic", "ejabberd"))]

    def attempt() -> None:
        server.unlock(server.dn(State.EASILY_LOCKED.person))
        assert all(door.login(USER, RIGHT) for door in doors)
        for _ in range(100):
            assert not any(door.login(USER, "old-password") for door in doors)
        assert count(server) == 1
        assert all(door.login(USER, RIGHT) for door in doors)

    undisturbed(tmp_path, attempt)


# Guessing.


@ON_EACH_SERVER
@OVER_EACH_DOOR
def test_guesses_do_not_lock_anybody_out(start: Start, server: AnyServer, door: str, tmp_path: Path) -> None:
    """Of ten guesses two reach the directory, which locks at three; who has logged in before still does, at once."""
    guesser = start(door, failures=2)
    assert guesser.login(USER, RIGHT)
    assert not any(guesser.login(USER, f"guess {number}") for number in range(10))
    assert count(server) == 2
    assert guesser.login(USER, RIGHT)
    assert count(server) == 0
    expected = ["", "wrong-password", "wrong-password", *["budget"] * 8, ""]
    assert wait_until(lambda: words(tmp_path) == expected, PATIENCE), words(tmp_path)


# Changes.


@ON_EACH_SERVER
def test_changed_password_is_refused_by_all_at_once(
    start: Start, server: AnyServer, redis: Redis, tmp_path: Path
) -> None:
    """What one process remembers as right is forgotten in all of them when another changes the password."""
    shared = {"storage": redis.url, "secret": SECRET, "cache_ttl": 600.0}
    doors = [start("http", workers=2, **shared), *(start(kind, **shared) for kind in ("generic", "ejabberd"))]
    # A policy may want another change after that of an administrator, but not of her.
    user, first = (USER, RIGHT) if isinstance(server, Samba) else ("juliet", "juliet-secret")
    passwords = [first, *(f"Another-Guess-{number}" for number in range(100))]

    def attempt() -> None:
        for changer in doors:
            assert all(door.login(user, passwords[0]) for door in doors for _ in range(4))
            old = passwords.pop(0)
            assert changer.set_password(user, passwords[0])
            assert not any(door.login(user, old) for door in doors for _ in range(4))
            assert all(door.login(user, passwords[0]) for door in doors for _ in range(4))

    try:
        undisturbed(tmp_path, attempt)
    finally:
        if isinstance(server, Samba):
            assert doors[0].set_password(user, first)
        else:
            server.modify_ldif(f"dn: uid=juliet,{server.people_dn}\nreplace: userPassword\nuserPassword: {first}\n")


def test_hang_up_has_everybody_forget(tmp_path: Path, redis: Redis, ppolicy: Slapd) -> None:
    """SIGHUP to a helper on a pipe, or to gunicorn, ends what is remembered as right, in Redis too."""
    guard = {"storage": redis.url, "secret": SECRET, "cache_ttl": 600.0}
    config = configured(tmp_path, ppolicy, guard)
    deployed = ROOT / "deploy" / "gunicorn.conf.py"
    with (
        Gunicorn(config, gunicorn_config=deployed, options={"workers": 1}) as gunicorn,
        PipeHelper(GENERIC, config) as helper,
        PipeHelper(EJABBERD, config) as other,
    ):
        romeo = f"auth:romeo:{DOMAIN}:romeo-secret"
        assert helper.ask(romeo)
        for pid in (helper.pid, gunicorn.pid):
            epoch = redis.run("GET", EPOCH)
            os.kill(pid, signal.SIGHUP)
            assert wait_until(lambda epoch=epoch: redis.run("GET", EPOCH) != epoch, PATIENCE)  # type: ignore[misc] # bound here
            assert wait_until(lambda: other.ask(romeo) and logged(tmp_path, "reason=cached"), PATIENCE)
        other.ask(romeo)
        redis.run("SET", EPOCH, "another")
        seen = times(tmp_path, "check_password")
        assert other.ask(romeo)
        assert wait_until(lambda: times(tmp_path, "check_password") > seen, PATIENCE)
        assert "reason=cached" not in log(tmp_path).read_text().splitlines()[-1]


def logged(directory: Path, text: str) -> bool:
    """Whether a text was logged."""
    return log(directory).exists() and text in log(directory).read_text()


# Redis goes.


@pytest.mark.parametrize("name", ["ppolicy"])
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_redis_that_goes_costs_no_login(start: Start, redis: Redis, how: str, tmp_path: Path) -> None:
    """Redis is killed, or hangs, while people log in over all doors: each answer is as before, and that is logged."""
    shared = {"storage": redis.url, "secret": SECRET, "cache_ttl": 600.0, "failures": 3}
    doors = [start("http", workers=2, **shared), *(start(kind, **shared) for kind in ("generic", "ejabberd"))]

    def everybody() -> list[bool]:
        return [door.login("romeo", password) for door in doors for password in ("romeo-secret", "wrong") for _ in "ab"]

    right = [True, True, False, False] * len(doors)
    assert everybody() == right
    with stopped(redis) if how == "killed" else hanging(redis):
        for _ in range(5):
            assert everybody() == right
        assert wait_until(lambda: logged(tmp_path, "event=redis-failed"), PATIENCE)
    assert wait_until(lambda: logged(tmp_path, "event=redis-back"), PATIENCE)
    assert everybody() == right
    assert not logged(tmp_path, "verdict=unavailable")


# The directory goes.


@pytest.mark.parametrize("name", ["ppolicy"])
@pytest.mark.parametrize("redis_too", [False, True], ids=["alone", "shared"])
@OVER_EACH_DOOR
def test_directory_that_goes_logs_nobody_out(
    start: Start, server: Slapd, redis: Redis, door: str, tmp_path: Path, *, redis_too: bool
) -> None:
    """With the directory away those are in who were before, and nobody else; when it is back, it alone decides."""
    shared = {"storage": redis.url, "secret": SECRET} if redis_too else {}
    # Many, for whoever tries a new password in an outage is counted.
    phone = start(door, stale_if_error=3600.0, failures=1000, **shared)
    assert phone.login("romeo", "romeo-secret")
    assert not phone.login("nurse", "wrong")
    with stopped(server):
        assert phone.login("romeo", "romeo-secret")
        assert not phone.login("romeo", "wrong")
        assert not phone.login("nurse", "nurse-secret")
        assert not phone.login("nurse", "wrong")
        assert not phone.login("nobody", "romeo-secret")
        if isinstance(phone, HttpDoor):
            assert phone.status_and_body("nurse", "nurse-secret")[0] == http.client.SERVICE_UNAVAILABLE
    dn = f"uid=romeo,{server.people_dn}"
    server.modify_ldif(f"dn: {dn}\nreplace: userPassword\nuserPassword: romeo-new-secret\n")
    try:
        assert wait_until(lambda: phone.login("romeo", "romeo-new-secret"), PATIENCE)
        assert not phone.login("romeo", "romeo-secret")
        assert re.search(
            r'verdict=accepted reason=outage .*detail="from memory: the directory said yes \d+ s ago \(ldap://',
            log(tmp_path).read_text(),
        )
        assert logged(tmp_path, "event=outage domain=")
        assert logged(tmp_path, "user=nurse verdict=refused reason=stale")
        assert wait_until(lambda: logged(tmp_path, "user=romeo verdict=refused reason=wrong-password"), PATIENCE)
    finally:
        server.modify_ldif(f"dn: {dn}\nreplace: userPassword\nuserPassword: romeo-secret\n")


# Several machines.


@pytest.mark.parametrize("name", ["ppolicy"])
def test_two_instances_behind_nginx_are_one(
    start: Start, server: Slapd, redis: Redis, certificates: Certificates, tmp_path: Path
) -> None:
    """Two apps with one Redis, of which nginx picks one for each question, have one budget and one memory."""
    shared = {"storage": redis.url, "secret": SECRET, "failures": 2, "cache_ttl": 600.0}
    apps = [start("http", workers=2, **shared) for _ in range(2)]
    upstreams = "".join(
        f"    server {LOOPBACK}:{app.gunicorn.address[1]};\n" for app in apps if isinstance(app, HttpDoor)
    )
    site = re.sub(r"    server unix:.*;\n", upstreams, (DEPLOY / "nginx.conf").read_text())
    with Nginx(Path("unused"), certificates.server, certificates.ca, site) as nginx:

        def login(password: str) -> bool:
            query = urllib.parse.urlencode({"user": USER, "server": DOMAIN, "pass": password})
            with contextlib.closing(nginx.client()) as client:
                client.request("GET", f"/check_password?{query}", headers={"Authorization": basic(CREDENTIALS)})
                response = client.getresponse()
                assert response.status == http.client.OK
                return response.read() == b"true"

        def attempt() -> None:
            redis.run("FLUSHALL")
            server.unlock(server.dn(State.EASILY_LOCKED.person))
            assert all(login(RIGHT) for _ in range(8))
            assert not any(login(f"guess {number}") for number in range(12))
            assert count(server) == 2
            assert all(login(RIGHT) for _ in range(8))

        undisturbed(tmp_path, attempt)
    assert all(app.gunicorn.access_log.count("check_password") for app in apps if isinstance(app, HttpDoor))
