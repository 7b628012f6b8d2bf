"""The memory that is shared in a real Redis: seen by all, and missed by nobody when it is away."""

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator

import pytest

from ldapauth.config import Guard as Settings
from ldapauth.config import Secret
from ldapauth.deadline import Deadline
from ldapauth.errors import ConfigurationError
from ldapauth.guard import Guard
from ldapauth.guard.digest import SlowHash
from ldapauth.guard.memory import Patience
from ldapauth.guard.record import EMPTY
from ldapauth.verdict import ACCEPTED, Verdict
from tests.frontends.programs import hanging
from tests.guard.directory import JULIET, ROMEO, Directory
from tests.servers.process import wait_until
from tests.servers.redis import Redis

SECRET = "a secret that is long enough for it"
PATIENCE = 20.0

Make = Callable[..., Guard]


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    """A private Redis that wants a password."""
    with Redis(password="redis-password") as server:
        yield server


@pytest.fixture
def redis(server: Redis) -> Redis:
    """The same, with nothing in it."""
    server.run("FLUSHALL")
    return server


@pytest.fixture
def make(redis: Redis) -> Make:
    """Makes guards, each as in a process of its own, that share the Redis; a busy machine is not what is tried."""

    def guard(**changes: float) -> Guard:
        return Guard(Settings(storage=Secret(redis.url), secret=Secret(SECRET), **changes))  # type: ignore[arg-type] # numbers, each where it belongs

    return guard


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is waited for however long it takes: a machine that is busy is no reason to go on without it."""
    monkeypatch.setattr("ldapauth.guard.login.PATIENCE", PATIENCE)
    monkeypatch.setattr("ldapauth.guard.shared._TIMEOUT", PATIENCE)


@pytest.fixture
def directory() -> Directory:
    """The directory."""
    return Directory()


@pytest.mark.usefixtures("patient")
def test_what_one_process_learns_all_know(make: Make, directory: Directory) -> None:
    """A wrong password, a right one, a guess and a change count in every process."""
    one, two = (make(cache_ttl=60.0, failures=2) for _ in range(2))
    assert directory.login(one, JULIET, "old") == "wrong-password"
    assert directory.login(two, JULIET, "old") == "stale"
    assert directory.login(two, JULIET, "guess") == "wrong-password"
    assert directory.login(one, JULIET, "another guess") == "budget"
    assert directory.login(one, ROMEO, "right") == "accepted"
    assert directory.login(two, ROMEO, "right") == "cached"
    one.forget(ROMEO)
    directory.passwords[ROMEO] = "new"
    assert directory.login(two, ROMEO, "right") == "wrong-password"
    assert directory.login(one, ROMEO, "right") == "stale"


@pytest.mark.usefixtures("patient")
def test_wrong_passwords_of_a_domain_count_in_all(make: Make, directory: Directory) -> None:
    """The ceiling of a domain is one for all."""
    guards = [make(domain_failures=3) for _ in range(2)]
    directory.passwords |= {(f"user{number}", "example.com"): "right" for number in range(6)}
    answers = [
        directory.login(guards[number % 2], (f"user{number}", "example.com"), "Summer2026") for number in range(5)
    ]
    assert answers == ["wrong-password"] * 3 + ["budget"] * 2


@pytest.mark.usefixtures("patient")
def test_simultaneous_guesses_in_all_processes_are_counted_before(make: Make, directory: Directory) -> None:
    """However many processes guess at once, no more guesses reach the directory than the budget has."""
    guards = [make(failures=2) for _ in range(4)]
    barrier = threading.Barrier(12)

    def guess(number: int) -> None:
        barrier.wait(PATIENCE)
        directory.login(guards[number % len(guards)], JULIET, f"guess {number}")

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(directory.asked) <= 2


@pytest.mark.usefixtures("patient")
def test_answer_from_before_a_change_elsewhere_is_not_learnt(make: Make, directory: Directory) -> None:
    """A login that was under way in one process while another changed the password leaves nothing behind."""
    one, two = (make(cache_ttl=60.0) for _ in range(2))

    def ask() -> Verdict:
        directory.passwords[JULIET] = "new"
        two.forget(JULIET)
        return ACCEPTED

    one.check(JULIET, "right", Deadline.after(PATIENCE), ask)
    assert directory.login(two, JULIET, "right") == "wrong-password"


@pytest.mark.usefixtures("patient")
def test_forgetting_everybody_is_for_all(make: Make, directory: Directory) -> None:
    """Nothing that any process has learnt counts any more; what is learnt afterwards does."""
    one, two = (make(cache_ttl=60.0) for _ in range(2))
    assert directory.login(one, JULIET, "right") == "accepted"
    assert directory.login(one, ROMEO, "old") == "wrong-password"
    two.forget_everybody()
    assert directory.login(one, JULIET, "right") == "accepted"
    assert directory.login(one, ROMEO, "old") == "wrong-password"
    assert directory.login(two, JULIET, "right") == "cached"
    assert directory.login(two, ROMEO, "old") == "stale"


@pytest.mark.usefixtures("patient")
def test_what_is_kept_says_nothing(make: Make, directory: Directory, redis: Redis) -> None:
    """In Redis there is neither a name nor a password, and what there is means nothing without the secret."""
    guard = make(cache_ttl=60.0, failures=2)
    directory.login(guard, JULIET, "right")
    directory.login(guard, JULIET, "old-password")
    kept = redis.everything()
    assert kept.count(b"ldapauth:guard:") == 1
    for word in (b"juliet", b"example", b"right", b"old-password"):
        assert word not in kept
    other = Guard(Settings(cache_ttl=60.0, storage=Secret(redis.url), secret=Secret(SECRET[::-1])))
    assert directory.login(other, JULIET, "right") == "accepted"
    assert redis.everything().count(b"ldapauth:guard:") == 2


@pytest.mark.usefixtures("patient")
def test_nothing_is_kept_for_ever(make: Make, directory: Directory, redis: Redis) -> None:
    """Each record ends with what it says, and the mark of a change when no login can be under way any more."""
    guard = make(cache_ttl=60.0)
    directory.login(guard, JULIET, "old")
    directory.login(guard, ROMEO, "right")
    guard.forget(("somebody", "example.com"))
    ends = sorted(int(redis.run("TTL", key)) for key in redis.run("KEYS", "*").split())
    assert [end in range(most - 30, most + 1) for end, most in zip(ends, [900, 900, 3600], strict=True)] == [True] * 3


@pytest.mark.usefixtures("patient")
def test_full_domain_leaves_no_made_up_names_in_redis(make: Make, directory: Directory, redis: Redis) -> None:
    """Beyond the ceiling of a domain nobody fills Redis with names that he makes up."""
    guard = make(domain_failures=1)
    assert directory.login(guard, JULIET, "wrong") == "wrong-password"
    before = redis.run("DBSIZE")
    for number in range(20):
        assert directory.login(guard, (f"made-up-{number}", "example.com"), "x") == "budget"
    assert redis.run("DBSIZE") == before


@pytest.mark.usefixtures("patient")
def test_record_that_was_made_up_is_none(
    make: Make, directory: Directory, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Who may write to Redis, and has no secret, logs nobody in; the log says once that somebody has tried."""
    guard = make(cache_ttl=60.0)
    assert directory.login(guard, JULIET, "guess") == "wrong-password"
    (key,) = redis.run("KEYS", "*").split()
    for mark in ("", "0" * 32, redis.run("GET", key)[:32]):
        tree = json.loads(redis.run("GET", key)[32:])
        (wrong,) = tree["s"]
        redis.run("SET", key, mark + json.dumps({**tree, "s": [], "k": wrong}, separators=(",", ":")))
        assert directory.login(guard, JULIET, "guess") == "wrong-password"
    assert len(directory.asked) == 4
    assert len([line for line in caplog.messages if line.startswith("event=redis-forged")]) == 1


@pytest.mark.usefixtures("patient")
def test_record_of_somebody_else_is_none(make: Make, directory: Directory, redis: Redis) -> None:
    """What is kept of one user is good in that place alone, and so is the mark that somebody was forgotten."""
    guard = make(cache_ttl=60.0)
    directory.login(guard, ROMEO, "right")
    (romeo,) = redis.run("KEYS", "*").split()
    directory.login(guard, JULIET, "right")
    (juliet,) = {*redis.run("KEYS", "*").split()} - {romeo}
    for is_forgotten in (False, True):
        if is_forgotten:
            guard.forget(ROMEO)
        redis.run("SET", juliet, redis.run("GET", romeo))
        assert guard._shared
        assert guard._shared.look("example.com\0juliet", Patience(PATIENCE)).record == EMPTY


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    "garbage", ["", "x", "[]", "1", '{"g":1}', '{"g":"","s":[[1,2]]}', '{"g":"","k":["x","y"]}', '{"e":"other","g":""}']
)
def test_garbage_in_redis_is_no_record(
    make: Make, directory: Directory, redis: Redis, garbage: str, *, sealed: bool
) -> None:
    """What somebody else, or another version, has put there is nothing, and is written over."""
    guard = make(cache_ttl=60.0)
    assert directory.login(guard, JULIET, "right") == "accepted"
    key = redis.run("KEYS", "*")
    redis.run("SET", key, SlowHash(SECRET).sealed(key, garbage.encode()).decode() if sealed else garbage)
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, JULIET, "right") == "cached"


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_redis_that_is_away_is_missed_by_nobody(
    make: Make, directory: Directory, redis: Redis, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without Redis each process goes on with a memory of its own; that is logged once, and so is Redis's return."""
    guard = make(cache_ttl=60.0, failures=2)
    wait_until_shared(guard)
    caplog.clear()
    with caplog.at_level(logging.INFO), contextlib.ExitStack() as afterwards:
        if how == "killed":
            redis.stop()
            afterwards.callback(redis.start)
        else:
            afterwards.enter_context(hanging(redis))
        assert directory.login(guard, JULIET, "right") == "accepted"
        assert {directory.login(guard, JULIET, "right") for _ in range(500)} == {"cached"}
        assert directory.login(guard, ROMEO, "old") == "wrong-password"
        assert {directory.login(guard, ROMEO, "old") for _ in range(500)} == {"stale"}
        assert len([line for line in caplog.messages if line.startswith("event=redis-failed")]) == 1
    wait_until_shared(guard)
    assert "event=redis-back" in caplog.messages
    assert directory.login(make(), JULIET, "wrong") == "wrong-password"


@pytest.fixture
def pair(make: Make, monkeypatch: pytest.MonkeyPatch) -> tuple[Guard, Guard]:
    """Two guards that have one Redis, and wait for it however busy the machine is."""
    one, two = make(cache_ttl=3600.0), make(cache_ttl=3600.0)
    for guard in (one, two):
        wait_until_shared(guard)
    monkeypatch.setattr("ldapauth.guard.login.PATIENCE", PATIENCE)
    return one, two


def test_change_while_redis_is_away_is_told_when_it_is_back(
    pair: tuple[Guard, Guard], directory: Directory, redis: Redis
) -> None:
    """A password that was changed meanwhile is forgotten in Redis before anything else is asked of it."""
    one, two = pair
    assert directory.login(one, JULIET, "right") == "accepted"
    assert directory.login(two, JULIET, "right") == "cached"
    with hanging(redis):
        directory.passwords[JULIET] = "new"
        one.forget(JULIET)
    wait_until_shared(one)
    assert directory.login(two, JULIET, "right") == "wrong-password"


def test_change_while_another_is_told_is_told_too(
    pair: tuple[Guard, Guard], directory: Directory, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user whose password is changed again, just while Redis is told of the last time, is forgotten again."""
    one, two = pair
    assert one._shared
    tell = one._shared._client.forget
    meanwhile: list[str] = []

    def forget(keys: Iterable[str]) -> None:
        tell(keys)
        if not meanwhile:
            meanwhile.append(directory.login(two, JULIET, "right"))
            one.forget(JULIET)  # Redis is still taken to be away

    with hanging(redis):
        one.forget(JULIET)
        monkeypatch.setattr(one._shared._client, "forget", forget)
    wait_until_shared(one)
    assert meanwhile == ["accepted"]
    directory.passwords[JULIET] = "new"
    assert directory.login(two, JULIET, "right") == "wrong-password"


def test_redis_that_lets_nobody_in_is_away(
    redis: Redis, directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    """With the wrong password for Redis logins go on; the log says why, and not with which password."""
    settings = Settings(storage=Secret(redis.url.replace("redis-password", "guessed")), secret=Secret(SECRET))
    guard = Guard(settings)
    assert directory.login(guard, JULIET, "old") == "wrong-password"
    assert directory.login(guard, JULIET, "old") == "stale"
    assert wait_until(lambda: "event=redis-failed" in caplog.text, PATIENCE)
    assert "guessed" not in caplog.text


def test_storage_that_is_none_is_a_mistake() -> None:
    """A URL of another kind is told at the start, and not quoted: there may be a password in it."""
    with pytest.raises(ConfigurationError, match=r"^guard\.storage: expected a URL") as caught:
        Guard(Settings(storage=Secret("http://:very-secret@localhost"), secret=Secret(SECRET)))
    assert "very-secret" not in str(caught.value)


def test_forked_child_has_a_connection_of_its_own(make: Make) -> None:
    """A worker that was forked talks to Redis itself, and on no connection of its parent's."""
    guard = make(cache_ttl=60.0)
    wait_until_shared(guard)
    child = os.fork()
    if not child:
        os._exit(0 if is_shared(guard) or wait_until(lambda: is_shared(guard), PATIENCE) else 1)
    assert wait_until(lambda: is_shared(guard), PATIENCE)
    assert os.waitpid(child, 0)[1] == 0


def is_shared(guard: Guard) -> bool:
    """Whether the guard uses Redis just now."""
    guard.check(("nobody", "example.com"), "x", Deadline.after(PATIENCE), lambda: ACCEPTED)
    assert guard._shared
    return not guard._shared._line._away


def wait_until_shared(guard: Guard) -> None:
    """Waits until the guard uses Redis."""
    assert wait_until(lambda: is_shared(guard), PATIENCE)
