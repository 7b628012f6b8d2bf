"""The last word on a directory: from its questions, or from a probe, which is not made often."""

import math
import threading
from collections.abc import Callable

import pytest
from pytest_mock import MockerFixture

from ldapauth.deadline import Deadline
from ldapauth.directory import readiness
from ldapauth.directory.readiness import Readiness
from ldapauth.errors import DirectoryUnavailable
from tests.servers.process import wait_until

LONG = 20.0


class Directory:
    """A directory that answers or does not, and counts how often it is asked."""

    def __init__(self) -> None:
        self.silent_for = math.inf
        self.up = True
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def probe(self, deadline: Deadline) -> None:
        """Answers when it may."""
        self.asked += 1
        self.answers.wait(deadline.left)
        if not self.up:
            raise DirectoryUnavailable("down")


@pytest.fixture
def directory() -> Directory:
    """A directory that answers."""
    return Directory()


@pytest.fixture
def word(directory: Directory) -> Callable[[], bool]:
    """Asks for the last word on it, with much patience."""
    ready = Readiness(lambda: directory.silent_for, directory.probe, LONG)
    return lambda: ready.word(Deadline.after(LONG))


def test_an_answer_of_late_needs_no_probe(directory: Directory, word: Callable[[], bool]) -> None:
    """As long as questions are answered nobody asks on behalf of a monitor."""
    directory.silent_for = readiness.FRESH / 2
    assert word()
    assert directory.asked == 0


@pytest.mark.parametrize("up", [True, False])
def test_a_probe_is_made_once_in_a_while(
    directory: Directory, word: Callable[[], bool], mocker: MockerFixture, *, up: bool
) -> None:
    """Where questions tell nothing a probe does, yes or no, and its word stands until the next one is due."""
    clock = mocker.patch("ldapauth.directory.readiness.now", return_value=1000.0)
    directory.up = up
    assert [word() for _ in range(10)] == [up] * 10
    assert directory.asked == 1
    clock.return_value += readiness.FRESH
    directory.up = not up
    assert word() is not up
    assert directory.asked == 2


def test_a_probe_that_ends_in_a_bug_is_no_word(mocker: MockerFixture, caplog: pytest.LogCaptureFixture) -> None:
    """A bug in a probe is not taken for what the last one has said, and is logged."""
    clock = mocker.patch("ldapauth.directory.readiness.now", return_value=1000.0)
    probe = mocker.Mock(side_effect=[None, ZeroDivisionError])
    ready = Readiness(lambda: float("inf"), probe, LONG)
    assert ready.word(Deadline.after(LONG))
    clock.return_value += readiness.FRESH
    assert not ready.word(Deadline.after(LONG))
    assert "event=bug error=ZeroDivisionError" in caplog.text


def test_a_probe_that_hangs_keeps_nobody_waiting(directory: Directory, mocker: MockerFixture) -> None:
    """While a probe is under way there is no second one, however long it takes, and the word before it stands."""
    clock = mocker.patch("ldapauth.directory.readiness.now", return_value=1000.0)
    ready = Readiness(lambda: directory.silent_for, directory.probe, LONG)
    assert ready.word(Deadline.after(LONG))
    directory.answers.clear()
    directory.up = False
    for _ in range(5):
        clock.return_value += readiness.FRESH
        assert ready.word(Deadline.after(0.001))
    assert directory.asked == 2
    directory.answers.set()
    assert wait_until(lambda: not ready.word(Deadline.after(0.001)), LONG)
    assert directory.asked == 2


def test_after_a_fork_it_begins_anew(directory: Directory) -> None:
    """A child that is forked while its parent probes makes a probe of its own."""
    directory.answers.clear()
    ready = Readiness(lambda: directory.silent_for, directory.probe, LONG)
    assert not ready.word(Deadline.after(0.001))
    with ready._lock:  # as another thread of the parent may at that moment
        ready.reset()
        directory.answers.set()
        assert ready.word(Deadline.after(LONG))
    assert directory.asked == 2


def test_without_a_word_it_is_not_ready(directory: Directory) -> None:
    """Until the first probe has ended nothing is known, so nothing is promised."""
    directory.answers.clear()
    ready = Readiness(lambda: directory.silent_for, directory.probe, LONG)
    assert not ready.word(Deadline.after(0.001))
    directory.answers.set()
    assert wait_until(lambda: ready.word(Deadline.after(0.001)), LONG)


def test_no_more_threads(word: Callable[[], bool], mocker: MockerFixture) -> None:
    """A machine that has no thread left for a probe is not ready."""
    mocker.patch.object(threading.Thread, "start", side_effect=RuntimeError)
    assert not word()
