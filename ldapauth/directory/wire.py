"""The bytes of a login: LDAP bind and search requests out, their answers in. Sans-IO: no socket, no clock, no library.

Owns exactly the messages of RFC 4511 that finding a user and binding need. A `Reader` takes bytes in pieces of any size
and gives messages, nothing (more bytes are needed), or `ProtocolError`: never another exception, and never more memory
than `MAX_MESSAGE` and one piece. Elements that RFC 4511 does not know are skipped, as its section 4 asks.

Knows nothing of names, filters' text, servers or time. Everything rare (modify, add, delete, extended) is ldap3's.
"""

import dataclasses
from collections.abc import Iterator

MAX_MESSAGE = 1 << 20
"""Bytes of one message that are taken. We ask for a handful of attributes of two entries at most; a user's certificates
are the largest and rarely reach 10 kB each. What claims to be larger is no answer to our question."""

# Tags: RFC 4511 4.2, 4.5, 4.12, 4.13; universal ones from X.690.
_INTEGER, _OCTETS, _ENUMERATED, _SEQUENCE, _SET = 0x02, 0x04, 0x0A, 0x30, 0x31
_BIND_REQUEST, _BIND_RESPONSE, _UNBIND_REQUEST = 0x60, 0x61, 0x42
_SEARCH_REQUEST, _SEARCH_ENTRY, _SEARCH_DONE, _SEARCH_REFERENCE = 0x63, 0x64, 0x65, 0x73
_EXTENDED_RESPONSE, _INTERMEDIATE_RESPONSE = 0x78, 0x79
_SIMPLE, _REFERRAL, _RESPONSE_NAME, _CONTROLS = 0x80, 0xA3, 0x8A, 0xA0

SCOPES = {"base": 0, "one": 1, "sub": 2}

# Filters: RFC 4511 4.5.1.7
AND, OR, NOT, EQUALITY, SUBSTRINGS, AT_LEAST, AT_MOST, PRESENT, APPROX, EXTENSIBLE = (
    0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0x87, 0xA8, 0xA9,
)  # fmt: skip


class ProtocolError(Exception):
    """The bytes are no LDAP, or not the LDAP that can follow here."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One SearchResultEntry: the DN, and the values of each attribute that came with it."""

    message_id: int
    dn: str
    attributes: dict[str, list[bytes]]


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A SearchResultReference: more may be found elsewhere, where we never go."""

    message_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """The end of an operation: BindResponse, SearchResultDone, or an ExtendedResponse.

    Attributes:
        kind: `bind`, `search` or `extended`.
        code: The result code, RFC 4511 appendix A.
        matched_dn: How much of the DN exists, with some codes.
        message: The server's diagnostic message; for operators only.
        referrals: URLs, with code 10.
        controls: The value of each response control by its OID.
        name: The OID of an extended response, if it has one.
    """

    message_id: int
    kind: str
    code: int
    matched_dn: str = ""
    message: str = ""
    referrals: tuple[str, ...] = ()
    controls: dict[str, bytes] = dataclasses.field(default_factory=dict)
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Intermediate:
    """An IntermediateResponse, which we ask for nowhere and skip."""

    message_id: int


Message = Entry | Reference | Result | Intermediate


def tlv(tag: int, content: bytes) -> bytes:
    """One element: tag, definite length in the fewest bytes, content. Source: X.690 8.1."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def _integer(value: int, tag: int = _INTEGER) -> bytes:
    """A non-negative INTEGER or ENUMERATED."""
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def bind_request(message_id: int, dn: bytes, password: bytes) -> bytes:
    """A simple bind of LDAP version 3. Source: RFC 4511 4.2."""
    content = _integer(3) + tlv(_OCTETS, dn) + tlv(_SIMPLE, password)
    return tlv(_SEQUENCE, _integer(message_id) + tlv(_BIND_REQUEST, content))


def search_request(message_id: int, query: "Search", search_filter: bytes) -> bytes:
    """A search with an encoded filter. Source: RFC 4511 4.5.1."""
    content = query.head + search_filter + query.attributes
    return tlv(_SEQUENCE, _integer(message_id) + tlv(_SEARCH_REQUEST, content))


def unbind_request(message_id: int) -> bytes:
    """Says goodbye; there is no answer. Source: RFC 4511 4.3."""
    return tlv(_SEQUENCE, _integer(message_id) + tlv(_UNBIND_REQUEST, b""))


class Search:
    """The parts of a search request around its filter, encoded.

    Args:
        base: The base DN.
        scope: `base`, `one` or `sub`.
        attributes: What to ask for; `1.1` asks for no attribute (RFC 4511 4.5.1.8).
        size_limit: Entries at most; 0 for no limit.
        time_limit: Seconds that the server may take at most; 0 for no limit.
    """

    __slots__ = ("attributes", "head")

    def __init__(self, base: bytes, scope: str, attributes: tuple[str, ...], size_limit: int, time_limit: int) -> None:
        never, types_only = _integer(0, _ENUMERATED), b"\x01\x01\x00"
        self.head = (
            tlv(_OCTETS, base)
            + _integer(SCOPES[scope], _ENUMERATED)
            + never  # aliases are not followed
            + _integer(size_limit)
            + _integer(time_limit)
            + types_only
        )
        self.attributes = tlv(_SEQUENCE, b"".join(tlv(_OCTETS, name.encode()) for name in attributes))


class Reader:
    """Takes a server's bytes and gives its messages, in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def empty(self) -> bool:
        """Whether every byte taken has been given out in a message."""
        return not self._buffer

    def feed(self, data: bytes) -> None:
        """Takes what a server has sent."""
        self._buffer += data

    def next_message(self) -> Message | None:
        """The next message, or None when more bytes are needed.

        Raises:
            ProtocolError: These bytes can't be one. The reader is of no use afterwards.
        """
        buffer = self._buffer
        if not buffer:
            return None
        if buffer[0] != _SEQUENCE:
            raise ProtocolError("a message does not begin with a sequence")
        end = _message_end(buffer)
        if end is None or len(buffer) < end[1]:
            return None
        start, stop = end
        data = bytes(buffer[start:stop])
        del buffer[:stop]
        return _message(data)


def _message_end(buffer: bytearray) -> tuple[int, int] | None:
    """Where the content of the message at the front begins and ends; None when its length is not here yet."""
    if len(buffer) < 2:
        return None
    length, start = buffer[1], 2
    if length >= 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4:
            raise ProtocolError("a message of indefinite or absurd length")
        if len(buffer) < 2 + size:
            return None
        start += size
        length = int.from_bytes(buffer[2:start], "big")
    if length > MAX_MESSAGE:
        raise ProtocolError("a message that is too long")
    return start, start + length


def _element(data: bytes, offset: int, end: int) -> tuple[int, int, int]:
    """The element at an offset: its tag, and where its content begins and ends."""
    if end - offset < 2:
        raise ProtocolError("an element is cut off")
    tag, length, start = data[offset], data[offset + 1], offset + 2
    if tag & 0x1F == 0x1F:
        raise ProtocolError("a tag of a form that LDAP does not use")
    if length >= 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4 or end - start < size:
            raise ProtocolError("an element of indefinite or absurd length")
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    stop = start + length
    if stop > end:
        raise ProtocolError("an element is longer than what holds it")
    return tag, start, stop


def _elements(data: bytes, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The elements side by side between two offsets."""
    while offset < end:
        tag, start, stop = _element(data, offset, end)
        yield tag, start, stop
        offset = stop


def _expect(data: bytes, offset: int, end: int, expected: int) -> tuple[int, int]:
    """Where the content of the element at an offset begins and ends; it must have that tag."""
    tag, start, stop = _element(data, offset, end)
    if tag != expected:
        raise ProtocolError(f"expected an element of tag 0x{expected:02x} and found 0x{tag:02x}")
    return start, stop


def _number(data: bytes, offset: int, end: int, tag: int) -> tuple[int, int]:
    """A number from 0 to 2^31-1 at an offset, and where it ends."""
    start, stop = _expect(data, offset, end, tag)
    if not 1 <= stop - start <= 5:
        raise ProtocolError("a number of absurd length")
    value = int.from_bytes(data[start:stop], "big", signed=True)
    if not 0 <= value < 1 << 31:
        raise ProtocolError("a number out of range")
    return value, stop


def _text(data: bytes, start: int, stop: int) -> str:
    """An LDAPString; what is not UTF-8 in it is shown as escapes, for it is only ever compared or shown."""
    return data[start:stop].decode("utf-8", "backslashreplace")


def _message(data: bytes) -> Message:
    """The message whose content this is. Source: RFC 4511 4.1.1."""
    end = len(data)
    message_id, offset = _number(data, 0, end, _INTEGER)
    tag, start, stop = _element(data, offset, end)
    if tag == _SEARCH_ENTRY:
        return _entry(message_id, data, start, stop)
    if tag == _SEARCH_REFERENCE:
        return Reference(message_id)
    if tag == _INTERMEDIATE_RESPONSE:
        return Intermediate(message_id)
    kind = {_BIND_RESPONSE: "bind", _SEARCH_DONE: "search", _EXTENDED_RESPONSE: "extended"}.get(tag)
    if kind is None:
        raise ProtocolError(f"a message of a kind that answers nothing asked here: 0x{tag:02x}")
    return _result(message_id, kind, data, (start, stop), _controls(data, stop, end))


def _entry(message_id: int, data: bytes, offset: int, end: int) -> Entry:
    """Source: RFC 4511 4.5.2."""
    start, stop = _expect(data, offset, end, _OCTETS)
    dn = data[start:stop].decode("utf-8", "surrogateescape")  # sent back as it came, when the user binds
    start, stop = _expect(data, stop, end, _SEQUENCE)
    attributes: dict[str, list[bytes]] = {}
    for tag, inner, inner_end in _elements(data, start, stop):
        if tag != _SEQUENCE:
            continue
        name_start, name_end = _expect(data, inner, inner_end, _OCTETS)
        values_start, values_end = _expect(data, name_end, inner_end, _SET)
        attributes[_text(data, name_start, name_end)] = [
            data[a:b] for value_tag, a, b in _elements(data, values_start, values_end) if value_tag == _OCTETS
        ]
    return Entry(message_id, dn, attributes)


def _result(message_id: int, kind: str, data: bytes, span: tuple[int, int], controls: dict[str, bytes]) -> Result:
    """Source: RFC 4511 4.1.9 and 4.12."""
    offset, end = span
    code, offset = _number(data, offset, end, _ENUMERATED)
    matched = _expect(data, offset, end, _OCTETS)
    message = _expect(data, matched[1], end, _OCTETS)
    referrals: tuple[str, ...] = ()
    name = ""
    for tag, start, stop in _elements(data, message[1], end):
        if tag == _REFERRAL:
            referrals = tuple(_text(data, a, b) for _, a, b in _elements(data, start, stop))
        elif tag == _RESPONSE_NAME and kind == "extended":
            name = _text(data, start, stop)
    return Result(message_id, kind, code, _text(data, *matched), _text(data, *message), referrals, controls, name)


def _controls(data: bytes, offset: int, end: int) -> dict[str, bytes]:
    """The controls behind a message's operation, by OID. Source: RFC 4511 4.1.11."""
    controls: dict[str, bytes] = {}
    for tag, start, stop in _elements(data, offset, end):
        if tag != _CONTROLS:
            continue
        for inner_tag, inner, inner_end in _elements(data, start, stop):
            if inner_tag != _SEQUENCE:
                continue
            oid = _expect(data, inner, inner_end, _OCTETS)
            values = [data[a:b] for t, a, b in _elements(data, oid[1], inner_end) if t == _OCTETS]
            controls[_text(data, *oid)] = values[0] if values else b""
    return controls
