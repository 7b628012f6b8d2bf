"""One question at a time of those that are the same, whatever the threads do."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ldapauth.deadline import Deadline
from ldapauth.errors import DeadlineExceeded
from ldapauth.guard.flight import Flights

PATIENCE = 20.0


def soon() -> Deadline:
    """A deadline that no thread has to fear."""
    return Deadline.after(PATIENCE)


def test_the_same_question_is_asked_by_one_at_a_time() -> None:
    """Of any number of threads with one question only one is in at any moment, and each gets in."""
    flights, inside, most, entered = Flights(), [0], [0], [0]

    def ask(_: int) -> None:
        flights.enter("question", soon())
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        entered[0] += 1
        time.sleep(0)
        inside[0] -= 1
        flights.leave("question")

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, range(2000)))
    assert most == [1]
    assert entered == [2000]
    assert len(flights) == 0


def test_other_questions_do_not_wait() -> None:
    """A question that is under way keeps only its like waiting."""
    flights = Flights()
    flights.enter("one", soon())
    flights.enter("other", soon())
    flights.leave("other")
    flights.leave("one")
    assert len(flights) == 0


def test_whoever_waits_for_too_long_gives_up_and_holds_up_nobody() -> None:
    """A thread whose time runs out raises, and the next one gets in as soon as the first has left."""
    flights = Flights()
    flights.enter("question", soon())
    with pytest.raises(DeadlineExceeded):
        flights.enter("question", Deadline.after(0.05))
    waiting = threading.Thread(target=flights.enter, args=("question", soon()))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    flights.leave("question")
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    flights.leave("question")
    assert len(flights) == 0


def test_question_whose_time_is_over_does_not_wait() -> None:
    """Without any time left a thread that would have to wait raises at once, and nothing stays behind."""
    flights = Flights()
    flights.enter("question", soon())
    with pytest.raises(DeadlineExceeded):
        flights.enter("question", Deadline.after(0))
    flights.leave("question")
    assert len(flights) == 0
