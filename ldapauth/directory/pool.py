"""Connections to whichever of a domain's servers can be asked, and what is done when one fails under a question.

Owns the TLS context, the service account's bind, and what may be asked again where. There are two kinds of connections:
search connections are bound as the service account; verify connections are bound again for each login, and carry no
right that anybody uses afterwards. Knows nothing of users.
"""

import dataclasses
import logging
import os
import ssl
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ldapauth import log
from ldapauth.config import Domain, Server
from ldapauth.deadline import Deadline, now
from ldapauth.errors import ConfigurationError, DeadlineExceeded, DirectoryUnavailable, LdapAuthError, UnclearAnswer

from . import service, wire
from .connection import Connection
from .kept import Kept
from .readiness import Readiness
from .servers import Servers
from .service import ServiceRefused
from .srv import SrvList

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

Operation = Callable[[Connection, Deadline], _T]

Opener = Callable[[Server, Domain, ssl.SSLContext, Deadline], Connection]
"""How a connection is opened: `Connection.open`, but for whoever wants to see what is done on it."""

SERVICE_PAUSE = 10.0
"""Seconds for which nothing is asked after the service account was refused: each wrong password counts against the
account, and a locked one is a longer outage."""

# RFC 4512 5.1: every server has one, and a service account need not exist to ask for it.
_ROOT_DSE = wire.Search(b"", "base", ("1.1",), 1, 1)
_ANY_OBJECT = wire.tlv(wire.PRESENT, b"objectClass")


@dataclasses.dataclass(slots=True)
class _Question(Generic[_T]):
    """Something to be done on a connection.

    Attributes:
        kept: The connections of the kind that it takes.
        operation: What is done, with a connection and the deadline of the attempt.
        deadline: By when.
        repeatable: Whether it may be done again when it is not known that it was done.
    """

    kept: Kept
    operation: "Operation[_T]"
    deadline: Deadline
    repeatable: bool

    def share(self, others: int) -> Deadline:
        """The deadline of one attempt.

        What may be done again gets a share of the time: so many others may have to follow, other servers or a fresh
        connection after a kept one that is silent because a firewall has forgotten it.
        """
        return self.deadline.part(others + 1) if others and self.repeatable else self.deadline


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """How the servers and connections of a domain are at the moment.

    Attributes:
        servers: Each server, and whether it could be asked when it was tried last.
        connections: By kind, how many are in use and how many are idle.
    """

    servers: list[tuple[Server, bool]]
    connections: dict[str, tuple[int, int]]


class Pool:
    """Connections to whichever of a domain's servers can be asked, in the order given. For any number of threads.

    Args:
        path: The path of the domain's table, for messages.
        settings: The domain's settings.
        opener: How connections are opened.

    Raises:
        ConfigurationError: A certificate or key can't be used.
    """

    def __init__(self, path: str, settings: Domain, opener: Opener = Connection.open) -> None:
        self._settings = settings
        self._opener = opener
        self._tls = tls_context(path, settings)
        self._listed: SrvList | Sequence[Server]
        if isinstance(settings.servers, str):
            self._listed = SrvList(settings.servers.removeprefix("srv:"))
        else:
            self._listed = settings.addresses()
        self._servers = Servers(self._listed, self._probe)
        self._search = Kept(settings.max_connections, settings.idle_timeout)
        self._verify = Kept(settings.max_connections, settings.idle_timeout)
        self._refused: tuple[float, str] | None = None  # until when the service account is left alone, and why
        self._trusted = False  # whether the service account was taken when it was tried last
        self._first_bind = threading.Lock()
        self._readiness = Readiness(
            lambda: min(self._search.silent_for, self._verify.silent_for), self._ask_root_dse, settings.deadline
        )
        _pools.add(self)
        for kept in (self._search, self._verify):
            weakref.finalize(self, kept.close)

    def read(self, operation: "Operation[_T]", deadline: Deadline) -> _T:
        """Does something on a search connection that may be done again on another if the first fails.

        Raises:
            DirectoryUnavailable: No server can be asked.
        """
        return self._run(self._search, operation, deadline, repeatable=True)

    def change(self, operation: "Operation[_T]", deadline: Deadline) -> _T:
        """Does something on a search connection that must not be done twice.

        Raises:
            DirectoryUnavailable: No server can be asked, or whether it was done is not known.
        """
        return self._run(self._search, operation, deadline, repeatable=False)

    def verify(self, operation: "Operation[_T]", deadline: Deadline) -> _T:
        """Binds on a verify connection; a bind that may have been counted is not done again.

        Raises:
            DirectoryUnavailable: No server can be asked, or none answered.
        """
        return self._run(self._verify, operation, deadline, repeatable=False)

    def state(self) -> State:
        """How the servers and connections are; nobody is asked."""
        listed = self._listed.known if isinstance(self._listed, SrvList) else self._listed
        return State(
            [(server, self._servers.is_up(server)) for server in listed],
            {"search": self._search.counts, "verify": self._verify.counts},
        )

    def is_ready(self, patience: Deadline) -> bool:
        """Whether some server could be asked last; see `readiness.py`."""
        return self._readiness.word(patience)

    def close(self) -> None:
        """Closes the kept connections; nothing is asked any more."""
        self._search.close()
        self._verify.close()

    def after_fork(self) -> None:
        """Forgets, in a forked child, what is the parent's."""
        self._search.after_fork()
        self._verify.after_fork()
        self._first_bind = threading.Lock()
        self._servers.reset_lock()
        self._readiness.reset()
        if isinstance(self._listed, SrvList):
            self._listed.reset_lock()

    def _run(self, kept: Kept, operation: "Operation[_T]", deadline: Deadline, *, repeatable: bool) -> _T:
        """Asks on a kept connection to the first server, as nearly always; where that does not do, whoever does."""
        usual = self._servers.usual
        connection = None if usual is None or self._refused else kept.enter_with(usual)
        if connection is None:
            return self._ask_around(_Question(kept, operation, deadline, repeatable))
        try:
            return self._use(kept, connection, operation, deadline.part(2) if repeatable else deadline)
        except _Lost as error:
            question = _Question(kept, operation, deadline, repeatable)
            self._lost(connection, question, error, others=len(self._settings.servers) - 1)
        finally:
            kept.leave()
        return self._ask_around(question)

    def _ask_around(self, question: "_Question[_T]") -> _T:
        """Asks the first server that can be asked; waiting for a connection is part of the question's time."""
        self._spare_service()
        question.kept.enter(question.deadline)
        try:
            candidates = self._servers.candidates(question.deadline)
            failures: list[DirectoryUnavailable] = []
            for index, server in enumerate(candidates, 1):
                try:
                    answer = self._ask(question, server, len(candidates) - index)
                except _TryNext as error:
                    failures.append(error.why)
                    if question.deadline.expired:
                        raise _all_of(failures, DeadlineExceeded) from None
                else:
                    self._servers.answered(server)
                    return answer
            if not failures:
                left_alone = UnclearAnswer if self._servers.unclear else DirectoryUnavailable
                raise left_alone("every server has failed and is left alone for a moment")
            raise _all_of(failures, DirectoryUnavailable)
        finally:
            question.kept.leave()

    def _ask(self, question: "_Question[_T]", server: Server, others: int) -> _T:
        """Asks one server: on a kept connection, and on a fresh one if that turns out dead.

        Raises:
            _TryNext: It could not be asked, and one of so many others may be.
        """
        kept = question.kept.take(server)
        if kept is not None:
            try:
                return self._use(question.kept, kept, question.operation, question.share(1))
            except _Lost as error:
                self._lost(kept, question, error, others)
        started = now()
        fresh = self._fresh(question, server, others)
        try:
            return self._use(question.kept, fresh, question.operation, question.share(others))
        except _Lost as error:
            if others:  # alone, a server that was slow once is not left alone: there is nobody else to ask
                self._servers.failed(server, error, now() - started)
            if fresh.sent and not question.repeatable:
                raise
            raise _TryNext(error) from None

    def _lost(self, kept: Connection, question: "_Question[_T]", error: "_Lost", others: int) -> None:
        """Gives up the kept connections to a server after one has failed: what was found dead is seldom alone.

        Raises:
            _Lost: The question may have been answered, and must not be asked again.
        """
        for connections in (self._search, self._verify):
            connections.drop(kept.server)
        if kept.sent and not question.repeatable:
            if others:  # the next question finds out in the background whether it was the connection alone
                self._servers.failed(kept.server, error, question.deadline.elapsed)
            raise error

    def _fresh(self, question: "_Question[_T]", server: Server, others: int) -> Connection:
        """A fresh connection for a question.

        Raises:
            _TryNext: The server gives none.
        """
        deadline, started = question.deadline, now()
        try:
            return self._open(server, question.kept, deadline.part(others + 1))
        except ServiceRefused as error:
            self._pause(server, error)
            raise
        except DirectoryUnavailable as error:
            if not deadline.expired:  # else it may be the question that came late, not the server that is slow
                self._servers.failed(server, error, now() - started)
            raise _TryNext(error) from None

    def _use(self, kept: Kept, connection: Connection, operation: "Operation[_T]", limit: Deadline) -> _T:
        """Asks on a connection, and keeps it if it is still good.

        Raises:
            _Lost: The connection failed under it.
        """
        connection.sent = False
        log.asked.server = connection.name
        try:
            return operation(connection, limit)
        except BaseException as error:  # noqa: BLE001 - it is raised again
            raise _meaning(error, connection) from None
        finally:
            kept.put(connection)

    def _open(self, server: Server, kept: Kept, limit: Deadline) -> Connection:
        """A fresh connection of a kind: bound as the service account if it is to search."""
        connection = self._opener(server, self._settings, self._tls, limit)
        if kept is self._verify or not service.is_configured(self._settings):
            return connection  # RFC 4511 4.2.1: a connection on which nothing was bound is anonymous
        try:
            self._bind_service(connection, limit)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bind_service(self, connection: Connection, limit: Deadline) -> None:
        """Binds as the service account: one thread at a time until it was taken once.

        Raises:
            ServiceRefused: It is refused, or has just been refused to another question.
        """
        if not self._trusted:
            if not self._first_bind.acquire(timeout=limit.remaining()):
                raise DeadlineExceeded(f"{connection.server}: no answer in time to another question's first bind")
            try:
                self._spare_service()
                if not self._trusted:
                    service.bind(connection, self._settings, limit)
                    self._trusted = True
                    return
            except ServiceRefused as error:
                self._pause(connection.server, error)
                raise
            finally:
                self._first_bind.release()
        service.bind(connection, self._settings, limit)

    def _spare_service(self) -> None:
        """Refuses every question while the service account is left alone."""
        until, why = self._refused or (0.0, "")
        if now() < until:
            raise ServiceRefused(why)

    def _pause(self, server: Server, error: ServiceRefused) -> None:
        """Leaves the service account alone for a while, and says so once."""
        self._trusted = False
        if self._refused and now() < self._refused[0]:
            return
        self._refused = (now() + SERVICE_PAUSE, str(error))
        log.event(_log, logging.ERROR, "service-account-refused", server=str(server), error=str(error))

    def _ask_root_dse(self, deadline: Deadline) -> None:
        """Asks whichever server can be asked, as the service account.

        Raises:
            DirectoryUnavailable: None can.
        """
        self.read(lambda connection, limit: connection.search(_ROOT_DSE, _ANY_OBJECT, limit), deadline)

    def _probe(self, server: Server) -> None:
        """Finds out whether a failed server is back; if it is, the connection is kept for the next question.

        It is asked something, for the kernel accepts connections to a server that hangs. Any answer will do.
        """
        limit = Deadline.after(self._settings.connect_timeout)
        try:
            connection = self._open(server, self._search, limit)
            connection.search(_ROOT_DSE, _ANY_OBJECT, limit)
        except DirectoryUnavailable as error:
            self._servers.failed(server, error, limit.elapsed)
        else:
            self._search.put(connection)
            self._servers.answered(server)


class _Lost(DirectoryUnavailable):
    """A connection failed under a question."""


class _LostInTime(_Lost, DeadlineExceeded):
    """A connection was silent for too long."""


class _LostUnclear(_Lost, UnclearAnswer):
    """A connection was given up for what came on it."""


class _TryNext(Exception):
    """A server could not be asked; another may be."""

    def __init__(self, why: DirectoryUnavailable) -> None:
        super().__init__(str(why))
        self.why = why


def _meaning(error: BaseException, connection: Connection) -> BaseException:
    """What an exception that came of a question is for whoever asked it; the connection is closed unless it is good."""
    if isinstance(error, DeadlineExceeded):
        connection.close()
        return _LostInTime(str(error))
    if not isinstance(error, LdapAuthError):
        connection.close()
        return error
    if connection.closed:
        return (_LostUnclear if isinstance(error, UnclearAnswer) else _Lost)(str(error))
    return error  # it was the answer that was bad, not the connection


def _all_of(failures: list[DirectoryUnavailable], otherwise: type[DirectoryUnavailable]) -> DirectoryUnavailable:
    """Why no server could be asked; where one of them did answer, it is not as if none had."""
    unclear = any(isinstance(failure, UnclearAnswer) for failure in failures)
    return (UnclearAnswer if unclear else otherwise)("; ".join(map(str, failures)))


_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()


def _after_fork() -> None:
    for pool in _pools:
        pool.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def tls_context(path: str, settings: Domain) -> ssl.SSLContext:
    """Verifies certificates and their names, against the system's CAs or `ca_file`.

    Raises:
        ConfigurationError: A certificate or key can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (ssl.SSLError, OSError):
        raise ConfigurationError(
            f"{path}.ca_file: {settings.ca_file}: holds no usable certificate in PEM form"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_cert:
        try:
            # An encrypted key would make OpenSSL ask on the terminal; an empty password makes that an error.
            context.load_cert_chain(settings.client_cert, settings.client_key, password="")
        except (ssl.SSLError, OSError):
            raise ConfigurationError(
                f"{path}.client_cert: {settings.client_cert}: holds no usable certificate, or client_key no key to it"
            ) from None
    return context
