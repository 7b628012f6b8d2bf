"""The questions of an XMPP server, answered: the one API between the front ends and the directories.

Owns which domain's directory is asked, what is refused without asking any, and the one audit line a question. Knows
nothing of protocols on either side.

Every method takes the local part and domain as the XMPP server sent them and the `Deadline` of the question, made at
its arrival, and raises `DirectoryUnavailable` when the directory can't be asked in time, and `OperationOff` when the
domain's `operations` do not name what is asked.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from . import certificate, jid, log
from .config import Domain, Operation, Settings
from .deadline import Deadline
from .directory import Directory, User
from .errors import (
    ChangeRefused,
    ConfigurationError,
    DeadlineExceeded,
    DirectoryUnavailable,
    NoSuchUser,
    NotAllowed,
    OperationOff,
    PolicyRefusal,
    UserExists,
    WrongPassword,
)
from .verdict import ACCEPTED, Reason, Verdict

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Ask = Callable[[User, Directory, Deadline], _T]

ANY_DOMAIN = "*"

ANSWER_MARGIN = 0.2
"""Seconds. Work on a question ends this long before its answer is due, so that a "no" can still leave in time."""

_SCRAM_PREFIXES = ("==SCRAM==,", "==MULTI_SCRAM==,")  # MongooseIM, mongoose_scram.erl


class _Question(NamedTuple):
    """What an XMPP server asks, and by when its answer is due."""

    operation: Operation
    local_part: str
    domain: str
    deadline: Deadline


class Provider:
    """Answers questions from the directories of a configuration.

    Args:
        settings: The checked configuration.

    Raises:
        ConfigurationError: A template, filter or certificate can't be used; one line for each.
    """

    def __init__(self, settings: Settings) -> None:
        self._domains = settings.domains
        self._directories: dict[str, Directory] = {}
        problems: list[str] = []
        for name, domain in settings.domains.items():
            try:
                self._directories[name] = Directory(name, domain)
            except ConfigurationError as error:
                problems += error.problems
        if problems:
            raise ConfigurationError(*problems)

    def check_password(self, local_part: str, domain: str, password: str, deadline: Deadline) -> Verdict:
        """Whether this is the user's password."""

        def ask(user: User, directory: Directory, deadline: Deadline) -> Verdict:
            if not password:  # RFC 4513 5.1.2: the bind would be anonymous, and succeed
                return Verdict(Reason.EMPTY_PASSWORD)
            return directory.check_password(user, password, deadline)

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
            directory.set_password(_dn(directory, user, deadline), password, deadline)

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
            directory.add(user, password, deadline)

        self._change(_Question("register", local_part, domain, deadline), change)

    def remove_user(self, local_part: str, domain: str, deadline: Deadline, *, password: str | None = None) -> None:
        """Deletes the account, or switches it off; with a password, only if it is the user's.

        Raises:
            ChangeRefused: It was not removed.
        """

        def change(user: User, directory: Directory, deadline: Deadline) -> None:
            dn = _dn(directory, user, deadline)
            if password is not None and not (password and directory.verify(dn, password, deadline).accepted):
                raise WrongPassword("the password is not the user's")
            directory.remove(dn, deadline)

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
        operation, local_part, domain, deadline = question
        level, verdict, reason, detail = logging.INFO, "error", "bug", ""
        try:
            found = self._lookup(domain, operation)
            user = _user(local_part, domain)
            if found is None:
                outcome = refuse(Reason.UNKNOWN_DOMAIN)
            elif user is None:
                outcome = refuse(Reason.IMPOSSIBLE_NAME)
            else:
                outcome = ask(user, found[1], deadline.within(found[0].deadline, ANSWER_MARGIN))
            if deadline.expired:  # the process was stopped, or had no processor: whoever asked has gone on
                raise DeadlineExceeded("the answer came too late")  # noqa: TRY301 - it is logged as such below
            verdict, reason = "accepted", ""
            if isinstance(outcome, Verdict) and outcome.reason:
                verdict, reason = "refused", outcome.reason.value
                level = logging.WARNING if outcome.reason is Reason.AMBIGUOUS else level
            if isinstance(outcome, Verdict):
                detail = outcome.notice
        except OperationOff:
            verdict, reason = "refused", "operation-off"
            raise
        except ChangeRefused as error:
            verdict, reason, detail = "refused", error.word, str(error)
            raise
        except DirectoryUnavailable as error:
            late = isinstance(error, DeadlineExceeded)
            level, verdict, reason, detail = logging.WARNING, "unavailable", "late" if late else "outage", str(error)
            raise
        except BaseException:
            level = logging.ERROR
            raise
        finally:
            log.event(
                _log,
                level,
                operation,
                domain=domain,
                user=local_part,
                verdict=verdict,
                reason=reason,
                detail=detail,
                ms=f"{deadline.elapsed * 1000:.1f}",
            )
        return outcome

    def _lookup(self, domain: str, operation: Operation) -> tuple[Domain, Directory] | None:
        """The settings and directory of a domain, if it is served.

        Raises:
            OperationOff: It is, but not for this.
        """
        name = domain.lower()
        if name not in self._directories or name == ANY_DOMAIN:
            name = ANY_DOMAIN
            if name not in self._directories or not jid.possible_domain(domain):
                return None
        settings = self._domains[name]
        if operation not in settings.operations:
            raise OperationOff(f"{operation} is not among the operations of {domain}")
        return settings, self._directories[name]


def _user(local_part: str, domain: str) -> User | None:
    """Who is meant, if anybody can be."""
    name = jid.unescape(local_part)
    return User(name, domain.lower()) if jid.possible(name) else None


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
