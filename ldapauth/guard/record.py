"""What is known of one user's passwords, and what a question and its answer change of it; sans-IO.

Owns the rules of the guard. A record is a value that no clock and no memory is behind: it is the same in a process and
in Redis. Passwords are digests here, which whoever keeps the records makes.
"""

import enum
from typing import NamedTuple

from ldapauth.config import Guard as Settings

from .digest import Digest

KNOWN = 86_400.0
"""Seconds for which a password that was right is known to be no guess, where guesses are counted: a day."""

MOST_STALE = 10
"""Wrong passwords that are remembered of one user: more devices than that don't have an old one."""

MOST_GUESSES = 100
"""Guesses within the window beyond which a known password is not let through either. What is let through tells a
guesser that it is right, without the directory having a say; but someone who only mistypes must not come this far."""

TOMBSTONE = 3600.0
"""Seconds for which it is known that a user was forgotten: as long as a question can have been under way."""

SLACK = 5.0
"""Seconds by which a moment may be yet to come, as clocks are put right. One that is further off is not believed, or
what is remembered would last for longer than it may."""


class Record(NamedTuple):
    """What is known of one user.

    Attributes:
        generation: Another one each time that the user is forgotten: what was asked before is not to be learnt after.
        stale: The digests of passwords that the directory refused as wrong, each with when; the latest last.
        good: The digest of the password that was right last, with when the directory said so.
        wrong: When each guess that counts was made; the latest last.
        over: When guesses were refused because there were too many.
    """

    generation: str = ""
    stale: tuple[tuple[bytes, float], ...] = ()
    good: tuple[bytes, float] | None = None
    wrong: tuple[float, ...] = ()
    over: tuple[float, ...] = ()

    @property
    def bare(self) -> bool:
        """Whether nothing is known."""
        return not (self.stale or self.good or self.wrong or self.over)


EMPTY = Record()


class Judgement(enum.Enum):
    """What a record says about a password."""

    STALE = "refused as wrong not long ago"
    TOO_MANY = "one guess too many"
    CACHED = "right a moment ago"
    KNOWN = "right not long ago, and to be asked again"
    UNKNOWN = "to be asked"


class Rules:
    """How a record is read and changed, by the `[guard]` table.

    Attributes:
        failures: Wrong passwords that a user may have within the window; 0 if nobody counts.
        domain_failures: Those that a domain may have; likewise.
        keeps_good: Seconds for which a right password is remembered for anything; 0 if for nothing.
        lifetime: Seconds after which nothing of a record means anything.
        only_wrong: Whether nothing is remembered but wrong passwords.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.failures = settings.failures
        self.domain_failures = settings.domain_failures
        counts = bool(self.failures or self.domain_failures)
        self.keeps_good = max(KNOWN if counts else 0.0, settings.cache_ttl, settings.stale_if_error)
        self.lifetime = max(settings.stale_ttl, settings.window if counts else 0.0, self.keeps_good)
        self.only_wrong = not (counts or self.keeps_good)

    def judge(self, record: Record, digest: Digest, now: float) -> Judgement:
        """What is to be done about a password.

        Args:
            record: The user's.
            digest: The password's.
            now: Seconds, on the clock of whoever keeps the record.
        """
        settings = self._settings
        if any(known == digest.wrong and self._is_fresh(when, now) for known, when in record.stale):
            return Judgement.STALE
        spent = bool(settings.failures) and len(self._recent(record.wrong, now)) >= settings.failures
        age = self.age(record, digest, now)
        if age is None or (spent and len(self._recent(record.over, now)) >= MOST_GUESSES):
            return Judgement.TOO_MANY if spent else Judgement.UNKNOWN
        return Judgement.CACHED if age < settings.cache_ttl else Judgement.KNOWN

    def age(self, record: Record, digest: Digest, now: float) -> float | None:
        """How many seconds ago the directory said of a password that it is right; None if it is not known to."""
        if record.good is None or record.good[0] != digest.right:
            return None
        when = record.good[1]
        return now - when if _is_within(self.keeps_good, when, now) else None

    def guessed(self, record: Record, now: float) -> Record:
        """Before an unknown password is asked about: it counts from here, so that no two at once count as one."""
        return record._replace(wrong=(*self._recent(record.wrong, now), now)) if self._settings.failures else record

    def refused_unasked(self, record: Record, now: float) -> Record:
        """After one guess too many."""
        return record._replace(over=(*self._recent(record.over, now), now)[-MOST_GUESSES:])

    def accepted(self, record: Record, digest: Digest, now: float) -> Record:
        """After a yes: whatever was wrong before, the directory has begun to count anew as well."""
        return Record(record.generation, good=(digest.right, now) if self.keeps_good else None)

    def wrong(self, record: Record, digest: Digest, now: float, guessed: float | None) -> Record:
        """After the directory has said that a password is wrong.

        Args:
            record: The user's.
            digest: The password's.
            now: When it said so.
            guessed: When the guess was counted; None if it was not, as the password was known to be right.
        """
        stale, good = record.stale, record.good
        if good and good[0] == digest.right:  # it has been changed, so what was wrong before may be right by now
            stale, good = (), None
        kept = tuple((known, when) for known, when in stale if known != digest.wrong and self._is_fresh(when, now))
        record = record._replace(
            stale=(*kept, (digest.wrong, now))[-MOST_STALE:] if self._settings.stale_ttl else (), good=good
        )
        return record if guessed is not None else self.guessed(record, now)

    def refused(self, record: Record, guessed: float | None) -> Record:
        """After any other no: the account is disabled, locked, gone; what was right before is of no more use."""
        return self.undone(record, guessed)._replace(good=None)

    def undone(self, record: Record, guessed: float | None) -> Record:
        """After a guess that nobody counts, because the directory did not answer, or not about the password."""
        wrong = list(record.wrong)
        if guessed in wrong:
            wrong.remove(guessed)  # one of them, if there are several of the same moment
        return record._replace(wrong=tuple(wrong))

    def _recent(self, moments: tuple[float, ...], now: float) -> tuple[float, ...]:
        return tuple(when for when in moments if _is_within(self._settings.window, when, now))

    def _is_fresh(self, when: float, now: float) -> bool:
        return _is_within(self._settings.stale_ttl, when, now)


def _is_within(seconds: float, when: float, now: float) -> bool:
    """Whether a moment is no longer ago than that, and none that is yet to come."""
    return -SLACK <= now - when < seconds
