"""Deadlines, on a clock that the tests move: waiting for the real one would only show that it goes."""

import pytest
from pytest_mock import MockerFixture

from ldapauth.deadline import Deadline, now
from ldapauth.errors import DeadlineExceeded

START = 1000.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        """The time, as `ldapauth.deadline.now` gives it."""
        return self.time


@pytest.fixture
def clock(mocker: MockerFixture) -> Clock:
    """The clock that deadlines look at."""
    fake = Clock()
    mocker.patch("ldapauth.deadline.now", fake)
    return fake


def test_what_remains_is_the_time_until_the_deadline(clock: Clock) -> None:
    """What remains is what was given less what has passed."""
    deadline = Deadline.after(4)
    clock.time += 1.5
    assert deadline.remaining() == 2.5
    assert deadline.elapsed == 1.5
    assert not deadline.expired


@pytest.mark.parametrize("late", [0.0, 0.001, 3600.0], ids=["exactly then", "a moment later", "an hour later"])
def test_nothing_remains_once_the_moment_has_come(clock: Clock, late: float) -> None:
    """At the deadline and ever after it is expired, and asking what remains raises in place of giving none."""
    deadline = Deadline.after(4)
    clock.time += 4 + late
    assert deadline.expired
    with pytest.raises(DeadlineExceeded):
        deadline.remaining()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1, 1.0), (4, 4.0), (10, 4.0)],
    ids=["sooner", "the same", "later"],
)
def test_within_is_the_sooner_of_the_two(clock: Clock, seconds: float, expected: float) -> None:
    """A deadline within some seconds is never later than the one it was made from."""
    assert Deadline.after(4).within(seconds).remaining() == expected
    assert clock.time == START


def test_within_counts_from_the_start(clock: Clock) -> None:
    """The seconds of a deadline within another run from the question's arrival and not from now."""
    deadline = Deadline.after(4)
    clock.time += 1.5
    limited = deadline.within(2)
    assert limited.remaining() == 0.5
    assert limited.elapsed == 1.5


def test_within_leaves_a_margin(clock: Clock) -> None:
    """A deadline within another less a margin expires that much earlier, and has begun at the same time."""
    deadline = Deadline.after(4)
    clock.time += 3.75
    sooner = deadline.within(10, 0.25)
    assert sooner.expired
    assert not deadline.expired
    assert sooner.elapsed == deadline.elapsed


def test_parts_share_what_is_left(clock: Clock) -> None:
    """The first of some parts has its share of the time that is left, and has begun when the whole did."""
    deadline = Deadline.after(4)
    clock.time += 1
    part = deadline.part(3)
    assert part.remaining() == 1
    assert part.elapsed == 1


def test_a_margin_larger_than_the_deadline_leaves_nothing(clock: Clock) -> None:
    """A deadline whose margin is all of its time is expired at once."""
    assert Deadline.after(0.25).within(10, 0.25).expired
    assert clock.time == START


def test_a_deadline_made_from_another_leaves_it_as_it_is(clock: Clock) -> None:
    """Making a sooner deadline changes nothing about the first."""
    deadline = Deadline.after(4)
    deadline.within(1)
    deadline.within(10, 1)
    deadline.part(2)
    clock.time += 2
    assert deadline.remaining() == 2


def test_a_deadline_says_what_is_left_of_it(clock: Clock) -> None:
    """A deadline's repr says how far away it is, also when it is past."""
    deadline = Deadline.after(4)
    assert repr(deadline) == "<Deadline in 4.000 s>"
    clock.time += 5
    assert repr(deadline) == "<Deadline in -1.000 s>"


def test_the_real_clock_does_not_go_backwards() -> None:
    """The clock that deadlines use never gives an earlier time than before."""
    readings = [now() for _ in range(100)]
    assert readings == sorted(readings)
