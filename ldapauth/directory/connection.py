"""One connection to one LDAP server: opened, asked and closed, every wait timed by a `Deadline`.

Owns sockets, TLS and message ids. A login's two messages go over `wire.py`; what is rare goes through ldap3, on the
same socket, behind a shim that times its reads. Knows nothing of users, of other servers, or of what an answer means:
it gives result codes, and `DirectoryUnavailable` when no answer can be had.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import ldap3

from ldapauth.config import Server
from ldapauth.deadline import Deadline
from ldapauth.errors import DeadlineExceeded, DirectoryUnavailable

from . import wire

_RECEIVE = 65536
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
    """

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self._socket = sock
        self._reader = wire.Reader()
        self._last_id = 0
        self.closed = False

    @classmethod
    def open(cls, server: Server, transport: Transport, tls: ssl.SSLContext, deadline: Deadline) -> "Connection":
        """Connects, with TLS where the URL or `start_tls` asks for it.

        All of it together gets `connect_timeout`, so that time is left for another server.

        Raises:
            DirectoryUnavailable: It can't be had; the text names the server and says why.
        """
        limit = Deadline.after(min(transport.connect_timeout, deadline.remaining()))
        with _named(server):
            sock = _connect(server, limit)
            connection = cls(server, sock)
            try:
                if server.scheme == "ldaps":
                    connection._wrap(tls, limit)
                elif server.scheme == "ldap" and transport.start_tls:
                    connection._start_tls(tls, limit)
            except BaseException:
                connection.close()
                raise
        return connection

    def bind(self, dn: str, password: str, deadline: Deadline) -> wire.Result:
        """A simple bind; the password goes out as UTF-8, unprepared: the XMPP server has prepared it already.

        Raises:
            DirectoryUnavailable: There was no answer that can be trusted.
        """
        # surrogateescape: a DN goes back to the server byte for byte as it came, valid UTF-8 or not
        encoded = dn.encode("utf-8", "surrogateescape")
        with self._exchange():
            self._send(wire.bind_request(self._next_id(), encoded, password.encode()), deadline)
            message = self._receive(deadline)
            if not isinstance(message, wire.Result) or message.kind != "bind":
                raise wire.ProtocolError("something else came for the answer to a bind")
            return message

    def search(
        self, query: wire.Search, search_filter: bytes, deadline: Deadline
    ) -> tuple[list[wire.Entry], wire.Result]:
        """A search: the entries, and how it ended. References to other servers are passed over.

        Raises:
            DirectoryUnavailable: There was no answer that can be trusted.
        """
        entries: list[wire.Entry] = []
        with self._exchange():
            self._send(wire.search_request(self._next_id(), query, search_filter), deadline)
            while True:
                message = self._receive(deadline)
                if isinstance(message, wire.Entry):
                    entries.append(message)
                elif isinstance(message, wire.Result):
                    if message.kind != "search":
                        raise wire.ProtocolError("something else came for the end of a search")
                    return entries, message

    def rare(self, call: Callable[[Any], _T], deadline: Deadline) -> _T:
        """Has ldap3 do what is too rare for `wire.py`: `call` gets an `ldap3.Connection` on this socket.

        Raises:
            DirectoryUnavailable: There was no answer that can be trusted.
        """
        with self._exchange():
            borrowed = self._borrowed(deadline)
            try:
                return call(borrowed)
            except (DirectoryUnavailable, wire.ProtocolError, OSError):
                raise
            except Exception as error:  # noqa: BLE001 - garbage makes ldap3 and pyasn1 raise whatever they like
                # their texts may show what was sent; the class says what happened
                raise wire.ProtocolError(f"no answer to ldap3: {type(error).__name__}") from None

    def close(self) -> None:
        """Says goodbye where it can be said at once, and closes."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(OSError, ValueError):
            self._socket.settimeout(0)
            self._socket.send(wire.unbind_request(self._next_id()))
        self._socket.close()

    def _borrowed(self, deadline: Deadline) -> "ldap3.Connection":
        """An ldap3 connection that believes it has opened our socket: the attributes are as its `open` leaves them."""
        server = ldap3.Server("localhost", get_info=ldap3.NONE)
        borrowed = ldap3.Connection(
            server, client_strategy=ldap3.SAFE_SYNC, auto_referrals=False, check_names=False, raise_exceptions=False
        )
        borrowed.socket = _TimedSocket(self._socket, deadline)
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

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _send(self, request: bytes, deadline: Deadline) -> None:
        self._socket.settimeout(deadline.remaining())
        self._socket.sendall(request)

    def _receive(self, deadline: Deadline) -> wire.Message:
        """The next message that answers the last request."""
        while True:
            message = self._reader.next_message()
            if message is None:
                self._socket.settimeout(deadline.remaining())
                data = self._socket.recv(_RECEIVE)
                if not data:
                    raise DirectoryUnavailable("the server closed the connection")
                self._reader.feed(data)
            elif isinstance(message, wire.Intermediate):
                continue
            elif message.message_id != self._last_id:
                raise wire.ProtocolError(_unasked(message))
            else:
                return message

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[None]:
        """Closes the connection when a question on it goes wrong, and says so as `DirectoryUnavailable`.

        Bytes beyond the answer are most likely a notice of disconnection: the answer stands, the connection is done.
        """
        try:
            with _named(self.server):
                yield
        except BaseException:
            self.close()
            raise
        if not self._reader.empty:
            self.close()


class _TimedSocket:
    """What ldap3 needs of a socket, each wait limited by what remains of the deadline, and what it reads in all."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._socket = sock
        self._deadline = deadline
        self._received = 0

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._deadline.remaining())
        self._socket.sendall(data)

    def recv(self, size: int) -> bytes:
        self._socket.settimeout(self._deadline.remaining())
        try:
            data = self._socket.recv(size)
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


@contextlib.contextmanager
def _named(server: Server) -> Iterator[None]:
    """Turns whatever goes wrong with a server into `DirectoryUnavailable` with its name in front."""
    try:
        yield
    except DeadlineExceeded as error:
        raise DeadlineExceeded(_prefixed(server, str(error))) from None
    except DirectoryUnavailable as error:
        raise DirectoryUnavailable(_prefixed(server, str(error))) from None
    except TimeoutError:
        raise DeadlineExceeded(f"{server}: no answer in time") from None
    except ssl.SSLCertVerificationError as error:
        raise DirectoryUnavailable(f"{server}: the certificate is not accepted: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise DirectoryUnavailable(f"{server}: TLS failed: {error.reason or error}") from None
    except OSError as error:
        raise DirectoryUnavailable(f"{server}: {error.strerror or error}") from None
    except wire.ProtocolError as error:
        raise DirectoryUnavailable(f"{server}: {error}") from None


def _prefixed(server: Server, text: str) -> str:
    """The text with the server's name in front, once."""
    return text if text.startswith(f"{server}: ") else f"{server}: {text}"


def _unasked(message: wire.Message) -> str:
    """Why a message with another id ends the connection. Source: RFC 4511 4.4.1 for the id 0."""
    if message.message_id == 0 and isinstance(message, wire.Result):
        return f"the server ends the connection (result {message.code}): {message.message}"
    return "an answer to a question that was not asked"


def _connect(server: Server, limit: Deadline) -> socket.socket:
    """A connected socket."""
    if server.scheme == "ldapi":
        return _connected(socket.AF_UNIX, server.host, limit.remaining())
    addresses = _resolve(server, limit)
    for index, (family, address) in enumerate(addresses):
        share = limit.remaining() / (len(addresses) - index)
        try:
            sock = _connected(family, address, share)
        except OSError:
            if index == len(addresses) - 1:
                raise
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
    raise DirectoryUnavailable("the name has no address")


def _connected(family: int, address: Any, timeout: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _resolve(server: Server, limit: Deadline) -> list[tuple[int, Any]]:
    """The server's addresses, in the system's order of preference.

    The system's resolver can't be given a time limit, so it is waited for in a thread; one that hangs is left behind.
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
