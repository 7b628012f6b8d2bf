"""Whether the parent process still waits, seen on a real process that is taken for the parent."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from ldapauth.frontends.asker import Asker
from tests.frontends.programs import PATIENCE
from tests.servers.process import wait_until

# Is awake from when the first file is there until the second is. Then it sleeps; it naps once more for each SIGUSR1,
# and SIGUSR2 wakes it for good.
_PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
def stay_awake(*_):
    while True:
        pass
signal.signal(signal.SIGUSR2, stay_awake)
open(sys.argv[1], "w").close()
while not os.path.exists(sys.argv[2]):
    pass
while True:
    signal.pause()
"""


class Parent:
    """A process that is awake, until it is told to sleep."""

    def __init__(self, directory: Path) -> None:
        begun, self._sleep = directory / "begun", directory / "sleep"
        self.process = subprocess.Popen([sys.executable, "-c", _PROGRAM, str(begun), str(self._sleep)])
        assert wait_until(begun.exists, PATIENCE)

    @property
    def naps(self) -> int:
        """How often it has fallen asleep."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[0])

    @property
    def state(self) -> str:
        """The letter for what it does: R, S or T."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def fall_asleep(self) -> None:
        """Has it fall asleep for the first time."""
        self._sleep.touch()
        assert wait_until(lambda: self.state == "S", PATIENCE)

    def nap_again(self) -> None:
        """Wakes it, and has it fall asleep again."""
        before = self.naps
        self.process.send_signal(signal.SIGUSR1)
        assert wait_until(lambda: self.state == "S" and self.naps > before, PATIENCE)


@pytest.fixture
def parent(tmp_path: Path, mocker: MockerFixture) -> Iterator[Parent]:
    """A process that is taken for the parent process."""
    parent = Parent(tmp_path)
    mocker.patch.object(os, "getppid", return_value=parent.process.pid)
    yield parent
    parent.process.kill()
    parent.process.wait()


def test_who_sleeps_on_waits(parent: Parent) -> None:
    """A process that has slept ever since waits."""
    parent.fall_asleep()
    asker = Asker()
    assert asker.waits
    assert asker.waits


def test_who_has_woken_does_not_wait(parent: Parent) -> None:
    """A process that was woken does not wait, though it sleeps again."""
    parent.fall_asleep()
    asker = Asker()
    parent.nap_again()
    assert not asker.waits


@pytest.mark.parametrize("seen", ["at-first", "a-moment-later"])
def test_who_has_woken_and_is_busy_does_not_wait(parent: Parent, seen: str) -> None:
    """A process that was seen asleep and is awake does not wait, though it has not slept again."""
    if seen == "at-first":
        parent.fall_asleep()
    asker = Asker()
    if seen == "a-moment-later":
        parent.fall_asleep()
        asker.may_sleep()
    parent.process.send_signal(signal.SIGUSR2)
    assert wait_until(lambda: parent.state == "R", PATIENCE)
    assert not asker.waits


def test_who_is_stopped_does_not_wait(parent: Parent) -> None:
    """A process that is stopped does not wait, nor does it when it goes on, for it has been interrupted."""
    parent.fall_asleep()
    asker = Asker()
    parent.process.send_signal(signal.SIGSTOP)
    assert wait_until(lambda: parent.state == "T", PATIENCE)
    assert not asker.waits
    parent.process.send_signal(signal.SIGCONT)
    assert wait_until(lambda: parent.state == "S", PATIENCE)
    assert not asker.waits


def test_who_is_about_to_sleep_waits(parent: Parent) -> None:
    """A process that has not slept yet since it asked waits, be it still awake or asleep for the first time."""
    asker = Asker()
    assert asker.waits
    parent.fall_asleep()
    assert asker.waits
    parent.nap_again()
    assert not asker.waits


def test_one_nap_more_is_nothing_right_after_an_answer(parent: Parent) -> None:
    """When the answer before has left just now, the kernel may have the process sleep once before it waits."""
    asker = Asker()
    asker.was_answered()
    asker.has_asked()
    parent.fall_asleep()
    parent.nap_again()
    assert asker.waits
    parent.nap_again()
    assert not asker.waits


def test_who_was_seen_asleep_may_not_wake(parent: Parent) -> None:
    """Once a process was seen asleep any other nap is one too many, whatever it could have had before."""
    asker = Asker()
    asker.was_answered()
    asker.has_asked()
    asker.may_sleep()  # it doesn't, yet
    parent.fall_asleep()
    asker.may_sleep()
    assert asker.waits
    parent.nap_again()
    assert not asker.waits


def test_who_has_ended_does_not_wait(parent: Parent, mocker: MockerFixture) -> None:
    """When the parent process has ended, another one takes its place, which has asked nothing."""
    parent.fall_asleep()
    asker = Asker()
    mocker.patch.object(os, "getppid", return_value=1)
    assert not asker.waits


def test_who_can_not_be_seen_is_believed(mocker: MockerFixture) -> None:
    """Where the system tells nothing about the parent process, it counts as waiting."""
    mocker.patch.object(os, "getppid", return_value=0)
    assert Asker().waits
