"""Serving questions on standard input and output: which are answered, when an answer may leave, and how it ends.

Owns the loop and the gate. An answer leaves only before its deadline, and on a terminal only if no newer question has
come and whoever asked still waits; otherwise the process ends without answering, because a late answer would be taken
for the answer to the next question. Knows no protocol's bytes and nothing of LDAP.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Protocol

from ldapauth import config, log
from ldapauth.deadline import Deadline, now
from ldapauth.errors import ConfigurationError, DirectoryUnavailable
from ldapauth.provider import Provider

from . import command, ejabberd, line, terminal
from .asker import Asker

if TYPE_CHECKING:
    from ldapauth.metrics import Meter

_log = logging.getLogger(__name__)

_READ = 4096
"""Bytes that are read at a time: as many as a terminal keeps."""

_TICK = 0.5
"""Seconds between two looks at a silent input: by so much a question may be taken for older than it is."""

_SETTLE = 0.005
"""Seconds that are waited for the rest of a burst. A terminal may hand over in pieces what was written at once, and
what follows a line break must not be taken for a question of its own."""

_SHORTEST_LIFE = 1.5
"""Seconds that a helper of ejabberd's lives at least: one that ends at once is not started again until ejabberd is, so
a mistake in the configuration would outlive its correction."""


_LAST_WORDS = 1
"""Seconds that an ending process gives its log to take the reason."""


class Codec(Protocol):
    """Framing: `line.py` or `ejabberd.py`."""

    terminal_safe: bool

    def feed(self, data: bytes) -> list[bytes]:
        """Takes what was read; gives the bytes of each question that is complete by now."""

    def rest(self) -> bytes:
        """What has come of a question that is not complete."""

    @staticmethod
    def encode(*, accepted: bool) -> bytes:
        """An answer."""


_CODECS: dict[str, Callable[[], Codec]] = {"generic": line.Codec, "ejabberd": ejabberd.Codec}


_PROSODY = "needs external_auth_blocking = true, Prosody's default; for the other mode use mod_auth_http"


_PID = os.getpid()  # several helpers may have one log


class _Leave(Exception):
    """The process is to end; the text says why."""


def run(protocol: str, config_path: str | None, *, on_terminal: bool) -> None:
    """Serves until there is a reason to leave, which is logged."""
    started = now()
    try:
        log.configure(config.Log(), stderr=not on_terminal)
        source = _Source(protocol, config_path, on_terminal=on_terminal)
        _Server(_CODECS[protocol](), source, on_terminal=on_terminal).serve()
    except _Leave as leaving:
        log.event(_log, logging.INFO, "leaving", reason=str(leaving))
    except ConfigurationError as error:
        _tell(error)
        if protocol == "ejabberd":
            time.sleep(max(0.0, started + _SHORTEST_LIFE - now()))
    except Exception as error:  # noqa: BLE001 - the exit status stays 0, and the log says what happened
        log.bug(_log, error)


def _tell(error: ConfigurationError) -> None:
    for problem in error.problems:
        log.event(_log, logging.ERROR, "configuration", problem=problem)


class _Source:
    """Where the provider comes from: the configuration, read at the start, and again when somebody wants it to be.

    On a terminal SIGHUP says that the other end has gone, and ends the process; on a pipe it says to read again.

    Args:
        protocol: The protocol, as the configuration calls it.
        path: See `config.locate`.
        on_terminal: Whether it is a terminal that questions come from.

    Attributes:
        stale: Whether the configuration is to be read again.
    """

    def __init__(self, protocol: str, path: str | None, *, on_terminal: bool) -> None:
        self.stale = False
        self._protocol = protocol
        self._path = path
        self._on_terminal = on_terminal
        self._again = False
        self._meter: Meter | None = None
        for number in (signal.SIGTERM, signal.SIGHUP) if on_terminal else (signal.SIGTERM,):
            signal.signal(number, lambda number, _: _end(signal.Signals(number).name))
        if not on_terminal:
            signal.signal(signal.SIGHUP, lambda *_: setattr(self, "stale", True))

    def read(self) -> tuple[Provider, float]:
        """A provider as the configuration says, and the seconds for an answer; the log goes where it says from now on.

        Raises:
            ConfigurationError: It can't be used, and nothing has changed.
        """
        self.stale = False
        settings = config.load(self._path, http=False)
        provider = Provider(settings, self._protocol)
        place = log.configure(settings.log, stderr=not self._on_terminal)
        if self._again:
            log.event(_log, logging.INFO, "reread", pid=str(os.getpid()), log=place)
            provider.forget_everybody()
        else:
            log.event(_log, logging.INFO, "start", pid=str(os.getpid()), log=place)
        self._again = True
        for warning in settings.warnings:
            log.event(_log, logging.WARNING, "configuration", problem=warning)
        self._count(provider, settings.metrics.textfile)
        limit: float = getattr(settings, self._protocol).deadline
        return provider, limit

    def _count(self, provider: Provider, textfile: str | None) -> None:
        """Has what the provider answers counted, where there is a file for it; which one is decided at the start."""
        if textfile is not None and self._meter is None:
            from ldapauth import metrics  # noqa: PLC0415 - 75 ms, and a package, for what is off by default

            self._meter = metrics.Meter()
            metrics.write_now_and_then(self._meter, textfile)
        if self._meter is not None:
            self._meter.watch(provider)


def _end(reason: str) -> None:
    """Ends at once, whatever is under way: an answer owed is better never than late. Nor is a log waited for."""
    signal.alarm(_LAST_WORDS)  # ends the process, as `terminal.isolate` has seen to

    def end() -> NoReturn:
        log.event(_log, logging.INFO, "leaving", reason=reason)
        os._exit(0)

    log.held.end_with(end)


class _Server:
    """The loop.

    Args:
        codec: The protocol's framing.
        source: Who answers, and for how long, as the configuration says.
        on_terminal: Whether the rules for Prosody's terminal hold.
    """

    def __init__(self, codec: Codec, source: _Source, *, on_terminal: bool) -> None:
        self._codec = codec
        self._source = source
        self._provider, self._limit = source.read()
        self._on_terminal = on_terminal
        self._empty_since = now()
        self._held_up_since: float | None = None  # by reading the configuration again
        self._asked = 0
        self._asker = Asker()

    def serve(self) -> NoReturn:
        """Answers until there is a reason to leave."""
        if self._on_terminal:
            if not self._codec.terminal_safe:
                raise _Leave("this protocol can't be used on a terminal: with Prosody, use the generic one")
            self._empty_since = now()
            terminal.discard_input()
        log.event(_log, logging.INFO, "ready", note=_PROSODY if self._on_terminal else "")
        terminal.when_nobody_reads(lambda: _end("nobody reads the answers"))
        while True:
            self._await_input()
            if self._source.stale:
                self._reread()
            frames = self._codec.feed(self._read())
            if self._on_terminal and frames and (len(frames) > 1 or self._is_burst()):
                self._refuse_burst()
            else:
                for frame in frames:
                    self._ask(frame)

    def _await_input(self) -> None:
        """Waits for input and notes the last moment at which none had come.

        A process that was stopped, or that got no processor, finds questions of unknown age, whose time may be over. So
        it looks often, and on a terminal a question's time begins when it is known that it had not come yet. Looking
        often also gives signals their turn, which Python handles between two waits.
        """
        while self._on_terminal:
            moment = now()
            if terminal.more_waits():
                return
            if not self._codec.rest():
                self._empty_since = moment
            terminal.more_waits(_TICK)
        while not terminal.more_waits(_TICK):
            if self._source.stale:
                self._reread()

    def _reread(self) -> None:
        """Goes on as the configuration says by now: between two questions, so that none is lost."""
        replaced, began = self._provider, now()
        try:
            self._provider, self._limit = self._source.read()
        except ConfigurationError as error:  # the old one serves on
            _tell(error)
        else:
            replaced.close()
        self._held_up_since = began if terminal.more_waits() else None

    def _read(self) -> bytes:
        if self._on_terminal:
            self._asker.has_asked()
        try:
            data = os.read(terminal.STDIN, _READ)
        except OSError as error:  # EIO: the other end of the terminal is closed
            raise _Leave(f"end of input ({error.strerror})") from None
        if not data:
            if self._codec.rest() and not self._on_terminal:
                self._refuse("the input ended within a question", self._deadline())
            raise _Leave("end of input")
        return data

    def _deadline(self) -> Deadline:
        """The deadline of the question at hand; on a pipe, who sends several at once waits for each in turn."""
        start = self._empty_since if self._on_terminal else self._held_up_since or now()
        self._held_up_since = None
        return Deadline(start, start + self._limit)

    def _ask(self, frame: bytes) -> None:
        deadline = self._deadline()
        parsed = command.parse(frame)
        if isinstance(parsed, command.Malformed):
            self._refuse(parsed.why, deadline)
            return
        self._asked += 1
        log.asked.id = f"{_PID}-{self._asked}"
        with log.held:
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

    def _is_burst(self) -> bool:
        """Whether something follows the line that was read, at once or a moment later."""
        self._asker.may_sleep()
        more = bool(self._codec.rest()) or terminal.more_waits(_SETTLE)
        self._asker.may_sleep()
        return more

    def _refuse_burst(self) -> None:
        """Refuses, with one answer, everything that has come at once on a terminal.

        Prosody has one question under way, so what follows its line break was typed by a user: a password that holds a
        line break and a command. Nothing of it is asked of the directory.
        """
        deadline = self._deadline()
        while terminal.more_waits(_SETTLE):
            self._codec.feed(self._read())
        if self._codec.rest():  # what is still to come would be taken for a question
            raise _Leave("a burst of questions that has not ended")
        self._refuse("several questions at once", deadline)

    def _write(self, deadline: Deadline, *, accepted: bool) -> None:
        """The gate: the one place where answers leave."""
        if self._on_terminal:
            moment = now()
            if terminal.more_waits():
                raise _Leave("a newer question has come: whoever asked this one has gone on")
            self._empty_since = moment
        if deadline.expired:
            raise _Leave("the answer would be late")
        if self._on_terminal and not self._asker.waits:
            raise _Leave(f"whoever asked has not waited ({_PROSODY})")
        try:
            os.write(terminal.STDOUT, self._codec.encode(accepted=accepted))
        except OSError as error:
            raise _Leave(f"end of output ({error.strerror})") from None
        if self._on_terminal:
            self._asker.was_answered()
