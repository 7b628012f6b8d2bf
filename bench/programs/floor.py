"""The least that a login can cost in Python: a search and a bind, in hand-made BER on two kept sockets.

Nothing is checked, nothing is timed, and no message may be longer than 127 bytes.
"""

import socket
import ssl
from collections.abc import Callable

from bench.programs import frame

# What is the same in every message, as its message id is: RFC 4511 4.5.1, 4.5.2 and 4.2.
_SCOPE_AND_LIMITS = b"\x0a\x01\x02\x0a\x01\x00\x02\x01\x02\x02\x01\x04\x01\x01\x00"
_ATTRIBUTES = b"\x30\x05\x04\x03uid"
_SEARCH_DONE = b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00"
_BIND_DONE = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
_DN = 9  # where the DN begins in the message of an entry; its length stands before it

_RECEIVE = 65536


def main(serve: Callable[[Callable[[bytes, bytes], bool]], None] = frame.serve) -> None:
    """Answers the line protocol, or that of ejabberd if it is served so."""
    arguments = frame.arguments()
    searching, binding = _connect(arguments), _connect(arguments)
    _bind(searching, arguments.service_dn.encode(), arguments.service_password.encode())
    before = _tlv(0x04, arguments.base_dn.encode()) + _SCOPE_AND_LIMITS
    serve(lambda user, password: _bind(binding, _find(searching, before, user), password))


def _connect(arguments: frame.Arguments) -> socket.socket:
    connection = socket.create_connection(arguments.address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not arguments.tls:
        return connection
    context = ssl.create_default_context(cafile=arguments.ca_file)
    return context.wrap_socket(connection, server_hostname=arguments.address[0])


def _find(connection: socket.socket, before: bytes, user: bytes) -> bytes:
    """The DN of the entry with this `uid`."""
    equality = _tlv(0xA3, b"\x04\x03uid" + _tlv(0x04, user))
    connection.sendall(_message(0x63, before + equality + _ATTRIBUTES))
    answer = connection.recv(_RECEIVE)
    while not answer.endswith(_SEARCH_DONE):
        more = connection.recv(_RECEIVE)
        if not more:
            raise EOFError
        answer += more
    return answer[_DN : _DN + answer[_DN - 1]]


def _bind(connection: socket.socket, dn: bytes, password: bytes) -> bool:
    connection.sendall(_message(0x60, b"\x02\x01\x03" + _tlv(0x04, dn) + _tlv(0x80, password)))
    return connection.recv(_RECEIVE) == _BIND_DONE


def _message(tag: int, content: bytes) -> bytes:
    return _tlv(0x30, b"\x02\x01\x01" + _tlv(tag, content))


def _tlv(tag: int, content: bytes) -> bytes:
    return bytes((tag, len(content))) + content


if __name__ == "__main__":
    main()
