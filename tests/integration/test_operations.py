"""What an administrator does with a running app: watches it, changes its secrets, and has it read them again.

The app runs as `deploy/gunicorn.conf.py` has it: two workers.
"""

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

import pytest
import tomli_w
from prometheus_client.parser import text_string_to_metric_families

from tests import configuration
from tests.integration import silent_directory
from tests.servers.gunicorn import ROOT, Answer, Gunicorn, ask, basic
from tests.servers.people import person
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import wait_until
from tests.servers.slapd import Slapd

PATIENCE = 20.0
JULIET = "user=juliet&server=example.com"
RIGHT = f"/check_password?{JULIET}&pass={person('juliet').password}"
WRONG = f"/check_password?{JULIET}&pass=wrong"
METRICS = "prometheus:metrics-secret"

OLD, NEW = "prosody:old-secret", "prosody:new-secret"


def deployed(config_file: Path) -> Gunicorn:
    """A gunicorn as it is deployed, but for the place where it listens."""
    return Gunicorn(config_file, gunicorn_config=ROOT / "deploy" / "gunicorn.conf.py")


def get(server: Gunicorn, target: str, credentials: str | None = configuration.CREDENTIALS) -> Answer:
    """Asks on a connection of its own."""
    return server.request("GET", target, {"Authorization": basic(credentials)} if credentials else {})


Samples = dict[tuple[str, tuple[str, ...]], float]


def samples(text: bytes) -> Samples:
    """The samples of what Prometheus reads, by the name and the values of the labels in the order of their names."""
    found = [one for family in text_string_to_metric_families(text.decode()) for one in family.samples]
    return {(one.name, tuple(one.labels[name] for name in sorted(one.labels))): one.value for one in found}


def total(found: Samples, verdict: str, reason: str = "", domain: str = configuration.DOMAIN) -> float:
    """How many logins have been counted with that outcome."""
    return found.get(("ldapauth_questions_total", (domain, "check_password", reason, verdict)), 0.0)


@pytest.fixture(scope="module")
def watched(slapd: Slapd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """An app of which metrics are shown, with a domain whose directory is down."""
    down = configuration.domain_table(slapd, servers=[f"ldap://{LOOPBACK}:{free_port()}"])
    domains = {configuration.DOMAIN: configuration.domain_table(slapd), "down.example": down}
    metrics = {"credentials": METRICS}
    file = configuration.write(tmp_path_factory.mktemp("watched"), {}, domains=domains, metrics=metrics)
    with deployed(file) as server:
        yield server


def shown(server: Gunicorn) -> Samples:
    """What Prometheus is shown."""
    answer = get(server, "/metrics", METRICS)
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/plain")
    return samples(answer.body)


def answering(server: Gunicorn) -> set[str]:
    """The processes that have read the configuration, by the log."""
    return set(re.findall(r"event=start pid=(\d+)", server.log))


def test_metrics_of_all_workers_add_up(watched: Gunicorn) -> None:
    """Whichever worker is asked, it shows what all of them have answered, by operation, verdict, reason and domain."""
    before = shown(watched)
    assert wait_until(lambda: len(answering(watched)) == len(watched.workers()), PATIENCE)
    for _ in range(30):
        assert get(watched, RIGHT).body == b"true"
    for number in range(7):  # the same one would be refused from memory
        assert get(watched, f"{WRONG}{number}").body == b"false"
    for number in range(5):
        assert get(watched, RIGHT.replace("example.com", f"made-up-{number}.example")).body == b"false"
    assert get(watched, RIGHT.replace("example.com", "down.example")).status == 503
    for after in [shown(watched) for _ in range(10)]:  # whoever answers
        assert total(after, "accepted") - total(before, "accepted") == 30
        assert total(after, "refused", "wrong-password") - total(before, "refused", "wrong-password") == 7
        assert total(after, "refused", "unknown-domain", "(unknown)") == 5
        assert total(after, "unavailable", "outage", "down.example") == 1
        name = ("ldapauth_question_seconds_count", (configuration.DOMAIN, "check_password"))
        assert after[name] - before.get(name, 0) == 37
        assert not any("made-up" in label for _, labels in after for label in labels)


def test_refusals_from_memory_are_counted_as_such(watched: Gunicorn) -> None:
    """A password that was wrong is counted as wrong once in a worker at most, and otherwise as stale."""
    before = shown(watched)
    for _ in range(10):
        assert get(watched, f"{WRONG}-and-old").body == b"false"
    after = shown(watched)
    stale, wrong = (
        total(after, "refused", word) - total(before, "refused", word) for word in ("stale", "wrong-password")
    )
    assert stale + wrong == 10
    assert 1 <= wrong <= len(watched.workers())


def test_metrics_show_servers_and_connections(watched: Gunicorn, slapd: Slapd) -> None:
    """A server that failed is shown as down, one that answers as up, and the connections that are kept are counted."""
    get(watched, RIGHT)
    get(watched, RIGHT.replace("example.com", "down.example"))
    found = shown(watched)
    servers = {labels: value for (name, labels), value in found.items() if name == "ldapauth_server_up"}
    assert servers[configuration.DOMAIN, slapd.url] == 1
    assert [value for (domain, _), value in servers.items() if domain == "down.example"] == [0]
    for kind in ("search", "verify"):
        assert found["ldapauth_connections", (configuration.DOMAIN, kind, "kept")] >= 1
        assert found["ldapauth_connections", (configuration.DOMAIN, kind, "in use")] == 0


@pytest.mark.parametrize("credentials", [None, configuration.CREDENTIALS, "prometheus:wrong"])
def test_metrics_have_credentials_of_their_own(watched: Gunicorn, credentials: str | None) -> None:
    """Metrics are for whoever has their credentials; those of the XMPP server are not good for them."""
    answer = get(watched, "/metrics", credentials)
    assert answer.status == 401
    assert b"ldapauth_" not in answer.body


def test_the_credentials_of_metrics_are_good_for_nothing_else(watched: Gunicorn) -> None:
    """Whoever may read the metrics may not ask about passwords."""
    assert get(watched, RIGHT, METRICS).status == 401


def test_metrics_are_off_unless_wanted(config_file: Path) -> None:
    """Without credentials for them there are no metrics, and the client for them is not loaded."""
    with deployed(config_file) as server:
        assert get(server, "/metrics").status == 501
        maps = [Path(f"/proc/{worker.pid}/maps").read_text() for worker in server.workers()]
        assert not any("ldapauth-metrics-" in text for text in maps)


def test_a_worker_that_is_gone_has_counted(watched: Gunicorn) -> None:
    """What a worker has answered still counts when it is gone; its connections do not."""
    for _ in range(20):
        get(watched, RIGHT)
    before = total(shown(watched), "accepted")
    old = {worker.pid for worker in watched.workers()}
    os.kill(watched.pid, signal.SIGHUP)
    assert wait_until(lambda: not old & {worker.pid for worker in watched.workers()}, PATIENCE)
    assert get(watched, RIGHT).body == b"true"
    assert total(shown(watched), "accepted") == before + 1
    kept = "ldapauth_connections", (configuration.DOMAIN, "verify", "kept")
    assert wait_until(lambda: shown(watched)[kept] == 1, PATIENCE)  # gunicorn tells when it has buried the worker


# Health


def test_health_needs_no_credentials_and_shows_nothing(watched: Gunicorn) -> None:
    """Whoever can connect learns whether the app and its directories answer, and not a word more."""
    for target, status, body in (
        ("/healthz", 200, b"ok"),
        ("/readyz", 503, b"not ready"),
        ("/readyz?server=example.com", 200, b"ok"),
        ("/readyz?server=down.example", 503, b"not ready"),
        ("/readyz?server=nowhere.example", 503, b"not ready"),
        ("/readyz?server=%ff", 503, b"not ready"),
    ):
        answer = get(watched, target, None)
        assert (target, answer.status, answer.body) == (target, status, body)
    assert watched.request("POST", "/healthz").status == 405


@pytest.mark.parametrize("kind", ["down", "silent"])
def test_a_dead_directory_is_no_reason_to_start_the_process_anew(slapd: Slapd, tmp_path: Path, kind: str) -> None:
    """Under a directory that is down or hangs, `healthz` says yes and `readyz` no, both before a monitor gives up."""
    with contextlib.ExitStack() as stack:
        down = f"ldap://{LOOPBACK}:{free_port()}"
        url = down if kind == "down" else stack.enter_context(silent_directory())
        server = stack.enter_context(
            deployed(configuration.write(tmp_path, configuration.domain_table(slapd, servers=[url])))
        )
        for _ in range(3):
            assert get(server, "/healthz", None).status == 200
            assert get(server, "/readyz", None).status == 503
        with contextlib.closing(server.client()) as client:
            client.timeout = 1.0  # seconds: Kubernetes gives up after them
            assert ask(client, "GET", "/readyz").status == 503


def test_readiness_follows_the_directory(tmp_path: Path) -> None:
    """`readyz` says no some seconds after a directory has gone, and yes when it is back, without any login."""
    with Slapd() as slapd, deployed(configuration.write(tmp_path, configuration.domain_table(slapd))) as server:
        assert get(server, "/readyz", None).status == 200
        slapd.stop()
        assert wait_until(lambda: get(server, "/readyz", None).status == 503, PATIENCE)
        slapd.start()
        assert wait_until(lambda: get(server, "/readyz", None).status == 200, PATIENCE)


def test_monitors_are_no_storm(tmp_path: Path) -> None:
    """However often monitors ask, a directory is asked at most once by each worker in some seconds."""
    with (
        Slapd(loglevel="stats") as slapd,
        deployed(configuration.write(tmp_path, configuration.domain_table(slapd))) as server,
    ):
        before, began = slapd.operations(), time.monotonic()
        for _ in range(200):
            assert get(server, "/readyz", None).status == 200
        spent = slapd.operations() - before
        rounds = 1 + (time.monotonic() - began) // 5.0
        assert spent["SRCH"] <= len(server.workers()) * rounds
        assert spent["BIND"] <= len(server.workers()) * rounds


# Secrets, changed under load


class Load:
    """Threads that log in without a pause, half of them on connections that they keep. A context manager.

    Attributes:
        answered: How many questions have been answered with yes.
        wrong: What else has come, or has been raised.
        credentials: What they send.
    """

    def __init__(self, server: Gunicorn, credentials: str) -> None:
        self.answered = 0
        self.wrong: list[object] = []
        self.credentials = credentials
        self._server = server
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, kwargs={"keeps": number % 2 == 0}) for number in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, number: int = 50) -> None:
        """Waits until so many more questions have been answered."""
        goal = self.answered + number
        assert wait_until(lambda: self.answered >= goal or bool(self.wrong), PATIENCE)

    def _run(self, *, keeps: bool) -> None:
        client = self._server.client()
        while not self._over.is_set():
            headers = {"Authorization": basic(self.credentials), **({} if keeps else {"Connection": "close"})}
            try:
                answer = ask(client, "GET", RIGHT, headers)
            except (OSError, HTTPException) as error:
                self.wrong.append(error)
                client.close()
                continue
            if (answer.status, answer.body) == (200, b"true"):
                self.answered += 1
            else:
                self.wrong.append((answer.status, answer.body))
        client.close()


@pytest.fixture
def rotating(slapd: Slapd, tmp_path: Path) -> Iterator[Slapd]:
    """The directory, whose service account gets its password back afterwards."""
    (tmp_path / "bind-password").touch(mode=0o600)
    (tmp_path / "bind-password").write_text(slapd.service_password)
    yield slapd
    set_service_passwords(slapd, slapd.service_password)


def set_service_passwords(slapd: Slapd, *passwords: str) -> None:
    """Gives the service account passwords, any of which will do, as an administrator does for a change."""
    values = "".join(f"userPassword: {password}\n" for password in passwords)
    slapd.modify_ldif(f"dn: {slapd.service_dn}\nchangetype: modify\nreplace: userPassword\n{values}")


def reloaded(server: Gunicorn) -> None:
    """Sends SIGHUP, and waits until all workers are new ones."""
    old = {worker.pid for worker in server.workers()}
    os.kill(server.pid, signal.SIGHUP)
    assert wait_until(lambda: len(server.workers()) == 2 and not old & {one.pid for one in server.workers()}, PATIENCE)


def test_secrets_change_under_load(rotating: Slapd, tmp_path: Path) -> None:
    """HTTP credentials and the bind password are changed by files and SIGHUP, and no request is lost meanwhile."""
    credentials = tmp_path / "http-credentials"
    credentials.touch(mode=0o600)
    credentials.write_text(f"{OLD}\n")
    table = configuration.domain_table(rotating, bind_password=None, bind_password_file="bind-password")
    http = {"credentials_file": "http-credentials"}
    with deployed(configuration.write(tmp_path, table, http=http)) as server, Load(server, OLD) as load:
        load.wait_for_more()
        set_service_passwords(rotating, rotating.service_password, "rotated")
        (tmp_path / "bind-password").write_text("rotated\n")
        credentials.write_text(f"{NEW}\n{OLD}\n")
        reloaded(server)
        set_service_passwords(rotating, "rotated")
        load.wait_for_more()
        load.credentials = NEW
        load.wait_for_more()
        credentials.write_text(f"{NEW}\n")
        reloaded(server)
        load.wait_for_more()
        assert load.wrong == []
        assert (get(server, RIGHT, OLD).status, get(server, RIGHT, NEW).status) == (401, 200)
        assert "service-account-refused" not in server.log


Spoil = Callable[[Path], object]

SPOILT: dict[str, Spoil] = {
    "a filter": lambda file: file.write_text(file.read_text().replace("(uid={user})", "(uid=*)")),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_mistake_at_a_reload_costs_no_login(config_file: Path, spoil: Spoil) -> None:
    """After SIGHUP with a configuration that can't be used the workers go on with the old one, and the log says so."""
    good = config_file.read_text()
    with deployed(config_file) as server, Load(server, configuration.CREDENTIALS) as load:
        load.wait_for_more()
        assert wait_until(lambda: len(answering(server)) == len(server.workers()), PATIENCE)
        workers = {worker.pid for worker in server.workers()}
        spoil(config_file)
        os.kill(server.pid, signal.SIGHUP)
        assert wait_until(lambda: "the configuration can't be used" in server.log, PATIENCE)
        load.wait_for_more(200)
        assert {worker.pid for worker in server.workers()} == workers, server.log
        assert "ERROR event=configuration problem=" in server.log
        config_file.touch(mode=0o600)
        config_file.write_text(good)
        reloaded(server)
        load.wait_for_more()
        assert load.wrong == []


def test_nothing_is_left_behind(config_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The directory in which workers count is private, and gone with the server."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with deployed(with_metrics(config_file)) as server:
        get(server, RIGHT)
        (directory,) = tmp_path.glob("ldapauth-metrics-*")
        assert directory.stat().st_mode & 0o777 == 0o700
        assert list(directory.glob("*.db"))
    assert list(tmp_path.glob("ldapauth-metrics-*")) == []


def with_metrics(file: Path, **more: Any) -> Path:
    """The configuration with metrics turned on."""
    file.write_text(f"{file.read_text()}\n{tomli_w.dumps({'metrics': {'credentials': METRICS, **more}})}")
    return file
