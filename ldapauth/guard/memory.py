"""Records in this process: bounded, forgotten with the process, and safe for its threads.

Owns what every keeper of records has to offer, which `shared.py` offers as well. Knows no rules.
"""

import dataclasses
import os
import threading
from collections.abc import Callable
from typing import Protocol

import cachetools

from ldapauth.config import Guard as Settings
from ldapauth.deadline import now

from .ceiling import Ceiling
from .digest import Digest, FastHash
from .record import EMPTY, TOMBSTONE, Record

MOST_USERS = 50_000
"""Users of whom something is remembered; of more, those are forgotten whom nobody asked about for the longest time."""

Change = Callable[[Record, float], Record]
"""What a record becomes at a moment."""


class Patience:
    """How many seconds one question may still wait for records that are elsewhere."""

    __slots__ = ("left",)

    def __init__(self, seconds: float) -> None:
        self.left = seconds


@dataclasses.dataclass(slots=True)
class Seen:
    """A record as it was at a moment.

    Attributes:
        record: The record.
        now: The moment, on the clock of whoever keeps it.
    """

    record: Record
    now: float


NOTHING = Seen(EMPTY, 0.0)
"""What is seen of somebody of whom nothing is known: at no moment, as there is nothing in it that could have an age."""


class Keeper(Protocol):
    """Who keeps records, by texts that stand for users, and counts the wrong passwords of domains."""

    def digest(self, user: str, password: str) -> Digest:
        """What stands for a password here."""

    def look(self, user: str, patience: Patience) -> Seen:
        """The record of a user."""

    def change(self, user: str, seen: Seen, change: Change, patience: Patience) -> Seen:
        """Changes a record, unless its user was forgotten since it was seen; returns what it is afterwards."""

    def is_full(self, domain: str, patience: Patience) -> bool:
        """Whether the domain has had all the wrong passwords that it may have."""

    def count(self, domain: str, patience: Patience) -> None:
        """Counts a wrong password of a domain."""

    def forget(self, user: str) -> None:
        """Forgets a user; what was asked before is not learnt any more."""

    def forget_everybody(self) -> None:
        """Forgets everything."""

    def reset(self) -> None:
        """Starts anew, for a forked child: with nothing that is its parent's, and no lock that is held."""


class OwnMemory:
    """Records in this process.

    Args:
        settings: The `[guard]` table.
        lifetime: Seconds after which nothing of a record means anything.
    """

    def __init__(self, settings: Settings, lifetime: float) -> None:
        self._settings = settings
        self._lifetime = lifetime
        self.reset()

    def reset(self) -> None:
        """Starts anew, for a forked child: with nothing that is its parent's, and no lock that is held."""
        self._lock = threading.Lock()
        self._hash = FastHash()
        self._records: cachetools.TLRUCache[str, Record] = cachetools.TLRUCache(MOST_USERS, self._until, now)
        most = self._settings.domain_failures
        self._ceiling = Ceiling(most, self._settings.window) if most else None

    def digest(self, user: str, password: str) -> Digest:
        """What stands for a password here."""
        return self._hash.password(user, password)

    def look(self, user: str, _: Patience) -> Seen:
        """The record of a user."""
        with self._lock:
            return Seen(self._records.get(user, EMPTY), now())

    def knows_nothing(self, user: str) -> bool:
        """Whether there is no record of a user; no lock is waited for."""
        return user not in self._records

    def change(self, user: str, seen: Seen, change: Change, _: Patience) -> Seen:
        """Changes a record, unless its user was forgotten since it was seen; returns what it is afterwards."""
        with self._lock:
            moment = now()
            record = self._records.get(user, EMPTY)
            if record.generation == seen.record.generation:
                changed = change(record, moment)
                if changed == EMPTY:
                    self._records.pop(user, None)
                elif changed != record:
                    self._records[user] = changed
                record = changed
            return Seen(record, moment)

    def is_full(self, domain: str, _: Patience) -> bool:
        """Whether the domain has had all the wrong passwords that it may have."""
        return self._ceiling is not None and self._ceiling.reached(domain)

    def count(self, domain: str, _: Patience) -> None:
        """Counts a wrong password of a domain."""
        if self._ceiling:
            self._ceiling.count(domain)

    def forget(self, user: str) -> None:
        """Forgets a user; what was asked before is not learnt any more."""
        with self._lock:
            self._records[user] = forgotten()

    def forget_everybody(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._records.clear()

    def __len__(self) -> int:
        return len(self._records)

    def _until(self, _: str, record: Record, moment: float) -> float:
        return moment + (max(self._lifetime, TOMBSTONE) if record.generation else self._lifetime)


def forgotten() -> Record:
    """The record of somebody who was forgotten just now."""
    return Record(os.urandom(8).hex())
