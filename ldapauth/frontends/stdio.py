"""Serving questions on standard input and output: which are answered, when an answer may leave, and how it ends.

Owns the loop and the gate. An answer leaves only before its deadline, and on a terminal only if no newer question has
come; otherwise the process ends without answering, because a late answer would be taken for the answer to the next
question. Knows no protocol's bytes and nothing of LDAP.
"""

import logging
import os
import signal
import types
from collections.abc import Callable
from typing import NoReturn, Protocol

from ldapauth import config, log
from ldapauth.config import Settings
from ldapauth.deadline import Deadline
from ldapauth.errors import ConfigurationError, DirectoryUnavailable
from ldapauth.provider import Provider

from . import command, ejabberd, line, terminal

_log = logging.getLogger(__name__)

_READ = 65536


class Codec(Protocol):
    """Framing: `line.py` or `ejabberd.py`."""

    terminal_safe: bool

    def feed(self, data: bytes) -> None:
        """Takes what was read."""

    def next_frame(self) -> bytes | None:
        """The next question's bytes, or None."""

    def rest(self) -> bytes:
        """What has come of a question that is not complete."""

    @staticmethod
    def encode(*, accepted: bool) -> bytes:
        """An answer."""


_CODECS: dict[str, Callable[[], Codec]] = {"generic": line.Codec, "ejabberd": ejabberd.Codec}


class _Leave(Exception):
    """The process is to end; the text says why."""


def run(protocol: str, config_path: str | None, *, on_terminal: bool) -> None:
    """Serves until there is a reason to leave, which is logged."""
    try:
        settings = _start(config_path, on_terminal=on_terminal)
        limit: float = getattr(settings, protocol).deadline
        server = _Server(_CODECS[protocol](), Provider(settings), limit, on_terminal=on_terminal)
        log.event(_log, logging.INFO, "ready", protocol=protocol)
        server.serve()
    except ConfigurationError as error:
        for problem in error.problems:
            log.event(_log, logging.ERROR, "configuration", problem=problem)
    except _Leave as leaving:
        log.event(_log, logging.INFO, "leaving", reason=str(leaving))
    except Exception as error:  # noqa: BLE001 - the exit status stays 0, and the log says what happened
        log.bug(_log, error)


def _start(config_path: str | None, *, on_terminal: bool) -> Settings:
    """The configuration, with the log where it says."""
    log.configure(config.Log(), stderr=not on_terminal)
    settings = config.load(config_path)
    place = log.configure(settings.log, stderr=not on_terminal)
    log.event(_log, logging.INFO, "start", pid=str(os.getpid()), log=place)
    for warning in settings.warnings:
        log.event(_log, logging.WARNING, "configuration", problem=warning)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    return settings


def _end(number: int, _frame: types.FrameType | None) -> NoReturn:
    """Ends at once, whatever is under way: an answer owed is better never than late."""
    log.event(_log, logging.INFO, "leaving", reason=signal.Signals(number).name)
    os._exit(0)


class _Server:
    """The loop.

    Args:
        codec: The protocol's framing.
        provider: Who answers.
        limit: Seconds from a question's arrival to the last moment at which its answer may leave.
        on_terminal: Whether the rules for Prosody's terminal hold.
    """

    def __init__(self, codec: Codec, provider: Provider, limit: float, *, on_terminal: bool) -> None:
        self._codec = codec
        self._provider = provider
        self._limit = limit
        self._on_terminal = on_terminal

    def serve(self) -> NoReturn:
        """Answers until there is a reason to leave."""
        if self._on_terminal:
            if not self._codec.terminal_safe:
                raise _Leave("this protocol can't be used on a terminal: with Prosody, use the generic one")
            terminal.discard_input()
        while True:
            try:
                data = os.read(terminal.STDIN, _READ)
            except OSError as error:  # EIO: the other end of the terminal is closed
                raise _Leave(f"end of input ({error.strerror})") from None
            if not data:
                self._end_of_input()
            self._codec.feed(data)
            while (frame := self._codec.next_frame()) is not None:
                if self._on_terminal and (self._codec.rest() or terminal.more_waits(settle=True)):
                    self._refuse_burst()
                else:
                    self._ask(frame)

    def _end_of_input(self) -> NoReturn:
        if self._codec.rest():
            self._refuse("the input ended within a question", Deadline.after(self._limit))
        raise _Leave("end of input")

    def _ask(self, frame: bytes) -> None:
        """One question. Its time begins here: a client that sends several at once waits for each in turn."""
        deadline = Deadline.after(self._limit)
        parsed = command.parse(frame)
        if isinstance(parsed, command.Malformed):
            self._refuse(parsed.why, deadline)
            return
        try:
            accepted = command.answer(parsed, self._provider, deadline)
        except DirectoryUnavailable:
            accepted = False  # the protocols have no third answer
        except Exception as error:  # noqa: BLE001 - one question's bug is no reason to fail the next
            log.bug(_log, error)
            accepted = False
        self._write(deadline, accepted=accepted)

    def _refuse(self, why: str, deadline: Deadline) -> None:
        log.event(_log, logging.WARNING, "malformed", reason=why)
        self._write(deadline, accepted=False)

    def _refuse_burst(self) -> None:
        """Refuses, with one answer, everything that has come at once on a terminal.

        Prosody has one question under way, so what follows its line break was typed by a user: a password that holds a
        line break and a command. Nothing of it is asked of the directory.
        """
        deadline = Deadline.after(self._limit)
        ended = True
        while True:
            while self._codec.next_frame() is not None:
                pass
            ended = not self._codec.rest()
            if not terminal.more_waits(settle=True):
                break
            data = os.read(terminal.STDIN, _READ)
            if not data:
                raise _Leave("end of input")
            self._codec.feed(data)
        if not ended:  # the rest may come later, and be taken for a question
            raise _Leave("a burst of questions that has not ended")
        self._refuse("several questions at once", deadline)

    def _write(self, deadline: Deadline, *, accepted: bool) -> None:
        """The gate: the one place where answers leave."""
        if self._on_terminal and terminal.more_waits():
            raise _Leave("a newer question has come: whoever asked this one has gone on")
        if deadline.expired:
            raise _Leave("the answer would be late")
        try:
            os.write(terminal.STDOUT, self._codec.encode(accepted=accepted))
        except OSError as error:
            raise _Leave(f"end of output ({error.strerror})") from None
