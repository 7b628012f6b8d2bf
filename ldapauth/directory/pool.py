"""Kept connections to a domain's servers, and what is done when one fails under a question.

Owns the connections, the TLS context and the service account's bind. There are two kinds: search connections are bound
as the service account; verify connections are bound again for each login, and carry no right that anybody uses
afterwards. Knows nothing of users.
"""

import collections
import contextlib
import dataclasses
import enum
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
from ldapauth.errors import ConfigurationError, DeadlineExceeded, DirectoryUnavailable, LdapAuthError

from . import wire
from .connection import Connection
from .servers import Servers
from .srv import SrvList

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

Operation = Callable[[Connection, Deadline], _T]

MAX_AGE = 3600.0
"""Seconds after which a connection is not used again, so that new addresses and certificates come into use."""

SERVICE_PAUSE = 10.0
"""Seconds for which nothing is asked after the service account's password was found wrong: each try counts against the
account, and a locked one is a longer outage."""

_INVALID_CREDENTIALS = 49

# RFC 4512 5.1: every server has one, and a service account need not exist to ask for it.
_ROOT_DSE = wire.Search(b"", "base", ("1.1",), 1, 1)
_ANY_OBJECT = wire.tlv(wire.PRESENT, b"objectClass")


class _Kind(enum.Enum):
    SEARCH = "search"
    VERIFY = "verify"


class _ServiceRefused(DirectoryUnavailable):
    """The service account's password is wrong; every server would say the same."""


@dataclasses.dataclass(slots=True)
class _Question(Generic[_T]):
    """Something to be done on a connection.

    Attributes:
        kind: On which kind of connection.
        operation: What is done, with a connection and the deadline of the attempt.
        deadline: By when.
        repeatable: Whether it may be done again when it is not known that it was done.
    """

    kind: _Kind
    operation: "Operation[_T]"
    deadline: Deadline
    repeatable: bool

    def share(self, others: int) -> Deadline:
        """The deadline of one attempt that so many others may have to follow."""
        if not self.repeatable or not others:
            return self.deadline
        return self.deadline.at_most(self.deadline.remaining() / (others + 1))


class Pool:
    """Connections to whichever of a domain's servers can be asked, in the order given. For any number of threads.

    Args:
        path: The path of the domain's table, for messages.
        settings: The domain's settings.

    Raises:
        ConfigurationError: A certificate or key can't be used.
    """

    def __init__(self, path: str, settings: Domain) -> None:
        self._settings = settings
        self._tls = tls_context(path, settings)
        self._listed: Callable[[Deadline], Sequence[Server]]
        if isinstance(settings.servers, str):
            self._listed = SrvList(settings.servers.removeprefix("srv:"))
        else:
            fixed = settings.addresses()
            self._listed = lambda _: fixed
        self._servers = Servers(self._listed, self._probe)
        self._idle: dict[tuple[Server, _Kind], collections.deque[Connection]] = {}
        self._refused = (0.0, "")
        self._trusted = False  # whether the service account's password was right when it was tried last
        self._reset()
        _pools.add(self)
        weakref.finalize(self, _close_all, self._idle)

    def read(self, operation: "Operation[_T]", deadline: Deadline) -> _T:
        """Does something on a search connection that may be done again on another if the first fails.

        Raises:
            DirectoryUnavailable: No server can be asked.
        """
        return self._run(_Question(_Kind.SEARCH, operation, deadline, repeatable=True))

    def change(self, operation: "Operation[_T]", deadline: Deadline) -> _T:
        """Does something on a search connection that must not be done twice.

        Raises:
            DirectoryUnavailable: No server can be asked, or whether it was done is not known.
        """
        return self._run(_Question(_Kind.SEARCH, operation, deadline, repeatable=False))

    def verify(self, operation: "Operation[_T]", deadline: Deadline) -> _T:
        """Binds on a verify connection; a bind that may have been counted is not done again.

        Raises:
            DirectoryUnavailable: No server can be asked, or none answered.
        """
        return self._run(_Question(_Kind.VERIFY, operation, deadline, repeatable=False))

    def _reset(self) -> None:
        """No connections, and locks that nobody holds."""
        self._lock = threading.Lock()
        self._first_bind = threading.Lock()
        self._idle.clear()
        self._slots = {kind: threading.BoundedSemaphore(self._settings.max_connections) for kind in _Kind}

    def after_fork(self) -> None:
        """Forgets, in a forked child, the connections of the parent, without a word to the servers."""
        for kept in self._idle.values():
            for connection in kept:
                connection.abandon()
        self._reset()
        self._servers.reset_lock()
        if isinstance(self._listed, SrvList):
            self._listed.reset_lock()

    def _run(self, question: "_Question[_T]") -> _T:
        """Asks the first server that can be asked."""
        self._spare_service()
        slots = self._slots[question.kind]
        if not slots.acquire(timeout=question.deadline.remaining()):  # waiting is part of the question's time
            raise DeadlineExceeded("every connection was in use for too long (max_connections)")
        try:
            return self._ask_in_turn(question)
        finally:
            slots.release()

    def _ask_in_turn(self, question: "_Question[_T]") -> _T:
        candidates = self._servers.candidates(question.deadline)
        failures: list[str] = []
        for index, server in enumerate(candidates):
            try:
                return self._ask(question, server, others=len(candidates) - index - 1)
            except _TryNext as error:
                failures.append(str(error))
                if question.deadline.expired:
                    raise DeadlineExceeded("; ".join(failures)) from None
        raise DirectoryUnavailable("; ".join(failures) or "every server has failed and is left alone for a moment")

    def _ask(self, question: "_Question[_T]", server: Server, others: int) -> _T:
        """Asks one server: on a kept connection, and on a fresh one if that turns out dead.

        Raises:
            _TryNext: It could not be asked, and one of so many others may be.
        """
        started = now()
        kept = self._take(server, question.kind)
        if kept is not None:
            try:
                # What is silent may be a connection that a firewall has forgotten, so time is left for a fresh one.
                return self._use(kept, question, others=1)
            except _Lost as error:
                self._drop(server)
                if kept.sent and not question.repeatable:
                    if others:  # the next question finds out in the background whether it was the connection alone
                        self._servers.failed(server, str(error), now() - started)
                    raise
        fresh = self._fresh(question, server, others)
        try:
            return self._use(fresh, question, others)
        except _Lost as error:
            if others:  # alone, a server that was slow once is not left alone: there is nobody else to ask
                self._servers.failed(server, str(error), now() - started)
            if fresh.sent and not question.repeatable:
                raise
            raise _TryNext(str(error)) from None

    def _fresh(self, question: "_Question[_T]", server: Server, others: int) -> Connection:
        """A fresh connection for a question.

        Raises:
            _TryNext: The server gives none.
        """
        deadline, started = question.deadline, now()
        try:
            return self._open(server, question.kind, deadline.at_most(deadline.remaining() / (others + 1)))
        except _ServiceRefused as error:
            self._pause(server, error)
            raise
        except DirectoryUnavailable as error:
            if not deadline.expired:  # else it may be the question that came late, not the server that is slow
                self._servers.failed(server, str(error), now() - started)
            raise _TryNext(str(error)) from None

    def _use(self, connection: Connection, question: "_Question[_T]", others: int) -> _T:
        """Asks on a connection, which so many others may have to follow, and keeps it if it is still good.

        Raises:
            _Lost: The connection failed under it.
        """
        connection.sent = False
        try:
            result = question.operation(connection, question.share(others))
        except DeadlineExceeded as error:
            connection.close()
            raise _LostInTime(str(error)) from None
        except LdapAuthError as error:
            if connection.closed:
                raise _Lost(str(error)) from None
            self._keep(connection, question.kind)  # it was the answer that was bad, not the connection
            raise
        except BaseException:
            connection.close()
            raise
        self._servers.answered(connection.server)
        self._keep(connection, question.kind)
        return result

    def _open(self, server: Server, kind: _Kind, limit: Deadline) -> Connection:
        """A fresh connection, bound as the service account if it is to search."""
        connection = Connection.open(server, self._settings, self._tls, limit)
        dn, password = self._settings.bind_dn, self._settings.bind_password
        if kind is _Kind.VERIFY or dn is None or password is None:
            return connection  # RFC 4511 4.2.1: a connection on which nothing was bound is anonymous
        try:
            self._bind_service(connection, dn, password.reveal(), limit)
        except BaseException:
            connection.close()
            raise
        return connection

    def _bind_service(self, connection: Connection, dn: str, password: str, limit: Deadline) -> None:
        """Binds as the service account: one thread at a time until its password was right once.

        Raises:
            _ServiceRefused: The password is wrong, or has just been found wrong by another question.
        """
        if not self._trusted:
            if not self._first_bind.acquire(timeout=limit.remaining()):
                raise DeadlineExceeded(f"{connection.server}: no answer in time to another question's first bind")
            try:
                self._spare_service()
                if not self._trusted:
                    _bind_service(connection, dn, password, limit)
                    self._trusted = True
                    return
            except _ServiceRefused as error:
                self._pause(connection.server, error)
                raise
            finally:
                self._first_bind.release()
        _bind_service(connection, dn, password, limit)

    def _spare_service(self) -> None:
        """Refuses every question while the service account is left alone."""
        until, error = self._refused
        if now() < until:
            raise _ServiceRefused(error)

    def _pause(self, server: Server, error: _ServiceRefused) -> None:
        """Leaves the service account alone for a while, and says so once."""
        self._trusted = False
        if now() < self._refused[0]:
            return
        self._refused = (now() + SERVICE_PAUSE, str(error))
        log.event(_log, logging.ERROR, "service-account-refused", server=str(server), error=str(error))

    def _probe(self, server: Server) -> None:
        """Finds out whether a failed server is back; if it is, the connection is kept for the next question.

        It is asked something, for the kernel accepts connections to a server that hangs. Any answer will do.
        """
        limit = Deadline.after(self._settings.connect_timeout)
        try:
            connection = self._open(server, _Kind.SEARCH, limit)
            connection.search(_ROOT_DSE, _ANY_OBJECT, limit)
        except DirectoryUnavailable as error:
            self._servers.failed(server, str(error), limit.elapsed)
        else:
            self._keep(connection, _Kind.SEARCH)
            self._servers.answered(server)

    def _take(self, server: Server, kind: _Kind) -> Connection | None:
        """A kept connection that looks alive. The one used last is taken first, so that what is too many falls idle."""
        kept = self._idle.get((server, kind))
        while kept:
            try:
                connection = kept.pop()
            except IndexError:  # another thread was quicker
                return None
            if connection.fit(self._settings.idle_timeout, MAX_AGE):
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection, kind: _Kind) -> None:
        """Keeps a connection for the next question; the oldest make room for it."""
        if connection.closed:
            return
        key = (connection.server, kind)
        kept = self._idle.get(key)
        if kept is None:
            with self._lock:
                kept = self._idle.setdefault(key, collections.deque())
        kept.append(connection)
        with contextlib.suppress(IndexError):  # another thread may take what is looked at
            while len(kept) > 1 and kept[0].idle_for > self._settings.idle_timeout:
                kept.popleft().close()

    def _drop(self, server: Server) -> None:
        """Closes every idle connection to a server: what was found dead is seldom alone."""
        for kind in _Kind:
            kept = self._idle.get((server, kind))
            while kept:
                with contextlib.suppress(IndexError):
                    kept.pop().close()


class _Lost(DirectoryUnavailable):
    """A connection failed under a question."""


class _LostInTime(_Lost, DeadlineExceeded):
    """A connection was silent for too long."""


class _TryNext(Exception):
    """A server could not be asked; another may be."""


def _bind_service(connection: Connection, dn: str, password: str, limit: Deadline) -> None:
    result = connection.bind(dn, password, limit)
    if result.code == _INVALID_CREDENTIALS:
        raise _ServiceRefused(f"{connection.server}: the service account's DN or password is wrong (result 49)")
    if result.code != 0:
        raise DirectoryUnavailable(f"{connection.server}: the service account may not bind (result {result.code})")


def _close_all(idle: dict[tuple[Server, _Kind], collections.deque[Connection]]) -> None:
    """Says goodbye on every connection of a pool that is no more."""
    for kept in idle.values():
        for connection in kept:
            connection.close()


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
