"""Sequences that nobody thought of: the guard against a history of what the directory said, in one process and shared.

The model keeps no state that is updated. It has a list of what happened, and looks back on it for each login.
"""

import dataclasses
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ldapauth.config import Guard as Settings
from ldapauth.config import Secret
from ldapauth.guard import Guard, record
from ldapauth.verdict import Reason
from tests.guard.conftest import Clock
from tests.guard.directory import JULIET, Directory, User
from tests.servers.redis import Redis

# Few, so that what happens to one is often something.
USERS = [JULIET, ("nobody", "example.com")]
PASSWORDS = ["right", "old", "new"]

SETTINGS = strategies.builds(
    Settings,
    stale_ttl=strategies.sampled_from([900.0, 60.0, 0.0]),
    failures=strategies.integers(0, 3),
    window=strategies.sampled_from([30.0, 900.0]),
    cache_ttl=strategies.sampled_from([0.0, 30.0, 120.0]),
    stale_if_error=strategies.sampled_from([0.0, 100.0, 3600.0]),
)


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened to a user: `yes`, `wrong`, `no`, `silence` or `forgotten`."""

    what: str
    when: float
    password: str = ""
    counted: bool = False


class History:
    """All that happened to one user, and what follows from it.

    Args:
        settings: The `[guard]` table.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._counts = bool(settings.failures or settings.domain_failures)
        self.events: list[Event] = []

    def known(self, now: float) -> Event | None:
        """The last yes, if nothing since has ended what it means."""
        longest = max(record.KNOWN if self._counts else 0, self._settings.cache_ttl, self._settings.stale_if_error)
        if not longest:  # no yes is remembered, for whatever time
            return None
        wrong = set()
        for event in reversed(self.events):
            if event.what in ("no", "forgotten"):
                return None
            if event.what == "wrong":
                wrong.add(event.password)
            if event.what == "yes":
                return None if event.password in wrong or now - event.when >= longest else event
        return None

    def is_stale(self, password: str, now: float) -> bool:
        """Whether it was wrong, and nothing since says that it may be right."""
        for number, event in reversed(list(enumerate(self.events))):
            if event.what in ("yes", "forgotten"):
                return False
            if event.what == "wrong" and event.password == password:
                return now - event.when < self._settings.stale_ttl
            if event.what == "wrong" and self._was_known(number):
                return False
        return False

    def spent(self, now: float) -> bool:
        """Whether the budget is used up."""
        count = 0
        for event in reversed(self.events):
            if event.what in ("yes", "forgotten"):
                break
            count += event.counted and now - event.when < self._settings.window
        return 0 < self._settings.failures <= count

    def _was_known(self, number: int) -> bool:
        """Whether a wrong password was the one known to be right, as long as anything was known of it."""
        before = History(self._settings)
        before.events = self.events[:number]
        kept = before.known(float("-inf"))
        return kept is not None and kept.password == self.events[number].password


class Machine(RuleBasedStateMachine):
    """The guard, the directory behind it, and the model."""

    redis: Redis | None = None

    @initialize(settings=SETTINGS)
    def start(self, settings: Settings) -> None:
        """One configuration; where it is shared, two processes have it."""
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock()
        self.patch.setattr("ldapauth.guard.MOST_DELAY", 0.0)
        self.settings = settings
        if self.redis:
            for name in ("login.PATIENCE", "shared._TIMEOUT"):  # a busy machine is no reason to go on without it
                self.patch.setattr(f"ldapauth.guard.{name}", 10.0)
            self.redis.run("FLUSHALL")
            shared = {"storage": Secret(self.redis.url), "secret": Secret("a secret of thirty-two characters")}
            settings = Settings(**{name: getattr(settings, name) for name in settings.__struct_fields__} | shared)
        else:
            self.clock.install(self.patch)
        self.guards = [Guard(settings) for _ in range(2 if self.redis else 1)]
        self.directory = Directory()
        self.histories = {user: History(self.settings) for user in USERS}

    def teardown(self) -> None:
        """Lets time go on."""
        if hasattr(self, "patch"):
            self.patch.undo()

    @rule(
        user=strategies.sampled_from(USERS), password=strategies.sampled_from(PASSWORDS), number=strategies.integers()
    )
    def log_in(self, user: User, password: str, number: int) -> None:
        """A login has the answer that the history says, and asks the directory where it says so."""
        history, now = self.histories[user], self.clock.time
        known = history.known(now)
        age = now - known.when if known and known.password == password else None
        asked = len(self.directory.asked)
        answer = self.directory.login(self.guards[number % len(self.guards)], user, password)
        asks = len(self.directory.asked) > asked
        if history.is_stale(password, now):
            expected = "stale"
        elif age is None and history.spent(now):
            expected = "budget"
        elif age is not None and age < self.settings.cache_ttl:
            expected = "cached"
        elif self.directory.away:
            expected = "outage" if age is not None and age < self.settings.stale_if_error else "unavailable"
            if expected == "unavailable" and known and self.settings.stale_if_error and age is None:
                history.events.append(Event("silence", now, password, counted=True))
        else:
            expected = self.truth(user, password)
            what = {"accepted": "yes", "wrong-password": "wrong"}.get(expected, "no")
            counted = what == "wrong" and self.settings.failures > 0
            history.events.append(Event(what, now, password, counted=counted))
            assert asks
        assert answer == expected
        assert asks <= (expected == self.truth(user, password))

    def truth(self, user: User, password: str) -> str:
        """What the directory would say."""
        if user not in self.directory.passwords:
            return "no-such-user"
        if user in self.directory.refuses:
            return self.directory.refuses[user].value
        return "accepted" if self.directory.passwords[user] == password else "wrong-password"

    @rule(user=strategies.sampled_from(USERS[:1]), password=strategies.sampled_from(PASSWORDS))
    def change_elsewhere(self, user: User, password: str) -> None:
        """The password is changed, and nobody tells."""
        self.directory.passwords[user] = password

    @rule(
        user=strategies.sampled_from(USERS[:1]),
        password=strategies.sampled_from(PASSWORDS),
        number=strategies.integers(),
    )
    def change_here(self, user: User, password: str, number: int) -> None:
        """The password is changed through us."""
        self.directory.passwords[user] = password
        self.guards[number % len(self.guards)].forget(user)
        self.histories[user].events.append(Event("forgotten", self.clock.time))

    @rule(
        user=strategies.sampled_from(USERS[:1]),
        reason=strategies.sampled_from([None, Reason.LOCKED, Reason.DISABLED, Reason.MUST_CHANGE]),
    )
    def change_account(self, user: User, reason: Reason | None) -> None:
        """An account is disabled, locked, or neither."""
        self.directory.refuses.pop(user, None)
        if reason:
            self.directory.refuses[user] = reason

    @rule(away=strategies.booleans())
    def change_directory(self, *, away: bool) -> None:
        """The directory goes and comes."""
        self.directory.away = away

    @precondition(lambda self: self.redis is None)
    @rule(seconds=strategies.sampled_from([29, 61, 899, 90_000]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.clock.forward(seconds)

    @invariant()
    def nobody_is_waited_for(self) -> None:
        """No question is left under way."""
        assert all(len(guard._flights) == 0 for guard in getattr(self, "guards", []))


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """A private Redis."""
    with Redis() as server:
        yield server


def test_guard_answers_as_the_history_says() -> None:
    """Whatever happens in whichever order, each login has the one right answer, and the directory is asked no more."""
    settings = hypothesis.settings(max_examples=600, stateful_step_count=50, deadline=None)
    run_state_machine_as_test(Machine, settings=settings)


def test_guards_that_share_a_redis_answer_as_one(redis: Redis) -> None:
    """Two processes with one Redis answer as one does that has seen everything."""

    class Shared(Machine):
        """With a Redis, whose clock nobody moves."""

    Shared.redis = redis
    settings = hypothesis.settings(max_examples=100, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(Shared, settings=settings)
