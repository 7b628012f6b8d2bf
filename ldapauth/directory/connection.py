"""One connection to one LDAP server: opened, asked and closed, every wait timed by a `Deadline`.

Owns sockets, TLS and message ids. A login's two messages go over `wire.py`; what is rare goes through ldap3, on the
same socket, behind a shim that times its reads. Knows nothing of users, of other servers, or of what an answer means:
it gives result codes, and `DirectoryUnavailable` when no answer can be had.
"""

import contextlib
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

import ldap3

from ldapauth.config import Server
from ldapauth.deadline import Deadline, now
from ldapauth.errors import DeadlineExceeded, DirectoryUnavailable, UnclearAnswer

from . import wire

_RECEIVE = 16384
"""Bytes that are read at a time: as many as a TLS record holds. Memory for more is slow to get, at each read."""

_FAILURES = (OSError, wire.ProtocolError, DirectoryUnavailable)  # ssl.SSLError and TimeoutError are OSErrors

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

_ELSEWHERE = {51: "busy", 52: "unavailable"}  # RFC 4511 A.2: the server did nothing and says so
_T = TypeVar("_T")


class Transport(Protocol):
    """What it takes to open a connection, apart from the server: see `Domain` in config.py."""

    @property
    def start_tls(self) -> bool:
        """Whether TLS is asked for on an `ldap` connection."""

    @property
    def connect_timeout(self) -> float:
        """Seconds until a connection that is not ready is given up."""


class Connection:
    """A connection that is open. Not for two threads at once.

    After any exception the connection is closed: what it would say next might answer another question.

    Attributes:
        server: Where it goes.
        name: The server's URL.
        closed: Whether it is of no more use.
        sent: Whether anything has been sent since this was last set to False by whoever uses the connection.
    """

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.name = str(server)
        self.closed = False
        self.sent = False
        self._socket = sock
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._reader = wire.Reader()
        self._last_id = 0
        self._opened = self._used = now()
        sock.settimeout(0)  # a socket's own time-out is one more system call for each wait, and for each read

    @classmethod
    def open(cls, server: Server, transport: Transport, tls: ssl.SSLContext, deadline: Deadline) -> Self:
        """Connects, with TLS where the URL or `start_tls` asks for it.

        All of it together gets `connect_timeout`, so that time is left for another server.

        Raises:
            DirectoryUnavailable: It can't be had; the text names the server and says why.
        """
        limit = deadline.at_most(transport.connect_timeout)
        try:
            connection = cls(server, _connect(server, limit))
        except _FAILURES as error:
            raise _translated(server, error) from None
        try:
            if server.scheme == "ldaps":
                connection._wrap(tls, limit)
            elif server.scheme == "ldap" and transport.start_tls:
                connection._start_tls(tls, limit)
        except _FAILURES as error:
            raise connection._failed(error) from None
        return connection

    def bind(self, dn: str, password: str, deadline: Deadline, controls: bytes = b"") -> wire.Result:
        """A simple bind; the password goes out as UTF-8, unprepared: the XMPP server has prepared it already.

        Request controls are given encoded, see `wire.bind_request`.

        Raises:
            DirectoryUnavailable: There was no answer that can be trusted.
        """
        request = wire.bind_request(self._next_id(), wire.encoded_dn(dn), password.encode(), controls)
        return self._bound(request, deadline)

    def bind_sasl(self, mechanism: str, credentials: bytes, deadline: Deadline, controls: bytes = b"") -> wire.Result:
        """A step of a SASL bind; result 14 asks for another one (RFC 4513 5.2.1.5).

        Raises:
            DirectoryUnavailable: There was no answer that can be trusted.
        """
        return self._bound(wire.sasl_request(self._next_id(), mechanism, credentials, controls), deadline)

    def _bound(self, request: bytes, deadline: Deadline) -> wire.Result:
        """The answer to a bind."""
        try:
            data = self._exchange(request, deadline)
            message = wire.sole_message(data) if len(data) <= wire.SHORT_MESSAGE else None
            if message is not None:
                self._demand_answer(message)
                self._used = now()
            else:
                self._reader.feed(data)
                message = self._next(deadline)
                self._answered()
            if not isinstance(message, wire.Result) or message.kind != "bind":
                raise wire.ProtocolError("something else came for the end of a bind")
        except _FAILURES as error:
            raise self._failed(error) from None
        return message

    def search(
        self, query: wire.Search, search_filter: bytes, deadline: Deadline, sole: tuple[bytes, bytes] | None = None
    ) -> tuple[list[wire.Entry], wire.Result]:
        """A search: the entries, and how it ended. References to other servers are passed over.

        Args:
            query: What surrounds the filter.
            search_filter: The filter, encoded.
            deadline: By when.
            sole: An attribute and its value, if it is known what one entry and no more of it will most likely be found;
                then it ends with `wire.AS_EXPECTED`.

        Raises:
            DirectoryUnavailable: There was no answer that can be trusted.
        """
        message_id = self._next_id()
        try:
            data = self._exchange(wire.search_request(message_id, query, search_filter), deadline)
            begun = wire.sole_entry(data, message_id, *sole) if sole else None
            if begun is not None:
                dn, end = begun
                if not end:  # it comes on its own, as it always does with TLS
                    end = self._await(deadline)
                    data += end
                if end == wire.search_success(message_id):
                    self._used = now()
                    return [wire.Entry(message_id, wire.decoded_dn(dn), {})], wire.AS_EXPECTED
            found = self._found(query, data, deadline)
        except _FAILURES as error:
            raise self._failed(error) from None
        self._answered()
        return found

    def rare(self, call: Callable[[Any], _T], deadline: Deadline) -> _T:
        """Has ldap3 do what is too rare for `wire.py`: `call` gets an `ldap3.Connection` on this socket.

        Raises:
            DirectoryUnavailable: There was no answer that can be trusted.
        """
        try:
            answer = call(self._borrowed(deadline))
        except _FAILURES as error:
            raise self._failed(error) from None
        except Exception as error:  # noqa: BLE001 - see the next line
            # Garbage makes ldap3 and pyasn1 raise whatever they like, and their texts may show what was sent.
            raise self._failed(wire.ProtocolError(f"no answer to ldap3: {type(error).__name__}")) from None
        self._answered()
        return answer

    @property
    def tls(self) -> ssl.SSLSocket | None:
        """The socket, if it speaks TLS: to ask it for its version and certificate, and for nothing else."""
        return self._socket if isinstance(self._socket, ssl.SSLSocket) else None

    @property
    def idle_for(self) -> float:
        """Seconds since the last answer."""
        return now() - self._used

    @property
    def seems_alive(self) -> bool:
        """Whether nothing waits on it, for whoever only looks: another thread may take the connection meanwhile.

        That thread's poll object is its own; one that two threads use at once raises an error in either.
        """
        try:
            look = select.poll()
            look.register(self._socket, select.POLLIN)
            return not self.closed and not look.poll(0)
        except (OSError, ValueError):  # closed by now
            return False

    def fit(self, idle_limit: float, max_age: float) -> bool:
        """Whether it may be used for another question: not too old, not idle for too long, and not closing.

        A server says nothing unasked but that it ends the connection, so one on which something waits is dead.
        """
        moment = now()
        if self.closed or moment - self._used > idle_limit or moment - self._opened > max_age:
            return False
        return not self._readable.poll(0)

    def abandon(self) -> None:
        """Closes this process's end without a word: after a fork the connection is the parent's."""
        self.closed = True
        with contextlib.suppress(OSError):
            os.close(self._socket.detach())

    def close(self) -> None:
        """Says goodbye where it can be said at once, and closes."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(OSError, ValueError):
            self._socket.send(wire.unbind_request(self._next_id()))
        self._socket.close()

    def _borrowed(self, deadline: Deadline) -> "ldap3.Connection":
        """An ldap3 connection that believes it has opened our socket: the attributes are as its `open` leaves them."""
        server = ldap3.Server("localhost", get_info=ldap3.NONE)
        borrowed = ldap3.Connection(
            server, client_strategy=ldap3.SAFE_SYNC, auto_referrals=False, check_names=False, raise_exceptions=False
        )
        borrowed.socket = _TimedSocket(self, deadline)
        borrowed.closed = False
        borrowed.listening = True
        borrowed.strategy._outstanding = {}  # noqa: SLF001 - there is no public way to hand ldap3 a socket
        server.next_message_id = self._next_id
        return borrowed

    def _start_tls(self, tls: ssl.SSLContext, limit: Deadline) -> None:
        """StartTLS (RFC 4511 4.14); refused means no connection."""

        def start(borrowed: "ldap3.Connection") -> int:
            _, result, _, _ = borrowed.extended("1.3.6.1.4.1.1466.20037")
            return int(result["result"])

        code = self.rare(start, limit)
        if code != 0:
            raise DirectoryUnavailable(f"StartTLS refused (result {code})")
        self._wrap(tls, limit)

    def _wrap(self, tls: ssl.SSLContext, limit: Deadline) -> None:
        # With a timeout the handshake as a whole is limited, not each read of it.
        self._socket.settimeout(limit.remaining())
        self._socket = tls.wrap_socket(self._socket, server_hostname=self.server.host)
        self._socket.settimeout(0)

    def _next_id(self) -> int:
        self._last_id = self._last_id % wire.LAST_MESSAGE_ID + 1
        return self._last_id

    def _exchange(self, request: bytes, deadline: Deadline) -> bytes:
        """Sends a request and takes what comes first of the answer."""
        try:
            count = self._socket.send(request)
        except _NOT_NOW:
            count = 0
        if count < len(request):
            self._send(request[count:], deadline)
        self.sent = True
        return self._await(deadline)

    def _await(self, deadline: Deadline) -> bytes:
        """What the server sends next, some bytes at least; waits before it reads, as most likely nothing has come yet.

        It can be used with TLS because that holds nothing back, of which the socket would not tell: each read takes a
        whole record, and OpenSSL reads no further, see `_RECEIVE` and SSL_CTX_set_read_ahead(3).
        """
        if not self._readable.poll(deadline.remaining() * 1000):
            raise TimeoutError
        try:
            data = self._socket.recv(_RECEIVE)
        except _NOT_NOW:
            data = b""
        return data or self._read(deadline)

    def _found(self, query: wire.Search, data: bytes, deadline: Deadline) -> tuple[list[wire.Entry], wire.Result]:
        """The answer to a search that begins with these bytes."""
        self._reader.feed(data)
        entries: list[wire.Entry] = []
        while not isinstance(message := self._next(deadline), wire.Result):
            if isinstance(message, wire.Entry) and len(entries) < query.size_limit:
                entries.append(message)  # a server that does not know the limit is heard out, and not remembered
        if message.kind != "search":
            raise wire.ProtocolError("something else came for the end of a search")
        return entries, message

    def _send(self, data: bytes, deadline: Deadline) -> None:
        while True:
            try:
                count = self._socket.send(data)
            except _NOT_NOW as error:
                self._wait(_missing(error, select.POLLOUT), deadline)
                continue
            self.sent = True
            if count == len(data):
                return
            data = data[count:]

    def _read(self, deadline: Deadline) -> bytes:
        """What the server has sent, some bytes at least."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE)
            except _NOT_NOW as error:
                self._wait(_missing(error, select.POLLIN), deadline)
                continue
            if data:
                return data
            raise _Gone("the server closed the connection")

    def _wait(self, event: int, deadline: Deadline) -> None:
        ready = select.poll()
        ready.register(self._socket, event)
        if not ready.poll(deadline.remaining() * 1000):
            raise TimeoutError

    def _next(self, deadline: Deadline) -> wire.Message:
        """The next message that answers the last request."""
        while True:
            message = self._reader.next_message()
            if message is None:
                deadline.remaining()  # looked at even if there always is something to read
                self._reader.feed(self._read(deadline))
            elif not isinstance(message, wire.Intermediate):
                self._demand_answer(message)
                return message

    def _demand_answer(self, message: wire.Message) -> None:
        """Raises an error unless the message answers the last request."""
        if message.message_id != self._last_id:
            raise _unasked(message)
        if isinstance(message, wire.Result) and message.code in _ELSEWHERE:
            self.sent = False  # nothing was done, so it may be asked for elsewhere
            raise _Gone(f"the server can't answer now (result {message.code})")

    def _answered(self) -> None:
        """Notes that a question was answered.

        Bytes beyond the answer are most likely a notice of disconnection: the answer stands, the connection is done.
        """
        self._used = now()
        if not self._reader.empty:
            self.close()

    def _failed(self, error: Exception) -> DirectoryUnavailable:
        """Closes the connection, on which a question went wrong, and gives the exception that says so."""
        self.close()
        return _translated(self.server, error)


class _Gone(wire.ProtocolError):
    """The server went away in place of an answer, or said that it has none now."""


class _TimedSocket:
    """What ldap3 needs of a socket, each wait limited by what remains of the deadline, and what it reads in all."""

    def __init__(self, connection: Connection, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._received = 0

    def sendall(self, data: bytes) -> None:
        self._connection._send(data, self._deadline)  # noqa: SLF001 - it is the connection, as ldap3 wants to see it

    def recv(self, _: int) -> bytes:
        self._deadline.remaining()
        try:
            data = self._connection._read(self._deadline)  # noqa: SLF001 - likewise
        except TimeoutError:
            raise DeadlineExceeded("no answer in time") from None
        self._received += len(data)
        if self._received > wire.MAX_MESSAGE:
            raise wire.ProtocolError("an answer that is too long")
        return data

    def shutdown(self, how: int) -> None:
        """Ldap3 closes its connection at errors; ours is closed by its owner."""

    def close(self) -> None:
        """Likewise."""


def _missing(error: OSError, otherwise: int) -> int:
    """What a socket that could not go on waits for: TLS says so, and may want the other of the two."""
    if isinstance(error, ssl.SSLWantReadError):
        return select.POLLIN
    return select.POLLOUT if isinstance(error, ssl.SSLWantWriteError) else otherwise


def _translated(server: Server, error: Exception) -> DirectoryUnavailable:
    """What went wrong with a server, with its name in front."""
    if isinstance(error, DirectoryUnavailable):
        text = str(error)
        return type(error)(text if text.startswith(f"{server}: ") else f"{server}: {text}")
    if isinstance(error, TimeoutError):
        return DeadlineExceeded(f"{server}: no answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
        hint = " (ca_file names the authority to trust)" if "issuer" in said or "self-signed" in said else ""
        return DirectoryUnavailable(f"{server}: the certificate is not accepted: {said}{hint}")
    if isinstance(error, ssl.SSLError):
        return DirectoryUnavailable(f"{server}: TLS failed (does this port speak it?): {error.reason or error}")
    if isinstance(error, wire.ProtocolError) and not isinstance(error, _Gone):
        return UnclearAnswer(f"{server}: {error}")
    return DirectoryUnavailable(f"{server}: {getattr(error, 'strerror', None) or error}")


def _unasked(message: wire.Message) -> wire.ProtocolError:
    """Why a message with another id ends the connection. Source: RFC 4511 4.4.1 for the id 0."""
    if message.message_id == 0 and isinstance(message, wire.Result):
        if message.code in _ELSEWHERE:
            return _Gone(f"the server ends the connection (result {message.code})")
        return wire.ProtocolError(f"the server ends the connection (result {message.code}): {message.message}")
    return wire.ProtocolError("an answer to a question that was not asked")


def _connect(server: Server, limit: Deadline) -> socket.socket:
    """A connected socket."""
    if server.scheme == "ldapi":
        return connected(socket.AF_UNIX, server.host, limit.remaining())
    addresses = resolve(server, limit)
    for index, (family, address) in enumerate(addresses):
        share = limit.remaining() / (len(addresses) - index)
        try:
            sock = connected(family, address, share)
        except OSError:
            if index == len(addresses) - 1:
                raise
        else:
            _keep_alive(sock)
            return sock
    raise DirectoryUnavailable("the name has no address")


def _keep_alive(sock: socket.socket) -> None:
    """Has the kernel find out within a minute that the other end is gone, and send what is small at once."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def connected(family: int, address: Any, timeout: float) -> socket.socket:
    """A socket that is connected to an address, within so many seconds.

    Raises:
        OSError: It can't be.
    """
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def resolve(server: Server, limit: Deadline) -> list[tuple[int, Any]]:
    """The server's addresses, in the system's order of preference.

    The system's resolver can't be given a time limit, so it is waited for in a thread; one that hangs is left behind.

    Raises:
        OSError: The name does not resolve.
        DeadlineExceeded: It was not resolved in time.
    """
    with contextlib.suppress(OSError, UnicodeError):
        return _addresses(server, socket.AI_NUMERICHOST)  # an address needs no thread
    answers: list[list[tuple[int, Any]] | OSError] = []

    def ask() -> None:
        try:
            answers.append(_addresses(server))
        except OSError as error:
            answers.append(error)
        except UnicodeError:
            answers.append(OSError("not a host name"))

    thread = threading.Thread(target=ask, name=f"resolve {server.host}", daemon=True)
    thread.start()
    thread.join(limit.remaining())
    if not answers:
        raise DeadlineExceeded("the name was not resolved in time")
    answer = answers[0]
    if isinstance(answer, OSError):
        raise answer
    return answer


def _addresses(server: Server, flags: int = 0) -> list[tuple[int, Any]]:
    found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
