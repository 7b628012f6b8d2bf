"""The questions of an XMPP server, answered: the one API between the front ends and the directories.

Owns which domain's directory is asked, what is refused without asking any, and the one audit line a question. Knows
nothing of protocols on either side.

Every method takes the local part and domain as the XMPP server sent them and the `Deadline` of the question, made at
its arrival, and raises `DirectoryUnavailable` when the directory can't be asked in time, and `OperationOff` when the
domain's `operations` do not name what is asked.
"""

import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from . import certificate, guard, jid, log
from .config import Domain, Operation, Settings
from .deadline import Deadline, now
from .directory import Connection, Directory, Opener, User
from .directory.aliases import refuse_aliases
from .errors import (
    ChangeRefused,
    ConfigurationError,
    DeadlineExceeded,
    DirectoryUnavailable,
    NoSuchUser,
    NotAllowed,
    OperationOff,
    PolicyRefusal,
    UnclearAnswer,
    UserExists,
    WrongPassword,
)
from .verdict import ACCEPTED, Memory, Reason, Verdict

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Ask = Callable[[User, Directory, Deadline], _T]

Watch = Callable[[Operation, str, str, str, float], None]

ANY_DOMAIN = "*"

ANSWER_MARGIN = 0.2
"""Seconds. Work on a question ends this long before its answer is due, so that a "no" can still leave in time."""

_FROM_OUTAGE = Memory.OUTAGE.value

_SCRAM_PREFIXES = ("==SCRAM==,", "==MULTI_SCRAM==,")  # MongooseIM, mongoose_scram.erl


@dataclasses.dataclass(slots=True)
class _Question:
    """What an XMPP server asks, and by when its answer is due."""

    operation: Operation
    local_part: str
    domain: str
    deadline: Deadline


class _Outage:
    """Questions to one directory that had no answer, one after another; for any number of threads.

    Attributes:
        questions: How many there were, since there was an answer.
    """

    def __init__(self) -> None:
        self.questions = 0
        self._since = 0.0
        self._lock = threading.Lock()

    def hit(self, domain: str, error: str) -> None:
        """Counts a question, and says so of the first."""
        with self._lock:
            self.questions += 1
            first = self.questions == 1
            if first:
                self._since = now()
        if first:
            log.event(_log, logging.WARNING, "outage", domain=domain, error=error)

    def over(self, domain: str) -> None:
        """Says that there was an answer again, if nobody else has."""
        with self._lock:
            questions, self.questions = self.questions, 0
        if questions:
            seconds = f"{now() - self._since:.1f}"
            log.event(_log, logging.INFO, "outage-over", domain=domain, questions=str(questions), seconds=seconds)


class _Served(NamedTuple):
    """A domain that is served: the name of its table, what stands in it, its directory, and how that is."""

    table: str
    settings: Domain
    directory: Directory
    outage: _Outage


class Provider:
    """Answers questions from the directories of a configuration.

    Args:
        settings: The checked configuration.
        door: What the log calls the front end that asks.
        opener: How connections are opened.

    Attributes:
        watch: Is told what became of each question, if anybody wants to know: the operation, the name of the domain's
            table (empty for none), the verdict and the reason as in the log, and seconds.

    Raises:
        ConfigurationError: A template, filter or certificate can't be used; one line for each.
    """

    def __init__(self, settings: Settings, door: str = "", opener: Opener = Connection.open) -> None:
        self.watch: Watch | None = None
        self._door = door
        self._served: dict[str, _Served] = {}
        problems: list[str] = []
        try:
            self._guard = guard.make(settings.guard)
        except ConfigurationError as error:
            problems += error.problems
        for name, domain in settings.domains.items():
            try:
                self._served[name] = _Served(name, domain, Directory(name, domain, opener), _Outage())
            except ConfigurationError as error:
                problems += error.problems
        if problems:
            raise ConfigurationError(*problems)
        refuse_aliases(settings)

    @property
    def directories(self) -> dict[str, Directory]:
        """The directories, by the names of their domains' tables."""
        return {table: served.directory for table, served in self._served.items()}

    def is_ready(self, domain: str | None, patience: Deadline) -> bool:
        """Whether a domain's directory could be asked last; without a domain, whether all could."""
        if domain is None:
            return all(served.directory.is_ready(patience) for served in self._served.values())
        served = self._lookup(domain)
        return served is not None and served.directory.is_ready(patience)

    def close(self) -> None:
        """Closes the kept connections; nothing is asked any more."""
        if self._guard:
            self._guard.close()
        for served in self._served.values():
            served.directory.close()

    def check_password(self, local_part: str, domain: str, password: str, deadline: Deadline) -> Verdict:
        """Whether this is the user's password."""

        def ask(user: User, directory: Directory, deadline: Deadline) -> Verdict:
            if not password:  # RFC 4513 5.1.2: the bind would be anonymous, and succeed
                return Verdict(Reason.EMPTY_PASSWORD)
            if not self._guard:
                return directory.check_password(user, password, deadline)
            return self._guard.check(
                user, password, deadline, lambda: directory.check_password(user, password, deadline)
            )

        return self._audited(_Question("check_password", local_part, domain, deadline), ask, Verdict)

    def user_exists(self, local_part: str, domain: str, deadline: Deadline) -> Verdict:
        """Whether there is exactly one such user."""

        def ask(user: User, directory: Directory, deadline: Deadline) -> Verdict:
            found = directory.find(user, deadline)
            return Verdict(found) if isinstance(found, Reason) else ACCEPTED

        return self._audited(_Question("user_exists", local_part, domain, deadline), ask, Verdict)

    def set_password(self, local_part: str, domain: str, password: str, deadline: Deadline) -> None:
        """Gives the user a new password.

        Raises:
            ChangeRefused: It was not changed.
        """

        def change(user: User, directory: Directory, deadline: Deadline) -> None:
            _demand_usable(password)
            dn = _dn(directory, user, deadline)
            try:
                directory.set_password(dn, password, deadline)
            finally:  # also where no answer came: it may have been changed
                self._forget(user)

        self._change(_Question("set_password", local_part, domain, deadline), change)

    def register(self, local_part: str, domain: str, password: str, deadline: Deadline) -> None:
        """Creates the account.

        Raises:
            ChangeRefused: It was not created.
        """

        def change(user: User, directory: Directory, deadline: Deadline) -> None:
            _demand_usable(password)
            found = directory.find(user, deadline)
            if found is not Reason.NO_SUCH_USER:  # nor beside one whose name is only alike
                raise UserExists("the name is taken")
            try:
                directory.add(user, password, deadline)
            finally:
                self._forget(user)

        self._change(_Question("register", local_part, domain, deadline), change)

    def remove_user(self, local_part: str, domain: str, deadline: Deadline, *, password: str | None = None) -> None:
        """Deletes the account, or switches it off; with a password, only if it is the user's.

        Raises:
            ChangeRefused: It was not removed.
        """

        def change(user: User, directory: Directory, deadline: Deadline) -> None:
            dn = _dn(directory, user, deadline)
            if password is not None and not (password and self._confirmed(user, directory, dn, password, deadline)):
                raise WrongPassword("the password is not the user's")
            try:
                directory.remove(dn, deadline)
            finally:
                self._forget(user)

        self._change(_Question("remove_user", local_part, domain, deadline), change)

    def certificates(self, local_part: str, domain: str, deadline: Deadline) -> list[str]:
        """The user's certificates in PEM form.

        Raises:
            NoSuchUser: There is no such user.
        """

        def ask(user: User, directory: Directory, deadline: Deadline) -> list[str]:
            found = directory.certificates(user, deadline)
            if isinstance(found, Reason):
                raise NoSuchUser(found.sentence)
            return [certificate.pem(der) for der in found]

        return self._change(_Question("get_certs", local_part, domain, deadline), ask)

    def check_certificate(self, local_part: str, domain: str, pem: str, deadline: Deadline) -> Verdict:
        """Whether the certificate (the first, if there are several) is one of the user's, and valid today."""

        def ask(user: User, directory: Directory, deadline: Deadline) -> Verdict:
            found = directory.certificates(user, deadline)
            if isinstance(found, Reason):
                return Verdict(found)
            presented = certificate.first(pem)
            mine = presented is not None and presented in found and certificate.is_valid_now(presented)
            return ACCEPTED if mine else Verdict(Reason.NO_SUCH_CERTIFICATE)

        return self._audited(_Question("get_certs", local_part, domain, deadline), ask, Verdict)

    def forget_everybody(self) -> None:
        """Forgets every password that is remembered."""
        if self._guard:
            self._guard.forget_everybody()

    def _forget(self, user: User) -> None:
        """Forgets what is remembered of a user's passwords."""
        if self._guard:
            self._guard.forget(user)

    def _confirmed(self, user: User, directory: Directory, dn: str, password: str, deadline: Deadline) -> bool:
        """Whether the directory, and no memory, says that it is the password; the guess counts as one at a login."""
        if not self._guard:
            return directory.verify(dn, password, deadline).accepted
        return self._guard.check(
            user, password, deadline, lambda: directory.verify(dn, password, deadline), from_memory=False
        ).accepted

    def _change(self, question: "_Question", change: "_Ask[_T]") -> _T:
        """The outcome of a change."""

        def refuse(reason: Reason) -> _T:
            raise (NotAllowed if question.operation == "register" else NoSuchUser)(reason.sentence)

        return self._audited(question, change, refuse)

    def _audited(self, question: "_Question", ask: "_Ask[_T]", refuse: Callable[[Reason], _T]) -> _T:
        """The answer to a question, with one line in the log that says what was asked and how it went.

        Args:
            question: The question.
            ask: Asks the directory, by the deadline of the work on it.
            refuse: Answers what needs no directory.
        """
        level, verdict, reason, detail = logging.INFO, "error", "bug", ""
        served = None
        log.asked.server = ""
        try:
            served = self._lookup(question.domain)
            outcome = _outcome(question, served, ask, refuse)
            verdict, reason = "accepted", ""
            if isinstance(outcome, Verdict):
                detail = outcome.notice
                if outcome.reason:
                    verdict, reason = "refused", outcome.reason.value
                    level = logging.WARNING if outcome.reason is Reason.AMBIGUOUS else level
                elif outcome.memory:
                    reason = outcome.memory.value
        except OperationOff:
            verdict, reason = "refused", "operation-off"
            raise
        except ChangeRefused as error:
            verdict, reason, detail = "refused", error.word, log.Quoting(error)
            raise
        except DirectoryUnavailable as error:
            late = isinstance(error, DeadlineExceeded)
            verdict, reason, detail = "unavailable", "late" if late else "outage", str(error)
            if isinstance(error, UnclearAnswer):
                detail = log.Quoting(detail)
            raise
        except BaseException:
            level = logging.ERROR
            raise
        finally:
            self._told(question, served, level, (verdict, reason, detail))
        return outcome

    def _told(self, question: "_Question", served: _Served | None, level: int, result: tuple[str, str, str]) -> None:
        """Says what became of a question: the verdict, the reason, and what more there is to say."""
        verdict, reason, detail = result
        server, seconds = log.asked.server, question.deadline.elapsed
        if served and (verdict == "unavailable" or reason == _FROM_OUTAGE):
            served.outage.hit(served.table, detail)
        elif served and served.outage.questions and server and verdict != "error":
            served.outage.over(served.table)
        if self.watch is not None:
            self.watch(question.operation, served.table if served else "", verdict, reason, seconds)
        log.event(
            _log,
            level,
            question.operation,
            domain=question.domain,
            user=question.local_part,
            verdict=verdict,
            reason=reason,
            detail=detail,
            server=server,
            ms=f"{seconds * 1000:.1f}",
            door=self._door,
            id=log.asked.id,
        )

    def _lookup(self, domain: str) -> _Served | None:
        """Who answers for a domain, if it is served."""
        found = self._served.get(domain.lower())
        if found is None or found.table == ANY_DOMAIN:
            found = self._served.get(ANY_DOMAIN) if jid.possible_domain(domain) else None
        return found


def _outcome(question: _Question, served: _Served | None, ask: "_Ask[_T]", refuse: Callable[[Reason], _T]) -> _T:
    """The answer of whoever serves the domain, in time.

    Raises:
        OperationOff: It is served, but not for this.
    """
    if served is None:
        return refuse(Reason.UNKNOWN_DOMAIN)
    if question.operation not in served.settings.operations:
        raise OperationOff(f"{question.operation} is not among the operations of {question.domain}")
    name = jid.unescape(question.local_part)
    if not jid.possible(name):
        return refuse(Reason.IMPOSSIBLE_NAME)
    user = User(name, question.domain.lower())
    outcome = ask(user, served.directory, question.deadline.within(served.settings.deadline, ANSWER_MARGIN))
    if question.deadline.expired:  # the process was stopped, or had no processor: whoever asked has gone on
        raise DeadlineExceeded("the answer came too late")
    return outcome


def _dn(directory: Directory, user: User, deadline: Deadline) -> str:
    found = directory.find(user, deadline)
    if isinstance(found, Reason):
        raise NoSuchUser(found.sentence)
    return found


def _demand_usable(password: str) -> None:
    """Refuses what can't be meant as a new password."""
    if not password:
        raise PolicyRefusal("the password is empty")
    if password.startswith(_SCRAM_PREFIXES):
        raise PolicyRefusal(
            'MongooseIM sent a SCRAM hash in place of the password: set password.format = "plain" there'
        )
