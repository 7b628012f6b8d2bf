"""What is said of the Redis that the guard shares."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from ldapauth.doctor import memory
from ldapauth.doctor.finding import Line, Mark
from ldapauth.guard.shared import Health
from tests.doctor import examined, findings, only
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.redis import Redis

SECRET = "a secret of thirty-two characters"
PASSWORD = "S3CRET-of-redis"


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """A private Redis that wants a password."""
    with Redis(password=PASSWORD) as server:
        yield server


def looked_at(tmp_path: Path, storage: str, **guard: Any) -> list[Line]:
    """What is said with a Redis there."""
    table = {"servers": ["ldapi://%2Fnonexistent"], "base_dn": "dc=example,dc=com"}
    return examined(tmp_path, table, guard={"storage": storage, "secret": SECRET, **guard})


def test_without_a_redis_nothing_is_said(tmp_path: Path) -> None:
    """A guard that shares nothing has nothing to be looked at."""
    table = {"servers": ["ldapi://%2Fnonexistent"], "base_dn": "dc=example,dc=com"}
    assert findings(examined(tmp_path, table), "Redis") == []


def test_a_redis_that_answers_is_well(tmp_path: Path, redis: Redis) -> None:
    """Its version and how long it takes are said, and nothing is left behind in it."""
    finding = only(looked_at(tmp_path, redis.url, failures=3, domain_failures=1000), "Redis")
    assert finding.mark is Mark.OK
    version = redis.run("INFO", "server").partition("redis_version:")[2].split()[0]
    assert finding.text.startswith(f"Redis {version} looks at a record in ")
    assert redis.run("KEYS", "*") == ""


def test_a_redis_that_does_not_answer_is_a_warning(tmp_path: Path) -> None:
    """One that is not there costs no login, and is said."""
    finding = only(looked_at(tmp_path, f"redis://{LOOPBACK}:{free_port()}/0"), "Redis")
    assert finding.mark is Mark.WARNING
    assert "refused" in finding.text
    assert "each process remembers for itself" in finding.text


def test_a_wrong_password_is_not_repeated(tmp_path: Path, redis: Redis) -> None:
    """One that is refused is a warning without the password in it."""
    finding = only(looked_at(tmp_path, f"redis://:WRONG-{PASSWORD}@{LOOPBACK}:{redis.port}/0"), "Redis")
    assert finding.mark is Mark.WARNING
    assert PASSWORD not in f"{finding.text} {finding.remedy}"


def test_a_user_who_may_not_run_scripts_is_a_warning(tmp_path: Path, redis: Redis) -> None:
    """A user of Redis with too few rights is said before a login finds out."""
    redis.run("ACL", "SETUSER", "few", "on", ">few-secret", "~*", "+get")
    finding = only(looked_at(tmp_path, f"redis://few:few-secret@{LOOPBACK}:{redis.port}/0"), "Redis")
    assert finding.mark is Mark.WARNING
    assert "EVALSHA" in finding.remedy


def test_a_user_who_may_do_no_more_than_is_needed_is_well(tmp_path: Path, redis: Redis) -> None:
    """A user of Redis who may not ask how it is can be asked about all the same."""
    rights = ["+evalsha", "+script|load", "+get", "+set", "+del", "+time", "+ping", "+select", "+client"]
    redis.run("ACL", "SETUSER", "enough", "on", ">enough-secret", "~ldapauth:guard:*", *rights)
    finding = only(looked_at(tmp_path, f"redis://enough:enough-secret@{LOOPBACK}:{redis.port}/0"), "Redis")
    assert finding.mark is Mark.OK
    assert finding.text.startswith("Redis looks at a record in ")


def test_a_redis_that_forgets_is_a_warning(tmp_path: Path, redis: Redis) -> None:
    """With a limit to its memory and a policy to throw away what is in it, budgets may begin anew."""
    redis.run("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
    try:
        found = findings(looked_at(tmp_path, redis.url), "Redis")
    finally:
        redis.run("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")
    assert [finding.mark for finding in found] == [Mark.OK, Mark.WARNING]
    assert "allkeys-lru" in found[1].text


@pytest.mark.parametrize(
    ("url", "in_clear"),
    [
        ("redis://redis.example.com/0", True),
        ("redis://192.0.2.1:6379/0", True),
        ("redis://localhost/0", False),
        ("redis://[::1]/0", False),
        ("rediss://redis.example.com/0", False),
        ("unix:///run/redis.sock", False),
    ],
)
def test_a_redis_asked_in_clear_is_a_warning(
    tmp_path: Path, mocker: MockerFixture, url: str, *, in_clear: bool
) -> None:
    """What goes over a network without TLS can be read there, and a slow one is too slow for a login."""
    mocker.patch.object(memory, "examine", return_value=Health("7.0", 0.02, ""))
    marks = [(finding.mark, "in clear" in finding.text) for finding in findings(looked_at(tmp_path, url), "Redis")]
    assert marks == [(Mark.WARNING, False)] + [(Mark.WARNING, True)] * in_clear
