"""Records in Redis, which processes and machines share: one budget and one memory for all of them.

Owns what is in Redis and the way there. Whatever Redis does, a question waits for it for no longer than its patience
lasts; then Redis is away and `Away` is raised, until the thread of the line has found it back. Who was to be forgotten
meanwhile is forgotten before anything else is asked. Knows no rules.
"""

import contextlib
import dataclasses
import json
import logging
import math
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import cachetools

from ldapauth import log
from ldapauth.config import Guard as Settings
from ldapauth.deadline import now
from ldapauth.errors import ConfigurationError

from .ceiling import Ceiling
from .digest import Digest, FastHash, SlowHash
from .line import Away, Line
from .memory import Change, Patience, Seen, forgotten
from .record import EMPTY, TOMBSTONE, Record

if TYPE_CHECKING:
    import redis

_log = logging.getLogger(__name__)

_TIMEOUT = 0.05  # seconds; who waits for the thread has a limit of his own
_TO_FORGET_EVERYBODY = 1.0  # seconds that an administrator's wish may take

PREFIX = "ldapauth:guard"
"""What all keys in Redis begin with."""

_EPOCH = f"{PREFIX}:epoch"

_MOST_OWED = 10_000  # users to be forgotten when Redis is back; if there are more, it is everybody
_MOST_HASHED = 50_000  # passwords whose slow hash is remembered
_ATTEMPTS = 5  # at a record that others change as well

# Says what is there; before that puts a record there, if what is there, and the epoch, are as they were seen.
_SWAP = """
local kept = redis.call('GET', KEYS[1]) or ''
local epoch = redis.call('GET', KEYS[2]) or ''
local swapped = 0
if #ARGV > 0 and kept == ARGV[1] and epoch == ARGV[2] then
    if ARGV[3] == '' then
        redis.call('DEL', KEYS[1])
    else
        redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
    end
    kept, swapped = ARGV[3], 1
end
local time = redis.call('TIME')
return {swapped, kept, epoch, time[1], time[2]}
"""


@dataclasses.dataclass(slots=True)
class _Seen(Seen):
    """A record as it was in Redis.

    Attributes:
        kept: Its bytes, by which it is told whether it was changed since.
        epoch: With another one, nothing that was kept before counts.
        at: When it was seen, on our own clock.
        swapped: Whether it was put there just then.
    """

    kept: bytes
    epoch: bytes
    at: float
    swapped: bool


class SharedMemory:
    """Records in Redis.

    Args:
        settings: The `[guard]` table, which has a `storage` and a `secret`.
        lifetime: Seconds after which nothing of a record means anything.
        failed: Called when Redis is found away.

    Raises:
        ConfigurationError: The extra `redis` is not installed, or the URL is none.
    """

    def __init__(self, settings: Settings, lifetime: float, failed: Callable[[], None]) -> None:
        self._settings = settings
        self._lifetime = lifetime
        self._failed = failed
        self._slow = SlowHash(settings.secret.reveal() if settings.secret else "")
        self._line = Line(self._lost, self._revive)
        self.reset()

    def reset(self) -> None:
        """Starts anew; for a forked child, which must not use its parent's connection, thread and locks."""
        self._line.reset()
        self._client = _Client(self._settings, self._lifetime, self._slow)
        self._lock = threading.Lock()
        self._fast = FastHash()
        self._hashed: cachetools.LRUCache[Digest, Digest] = cachetools.LRUCache(_MOST_HASHED)
        self._owed: set[str] = set()

    def close(self) -> None:
        """Ends the thread, and with it the connection; nothing is asked any more."""
        self._line.close()

    def digest(self, user: str, password: str) -> Digest:
        """What stands for a password here. The slow hash of a password is made once in a process."""
        fast = self._fast.password(user, password)
        with self._lock:
            known = self._hashed.get(fast)
        if known is None:
            known = self._slow.password(user, password)
            with self._lock:
                self._hashed[fast] = known
        return known

    def look(self, user: str, patience: Patience) -> Seen:
        """The record of a user.

        Raises:
            Away: Redis does not say.
        """
        key = self._key(user)
        return self._line.call(lambda: self._paid().swap(key), patience)

    def change(self, user: str, seen: Seen, change: Change, patience: Patience) -> Seen:
        """Changes a record, unless its user was forgotten since it was seen; returns what it is afterwards.

        Raises:
            Away: Redis does not say whether it was changed.
        """
        key = self._key(user)

        def work() -> Seen:
            there = seen if isinstance(seen, _Seen) else self._paid().swap(key)
            for _ in range(_ATTEMPTS):
                moment = there.now + now() - there.at
                changed = change(there.record, moment)
                if changed == there.record:
                    break
                there = self._paid().swap(key, there, changed)
                if there.swapped:
                    return dataclasses.replace(there, record=changed, now=moment, at=now())
                if there.record.generation != seen.record.generation:
                    break
            return there

        return self._line.call(work, patience)

    def forget(self, user: str) -> None:
        """Forgets a user, as soon as Redis is there; what was asked before is not learnt any more."""
        key = self._key(user)
        try:
            self._line.call(lambda: self._paid().forget([key]), Patience(_TIMEOUT))
        except Away:
            with self._lock:
                self._owed.add(key if len(self._owed) < _MOST_OWED else _EPOCH)

    def forget_everybody(self) -> None:
        """Has nothing count any more that is kept in Redis, as soon as it is there."""
        try:
            self._line.call(lambda: self._paid().forget([_EPOCH]), Patience(_TO_FORGET_EVERYBODY))
        except Away:
            with self._lock:
                self._owed.add(_EPOCH)

    def is_full(self, domain: str, patience: Patience) -> bool:
        """Whether the domain has had all the wrong passwords that it may have.

        Raises:
            Away: Redis does not say.
        """
        ceiling = self._client.ceiling
        return ceiling is not None and self._line.call(lambda: ceiling.reached(domain), patience)

    def count(self, domain: str, patience: Patience) -> None:
        """Counts a wrong password of a domain.

        Raises:
            Away: Redis does not say that it has.
        """
        ceiling = self._client.ceiling
        if ceiling is not None:
            self._line.call(lambda: ceiling.count(domain), patience)

    def _key(self, user: str) -> str:
        return f"{PREFIX}:{self._slow.user(user)}"

    def _lost(self, why: str) -> None:
        self._failed()
        log.event(_log, logging.WARNING, "redis-failed", reason=why)

    def _revive(self) -> None:
        """Looks whether Redis is back."""
        self._paid().ping()
        log.event(_log, logging.WARNING, "redis-back")

    def _paid(self) -> "_Client":
        """The client, which only the line's thread uses; what we owe Redis is paid first."""
        if self._owed:
            with self._lock:
                owed, self._owed = self._owed, set()  # whoever is to be forgotten from here on is owed once more
            try:
                self._client.forget(owed)
            except BaseException:
                with self._lock:
                    self._owed |= owed
                raise
        return self._client


class _Client:
    """What is asked of Redis, by the keys; blocks, and raises whatever the library raises.

    Each record is sealed for its key: whoever may write to Redis can put an old one back, but make none up.

    Raises:
        ConfigurationError: See `SharedMemory`.
    """

    def __init__(self, settings: Settings, lifetime: float, slow: SlowHash) -> None:
        self._lifetime = lifetime
        self._hash = slow
        self._has_seen_forged = False
        url = settings.storage.reveal() if settings.storage else ""
        try:
            pool = _pool(url)
        except ImportError:
            raise ConfigurationError("guard.storage: needs the extra redis: pip install 'ldapauth[redis]'") from None
        except ValueError:  # the URL may hold a password, so the library's sentence about it is not shown
            raise ConfigurationError(
                "guard.storage: expected a URL that begins with redis://, rediss:// or unix://"
            ) from None
        self._redis = pool[0]
        self._script = self._redis.register_script(_SWAP)
        most = settings.domain_failures
        self.ceiling = Ceiling(most, settings.window, url, pool[1], f"{PREFIX}:domain") if most else None

    def ping(self) -> None:
        """Asks for nothing."""
        self._redis.ping()

    def swap(self, key: str, seen: _Seen | None = None, record: Record = EMPTY) -> _Seen:
        """What is there, after a record was put there if nothing has changed since it was seen."""
        arguments: list[bytes | str | int] = []
        if seen:
            remembered = record.generation == seen.epoch.decode()
            lifetime = self._lifetime if remembered else max(self._lifetime, TOMBSTONE)
            text = _encoded(record, seen.epoch)
            sealed = self._hash.sealed(key, text) if text else b""
            arguments = [seen.kept, seen.epoch, sealed, math.ceil(lifetime)]
        swapped, kept, epoch, seconds, micros = self._script([key, _EPOCH], arguments)
        record = _decoded(self._opened(key, kept), epoch)
        return _Seen(record, int(seconds) + int(micros) / 1e6, kept, epoch, now(), bool(swapped))

    def about(self) -> dict[str, Any]:
        """What it says of itself, by the names of INFO."""
        return {**self._redis.info("server"), **self._redis.info("memory")}

    def forget(self, keys: Iterable[str]) -> None:
        """Gives users a new generation; everybody, where the key is that of the epoch."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                generation = forgotten().generation
                if key == _EPOCH:
                    pipeline.set(_EPOCH, generation)
                else:
                    mark = self._hash.sealed(key, json.dumps({"g": generation}).encode())
                    pipeline.set(key, mark, ex=math.ceil(TOMBSTONE))
            pipeline.execute()

    def _opened(self, key: str, kept: bytes) -> bytes:
        """The record that is there; nothing if none of us has put it there."""
        record = self._hash.opened(key, kept) if kept else b""
        if record is None and not self._has_seen_forged:
            self._has_seen_forged = True
            log.event(_log, logging.WARNING, "redis-forged", detail="a record there is not of our making")
        return record or b""


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """How a Redis is, as the guard finds it.

    Attributes:
        version: Its version; empty if it does not say.
        seconds: How long it takes to look at a record.
        policy: What it forgets when its memory is full, as its `maxmemory-policy` has it; empty if nothing.
    """

    version: str
    seconds: float
    policy: str


def examine(settings: Settings) -> Health:
    """Asks Redis for a record that nobody has, in the way of a login, and how it is. It changes nothing there.

    Raises:
        Away: It can't be asked, or not in time; the text says why.
    """
    import redis  # noqa: PLC0415 - see `_pool`

    client = _Client(settings, 0, SlowHash(""))
    said: dict[str, Any] = {}
    try:
        client.swap(f"{PREFIX}:nobody")
        start = now()
        client.swap(f"{PREFIX}:nobody")
        seconds = now() - start
        with contextlib.suppress(redis.ResponseError):  # not everybody may ask it that
            said = client.about()
    except redis.TimeoutError:
        raise Away(f"no answer within {_TIMEOUT * 1000:.0f} ms") from None
    except redis.RedisError as error:
        raise Away(str(error)) from None
    policy = str(said.get("maxmemory_policy", "")) if said.get("maxmemory") else ""
    return Health(str(said.get("redis_version", "")), seconds, "" if policy == "noeviction" else policy)


def _pool(url: str) -> "tuple[redis.Redis, redis.ConnectionPool]":
    """A client and its connections, of which there are none yet.

    Raises:
        ImportError: The library is not installed.
        ValueError: The URL is none.
    """
    import redis  # noqa: PLC0415 - takes as long to load as most of a helper
    from redis.backoff import NoBackoff  # noqa: PLC0415 - likewise
    from redis.retry import Retry  # noqa: PLC0415 - likewise

    pool = redis.ConnectionPool.from_url(
        url,
        socket_timeout=_TIMEOUT,
        socket_connect_timeout=_TIMEOUT,
        retry=Retry(NoBackoff(), 0),  # by itself it tries ten times, longer than anybody waits
        protocol=2,
    )
    return redis.Redis(connection_pool=pool), pool


def _encoded(record: Record, epoch: bytes) -> bytes:
    """A record as Redis keeps it; nothing for one with nothing in it."""
    if record == Record(epoch.decode()):
        return b""
    tree = {
        "e": epoch.decode(),
        "g": record.generation,
        "s": [(digest.hex(), when) for digest, when in record.stale],
        "k": (record.good[0].hex(), record.good[1]) if record.good else None,
        "w": record.wrong,
        "o": record.over,
    }
    return json.dumps(tree, separators=(",", ":")).encode()


def _decoded(kept: bytes, epoch: bytes) -> Record:
    """The record that was kept; what is of another epoch, or can't be read, is none. Source: `_encoded`."""
    try:
        tree: dict[str, Any] = json.loads(kept)
        if tree.get("e", epoch.decode()) == epoch.decode():
            return Record(
                str(tree["g"]),
                tuple((bytes.fromhex(digest), float(when)) for digest, when in tree.get("s", ())),
                (bytes.fromhex(tree["k"][0]), float(tree["k"][1])) if tree.get("k") else None,
                tuple(map(float, tree.get("w", ()))),
                tuple(map(float, tree.get("o", ()))),
            )
    except (ValueError, TypeError, LookupError, AttributeError):
        pass
    return Record(epoch.decode(errors="replace"))
