"""The guard: what is remembered of logins, so that the directory is not asked again what it has said already.

The provider asks it, and it asks the directory through a function that it is given: it knows no LDAP and no protocol.
Owns what is done before and after that call. What a record means is in `record.py`, where records are kept in
`memory.py` and `shared.py`, and what stands for a password in them in `digest.py`.
"""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

import cachetools

from ldapauth.config import Guard as Settings
from ldapauth.deadline import Deadline, now
from ldapauth.errors import DirectoryUnavailable, UnclearAnswer
from ldapauth.verdict import Memory, Reason, Verdict

from .flight import Flights
from .login import Login, User, key
from .memory import Keeper, OwnMemory
from .record import Judgement, Rules

__all__ = ["Guard", "make"]

MOST_DELAY = 0.05
"""Seconds that a refusal takes at most for being held back, so as to take as long as any other."""

_SAMPLES = 32  # times that wrong passwords took, of the last ones of a domain
_MOST_DOMAINS = 1000  # of which they are kept


def make(settings: Settings) -> "Guard | None":
    """The guard, or None where the configuration wants nothing of it.

    Raises:
        ConfigurationError: The storage can't be used.
    """
    counts = settings.failures or settings.domain_failures
    wanted = settings.stale_ttl or settings.cache_ttl or settings.stale_if_error or counts
    return Guard(settings) if wanted else None


class Guard:
    """Answers from memory what it may, and learns from what the directory answers.

    Args:
        settings: The `[guard]` table.

    Raises:
        ConfigurationError: The storage can't be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rules = Rules(settings)
        self._own = OwnMemory(settings, self._rules.lifetime)
        self._own_of_wrong = settings.storage is None and self._rules.only_wrong
        self._keepers: list[Keeper] = [self._own]
        self._shared = None
        if settings.storage is not None:
            from .shared import SharedMemory  # noqa: PLC0415 - what it imports takes long to load

            self._shared = SharedMemory(settings, self._rules.lifetime, self._own.forget_everybody)
            self._keepers.insert(0, self._shared)
        self._reset()
        _guards.add(self)

    def check(
        self, user: User, password: str, deadline: Deadline, ask: Callable[[], Verdict], *, from_memory: bool = True
    ) -> Verdict:
        """Whether this is the user's password.

        Args:
            user: Whose it is said to be.
            password: Not empty.
            deadline: Of the question.
            ask: Asks the directory.
            from_memory: Whether yes may be said from memory: not before what can't be undone.

        Raises:
            DirectoryUnavailable: The directory gave no answer, and no memory may answer in its place.
        """
        start = now()
        who = key(user)
        question = who, password
        self._flights.enter(question, deadline)
        try:
            if self._own_of_wrong and self._own.knows_nothing(who):  # nearly always; and of a yes nothing is learnt
                verdict = ask()
                if verdict.reason:
                    Login(self._rules, self._keepers, who, user[1], password).learn(verdict)
            else:
                login = Login(self._rules, self._keepers, who, user[1], password)
                verdict = self._checked(login, ask, from_memory=from_memory)
        finally:
            self._flights.leave(question)
        if verdict.reason:
            self._level(user[1], verdict.reason, now() - start, deadline)
        return verdict

    def forget(self, user: User) -> None:
        """Forgets a user whose password or entry was changed, or may have been."""
        for keeper in self._keepers:
            keeper.forget(key(user))

    def forget_everybody(self) -> None:
        """Forgets everything, where it is shared and here."""
        for keeper in self._keepers:
            keeper.forget_everybody()

    def close(self) -> None:
        """Lets go of Redis; nothing is asked any more."""
        if self._shared:
            self._shared.close()

    def after_fork(self) -> None:
        """Forgets, in a forked child, what is the parent's: records, keys, and locks that no thread holds any more."""
        for keeper in self._keepers:
            keeper.reset()
        self._reset()

    def _reset(self) -> None:
        self._flights = Flights()
        self._lock = threading.Lock()
        self._times: cachetools.LRUCache[str, deque[float]] = cachetools.LRUCache(_MOST_DOMAINS)

    def _checked(self, login: Login, ask: Callable[[], Verdict], *, from_memory: bool) -> Verdict:
        """The answer from memory, or else the directory's."""
        judgement = login.judge()
        if judgement is Judgement.STALE:
            return Verdict(Reason.STALE)
        if judgement is Judgement.TOO_MANY:
            return Verdict(Reason.BUDGET)
        if judgement is Judgement.CACHED and from_memory:
            return _remembered(Memory.CACHED, login.age())
        try:
            verdict = ask()
        except UnclearAnswer:
            login.take_back()
            raise
        except DirectoryUnavailable as error:
            age = login.age()
            if from_memory and age is not None and age < self._settings.stale_if_error:
                return _remembered(Memory.OUTAGE, age, f" ({error})")
            if not (self._settings.stale_if_error and login.of_known_user):  # else it was a guess at what we know
                login.take_back()
            raise
        login.learn(verdict)
        return verdict

    def _level(self, domain: str, reason: Reason, seconds: float, deadline: Deadline) -> None:
        """Has every refusal take as long as most of the last wrong passwords of the domain took.

        A stranger could else tell from the time whether there is such a user: something is remembered of real users
        only, and for them alone there is a bind behind the search.
        """
        with self._lock:
            times = self._times.get(domain)
            if reason is Reason.WRONG_PASSWORD:
                times = self._times[domain] = deque(maxlen=_SAMPLES) if times is None else times
                times.append(seconds)
            usual = sorted(times)[len(times) * 7 // 8] if times else 0.0
        wait = min(usual, MOST_DELAY) - seconds
        if wait > 0 and not deadline.expired:
            time.sleep(min(wait, deadline.remaining()))


def _remembered(memory: Memory, age: float | None, why: str = "") -> Verdict:
    """Yes, from memory."""
    return Verdict(notice=f"from memory: the directory said yes {age or 0:.0f} s ago{why}", memory=memory)


_guards: "weakref.WeakSet[Guard]" = weakref.WeakSet()


def _after_fork() -> None:
    for guard in _guards:
        guard.after_fork()


os.register_at_fork(after_in_child=_after_fork)
