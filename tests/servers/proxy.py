"""A TCP proxy between a client and a server, whose behaviour a test switches while it runs.

It stands for everything that goes wrong between two machines, and for a server that has gone wrong itself.
"""

import contextlib
import enum
import select
import socket
import struct
import threading
from types import TracebackType
from typing import Self

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerError

_RECEIVE = 65536
_JOIN_SECONDS = 10.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends RST instead of FIN

_HANDSHAKE_BYTES = 40  # fewer than any server's first flight of TLS has

# RFC 4511 4.4.1: message 0, ExtendedResponse (0x78) with unavailable (52), and the OID of the notice.
_NOTICE_OID = b"1.3.6.1.4.1.1466.20036"
_NOTICE_BODY = b"\x0a\x01\x34\x04\x00\x04\x00\x8a" + bytes((len(_NOTICE_OID),)) + _NOTICE_OID
NOTICE = b"\x30%c\x02\x01\x00\x78%c%s" % (len(_NOTICE_BODY) + 5, len(_NOTICE_BODY), _NOTICE_BODY)

_UNBIND = b"\x42\x00"  # how an unbind request ends
_GARBAGE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
_HUGE = b"\x30\x84\x40\x00\x00\x00\x02\x01\x01"  # a message that claims 1 GB
_ANSWER_TAGS = {0x60: 0x61, 0x63: 0x65, 0x66: 0x67, 0x68: 0x69, 0x6A: 0x6B, 0x77: 0x78}  # RFC 4511 4: requests, answers


class Fault(enum.Enum):
    """What a proxy does wrong. Those of the second group work on open connections too.

    `DRIP` and `DELAY` wait for the proxy's `pause` before each byte and each answer.
    """

    NONE = "nothing"
    REFUSE = "refuses connections"
    BLACKHOLE = "drops connection attempts"

    HANG = "accepts and hangs"
    SWALLOW = "forwards requests and swallows answers"
    HANDSHAKE = "hangs in the TLS handshake"
    DRIP = "drips a byte at a time"
    DELAY = "delays answers"
    RESET = "resets in the middle of an answer"
    CLOSE = "closes in the middle of an answer"
    NOTICE = "sends a notice of disconnection"
    GARBAGE = "sends garbage"
    OTHER_ID = "answers with another message id"
    HUGE = "claims a length of 1 GB"
    TWICE = "answers twice"
    REPLAY = "repeats the last answer before the next"
    BUSY = "answers busy by itself"
    UNAVAILABLE = "answers unavailable by itself"


_RESULTS = {Fault.BUSY: 51, Fault.UNAVAILABLE: 52}
_DEAF = (Fault.REFUSE, Fault.BLACKHOLE)


class Proxy:
    """A proxy of its own on loopback: `with Proxy(slapd.port) as proxy: ...`.

    Attributes:
        port: Where it listens, whatever becomes of the listener.
        pause: Seconds, for `Fault.DRIP` and `Fault.DELAY`.
        accepted: How many connections there were.
        most: How many were open at a time at most.
        requests: How many times a client sent something, but for goodbyes.
    """

    def __init__(self, target_port: int, *, pause: float = 0.05) -> None:
        """Prepares a proxy; nothing listens yet.

        Args:
            target_port: The server's port on loopback.
            pause: See above.
        """
        self.port = free_port()
        self.pause = pause
        self.accepted = self.most = self.requests = 0
        self._target = (LOOPBACK, target_port)
        self._lock = threading.Lock()
        self._open: set[_Link] = set()
        self._fault = Fault.NONE
        self._door: _Door | None = None

    def __enter__(self) -> Self:
        self._door = _Listening(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None
        for link in self._links():
            link.stop()
        for link in self._links():
            link.join()

    @property
    def url(self) -> str:
        """Where it serves LDAP, if the server does."""
        return f"ldap://{LOOPBACK}:{self.port}"

    @property
    def ldaps_url(self) -> str:
        """Where it serves LDAPS, if the server does."""
        return f"ldaps://localhost:{self.port}"

    @property
    def live(self) -> int:
        """How many connections are open."""
        return len(self._links())

    @property
    def fault(self) -> Fault:
        """What is wrong now; to be set at any time."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        before, self._fault = self._fault, fault
        if before is fault or not (before in _DEAF or fault in _DEAF):
            return
        if self._door is not None:
            self._door.close()
            self._door = None
        if fault is Fault.BLACKHOLE:
            self._door = _Full(self.port)
        elif fault is not Fault.REFUSE:
            self._door = _Listening(self)

    def end(self) -> None:
        """Ends every open connection in good order: the client gets a FIN."""
        for link in self._links():
            link.stop()

    def reset(self) -> None:
        """Breaks every open connection: the client gets an RST."""
        for link in self._links():
            link.stop(reset=True)

    def silence(self) -> None:
        """Forwards nothing on the connections that are open now, for good, as a firewall that has forgotten them."""
        for link in self._links():
            link.silent = True

    def count_request(self) -> None:
        """Notes that a client has sent something."""
        with self._lock:
            self.requests += 1

    def _links(self) -> "list[_Link]":
        with self._lock:
            return list(self._open)

    def _welcome(self, client: socket.socket) -> None:
        link = _Link(self, client, self._target)
        with self._lock:
            self._open.add(link)
            self.accepted += 1
            self.most = max(self.most, len(self._open))
            link.start()

    def _farewell(self, link: "_Link") -> None:
        with self._lock:
            self._open.discard(link)


class _Door:
    """What a client meets at the proxy's port."""

    def close(self) -> None:
        """Closes it; then nothing listens there."""
        raise NotImplementedError


class _Listening(_Door):
    """Lets every client in."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._socket = _listener(proxy.port, 128)
        self._thread = threading.Thread(target=self._accept, name=f"proxy {proxy.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        # Unlike close() alone this wakes the thread that accepts.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(_JOIN_SECONDS)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self._proxy._welcome(client)


class _Full(_Door):
    """Answers no SYN: Linux drops them when the queue of those that nobody has accepted is full."""

    def __init__(self, port: int) -> None:
        self._socket = _listener(port, 0)
        self._waiting = socket.create_connection((LOOPBACK, port))
        with contextlib.suppress(TimeoutError):
            socket.create_connection((LOOPBACK, port), timeout=0.05).close()
            raise ServerError("the system accepts connections although the queue is full")

    def close(self) -> None:
        self._waiting.close()
        self._socket.close()


class _Link(threading.Thread):
    """One connection through a proxy.

    Attributes:
        silent: Whether nothing is forwarded any more, either way.
    """

    def __init__(self, proxy: Proxy, client: socket.socket, target: tuple[str, int]) -> None:
        super().__init__(name=f"proxied by {proxy.port}", daemon=True)
        self.silent = False
        self._proxy = proxy
        self._target = target
        self._client = client
        self._server: socket.socket | None = None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._last = self._answer = b""
        self._handshake = _HANDSHAKE_BYTES

    def stop(self, *, reset: bool = False) -> None:
        """Closes it soon, with FIN or with RST."""
        with self._lock:
            if self._closed:
                return
            if reset:
                self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._stopped.set()
            # Wakes the thread, which closes; SHUT_RD sends nothing.
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        if reset:
            self.join()

    def join(self, timeout: float | None = _JOIN_SECONDS) -> None:
        """Waits until it is closed."""
        super().join(timeout)

    def run(self) -> None:
        try:
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):
                self._server = socket.create_connection(self._target, timeout=_JOIN_SECONDS)
                self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pump(self._client, self._server)
        finally:
            with self._lock:
                self._closed = True
                self._client.close()
            if self._server is not None:
                self._server.close()
            self._proxy._farewell(self)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        waiting = select.poll()
        waiting.register(client, select.POLLIN)
        waiting.register(server, select.POLLIN)
        while not self._stopped.is_set():
            ready = {descriptor for descriptor, _ in waiting.poll()}
            if client.fileno() in ready and not self._from_client(client.recv(_RECEIVE)):
                return
            if server.fileno() in ready and not self._from_server(server.recv(_RECEIVE)):
                return

    def _from_client(self, data: bytes) -> bool:
        """Does what is to be done with requests, and says whether the connection goes on."""
        if not data:
            return False
        fault = self._proxy.fault
        if not data.endswith(_UNBIND):
            self._proxy.count_request()
        if self.silent or fault is Fault.HANG:
            return True
        if fault is Fault.REPLAY and self._last:
            self._client.sendall(self._last)
        if fault in _RESULTS:
            self._client.sendall(_refusal(data, _RESULTS[fault]))
            return True
        assert self._server is not None
        self._server.sendall(data)
        return True

    def _from_server(self, data: bytes) -> bool:
        """Does what is to be done with answers, and says whether the connection goes on."""
        if not data:
            return False
        fault = self._proxy.fault
        if self.silent or fault in (Fault.HANG, Fault.SWALLOW):
            return True
        if fault is Fault.DRIP:
            return self._drip(data)
        if fault is Fault.DELAY and self._stopped.wait(self._proxy.pause):
            return False
        if fault is Fault.HANDSHAKE:
            data, self._handshake = data[: self._handshake], max(self._handshake - len(data), 0)
        if fault is Fault.RESET:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sent = _spoilt(data, fault)
        if fault is Fault.TWICE:
            self._answer += data
            if not _ends(self._answer):
                return True
            sent, self._answer = self._answer * 2, b""
        self._last = sent
        self._client.sendall(sent)
        return fault not in (Fault.RESET, Fault.CLOSE, Fault.NOTICE)

    def _drip(self, data: bytes) -> bool:
        for index in range(len(data)):
            if self._stopped.wait(self._proxy.pause):
                return False
            self._client.sendall(data[index : index + 1])
        return True


def _spoilt(data: bytes, fault: Fault) -> bytes:
    """What is sent in place of an answer."""
    if fault in (Fault.RESET, Fault.CLOSE):
        return data[: len(data) // 2]
    if fault is Fault.HUGE:
        return _HUGE + data
    if fault is Fault.OTHER_ID:
        return _with_other_id(data)
    return {Fault.NOTICE: NOTICE, Fault.GARBAGE: _GARBAGE}.get(fault, data)


def _id_span(message: bytes) -> tuple[int, int]:
    """Where the message id of a message is."""
    start = 2 + (message[1] & 0x7F if message[1] & 0x80 else 0)
    if message[0] != 0x30 or message[start] != 0x02:
        raise ServerError("what passes here is not LDAP")
    return start + 2, start + 2 + message[start + 1]


def _ends(answer: bytes) -> bool:
    """Whether the last of some messages ends an operation."""
    last = b""
    while answer:
        last, answer = _split(answer)
    return last[_id_span(last)[1]] in _ANSWER_TAGS.values()


def _split(messages: bytes) -> tuple[bytes, bytes]:
    """The first message, and the others."""
    size = messages[1] & 0x7F if messages[1] & 0x80 else 0
    length = int.from_bytes(messages[2 : 2 + size], "big") if size else messages[1]
    stop = 2 + size + length
    return messages[:stop], messages[stop:]


def _with_other_id(data: bytes) -> bytes:
    """The same messages, the first with another id."""
    _, stop = _id_span(data)
    return data[: stop - 1] + bytes((data[stop - 1] ^ 1,)) + data[stop:]


def _refusal(request: bytes, code: int) -> bytes:
    """An answer to a request that has nothing but a result code in it; none to an unbind."""
    start, stop = _id_span(request)
    tag = _ANSWER_TAGS.get(request[stop])
    if tag is None:
        return b""
    body = request[start - 2 : stop] + bytes((tag, 7, 0x0A, 1, code, 0x04, 0, 0x04, 0))
    return bytes((0x30, len(body))) + body


def _listener(port: int, backlog: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Connections of an earlier listener that are not forgotten yet are no hindrance.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, port))
    listener.listen(backlog)
    return listener
