"""The bytes of a login: LDAP bind and search requests out, their answers in. Sans-IO: no socket, no clock, no library.

Owns exactly the messages of RFC 4511 that finding a user and binding need. A `Reader` takes bytes in pieces of any size
and gives messages, nothing (more bytes are needed), or `ProtocolError`: never another exception, and never more memory
than `MAX_MESSAGE` and one piece. Elements that RFC 4511 does not know are skipped, as its section 4 asks.

Knows nothing of names, filters' text, servers or time. Everything rare (modify, add, delete, extended) is ldap3's.
"""

import dataclasses
import functools

MAX_MESSAGE = 1 << 20
"""Bytes of one message that are taken. We ask for a handful of attributes of two entries at most; a user's certificates
are the largest and rarely reach 10 kB each. What claims to be larger is no answer to our question."""

MAX_ELEMENTS = 10_000
"""Elements side by side that are taken: each costs time, and a message of nothing but empty ones would cost seconds."""

# Tags: RFC 4511 4.2, 4.5, 4.12, 4.13; universal ones from X.690.
_INTEGER, _OCTETS, _ENUMERATED, _SEQUENCE, _SET = 0x02, 0x04, 0x0A, 0x30, 0x31
_BIND_REQUEST, _BIND_RESPONSE, _UNBIND_REQUEST = 0x60, 0x61, 0x42
_SEARCH_REQUEST, _SEARCH_ENTRY, _SEARCH_DONE, _SEARCH_REFERENCE = 0x63, 0x64, 0x65, 0x73
_EXTENDED_RESPONSE, _INTERMEDIATE_RESPONSE = 0x78, 0x79
_SIMPLE, _REFERRAL, _RESPONSE_NAME, _CONTROLS = 0x80, 0xA3, 0x8A, 0xA0

_RESULTS = {_BIND_RESPONSE: "bind", _SEARCH_DONE: "search", _EXTENDED_RESPONSE: "extended"}

SCOPES = {"base": 0, "one": 1, "sub": 2}

# Filters: RFC 4511 4.5.1.7
AND, OR, NOT, EQUALITY, SUBSTRINGS, AT_LEAST, AT_MOST, PRESENT, APPROX, EXTENSIBLE = (
    0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0x87, 0xA8, 0xA9,
)  # fmt: skip


class ProtocolError(Exception):
    """The bytes are no LDAP, or not the LDAP that can follow here."""


@dataclasses.dataclass(slots=True)
class Entry:
    """One SearchResultEntry: the DN, and the values of each attribute that came with it."""

    message_id: int
    dn: str
    attributes: dict[str, list[bytes]]


@dataclasses.dataclass(slots=True)
class Reference:
    """A SearchResultReference: more may be found elsewhere, where we never go."""

    message_id: int


@dataclasses.dataclass(slots=True)
class Result:
    """The end of an operation: BindResponse, SearchResultDone, or an ExtendedResponse.

    Attributes:
        kind: `bind`, `search` or `extended`.
        code: The result code, RFC 4511 appendix A.
        matched_dn: How much of the DN exists, with some codes.
        message: The server's diagnostic message; for operators only.
        referrals: URLs, with code 10.
        name: The OID of an extended response, if it has one.
        controls: The value of each response control by its OID.
    """

    message_id: int
    kind: str
    code: int
    matched_dn: str = ""
    message: str = ""
    referrals: tuple[str, ...] = ()
    name: str = ""
    controls: dict[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
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
    if value < 0x80:
        return bytes((tag, 1, value))
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def bind_request(message_id: int, dn: bytes, password: bytes, controls: bytes = b"") -> bytes:
    """A simple bind of LDAP version 3, with request controls that are encoded already. Source: RFC 4511 4.1.11, 4.2."""
    content = _integer(3) + tlv(_OCTETS, dn) + tlv(_SIMPLE, password)
    return tlv(_SEQUENCE, _integer(message_id) + tlv(_BIND_REQUEST, content) + controls)


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

    __slots__ = ("attributes", "head", "size_limit")

    def __init__(self, base: bytes, scope: str, attributes: tuple[str, ...], size_limit: int, time_limit: int) -> None:
        self.size_limit = size_limit
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
        self._data = b""
        self._offset = 0

    @property
    def empty(self) -> bool:
        """Whether every byte taken has been given out in a message."""
        return self._offset == len(self._data)

    def feed(self, data: bytes) -> None:
        """Takes what a server has sent."""
        self._data = data if self.empty else self._data[self._offset :] + data
        self._offset = 0

    def next_message(self) -> Message | None:
        """The next message, or None when more bytes are needed.

        Raises:
            ProtocolError: These bytes can't be one. The reader is of no use afterwards.
        """
        if self.empty:
            return None
        found = _message_span(self._data, self._offset)
        if found is None or found[1] > len(self._data):
            return None
        self._offset = found[1]
        return _message(self._data, *found)


def _message_span(data: bytes, offset: int) -> tuple[int, int] | None:
    """Where the content of the message at an offset begins and ends; None when its length is not here yet."""
    if data[offset] != _SEQUENCE:
        raise ProtocolError("a message does not begin with a sequence")
    if len(data) - offset < 2:
        return None
    length, start = data[offset + 1], offset + 2
    if length >= 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4:
            raise ProtocolError("a message of indefinite or absurd length")
        if len(data) - start < size:
            return None
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if length > MAX_MESSAGE:
        raise ProtocolError("a message that is too long")
    return start, start + length


# Where the content of an element begins and ends, behind its tag.
_Element = tuple[int, int, int]


def _elements(data: bytes, offset: int, end: int) -> list[_Element]:
    """The elements side by side between two offsets, which must be filled by them. Source: X.690 8.1, RFC 4511 5.1."""
    found = []
    while offset < end:
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
        offset = start + length
        if offset > end:
            raise ProtocolError("an element is longer than what holds it")
        found.append((tag, start, offset))
        if len(found) > MAX_ELEMENTS:
            raise ProtocolError("more elements than any answer has")
    return found


def _fields(data: bytes, offset: int, end: int, *tags: int) -> list[_Element]:
    """The elements of a sequence that begins with elements of these tags; more may follow."""
    found = _elements(data, offset, end)
    if tuple([element[0] for element in found[: len(tags)]]) != tags:
        raise ProtocolError("an element is missing, or of another type")
    return found


def _number(data: bytes, element: _Element) -> int:
    """A number from 0 to 2^31-1."""
    _, start, stop = element
    if not 1 <= stop - start <= 5:
        raise ProtocolError("a number of absurd length")
    value = int.from_bytes(data[start:stop], "big", signed=True)
    if not 0 <= value < 1 << 31:
        raise ProtocolError("a number out of range")
    return value


def _text(data: bytes, element: _Element) -> str:
    """An LDAPString; what is not UTF-8 in it is shown as escapes, for it is only ever compared or shown."""
    return data[element[1] : element[2]].decode("utf-8", "backslashreplace")


def _message(data: bytes, start: int, stop: int) -> Message:
    """The message whose content lies there. Source: RFC 4511 4.1.1."""
    parts = _fields(data, start, stop, _INTEGER)
    if len(parts) < 2:
        raise ProtocolError("a message without an operation")
    message_id = _number(data, parts[0])
    operation = parts[1]
    if operation[0] == _SEARCH_ENTRY:
        return _entry(message_id, data, operation)
    if operation[0] == _SEARCH_REFERENCE:
        return Reference(message_id)
    if operation[0] == _INTERMEDIATE_RESPONSE:
        return Intermediate(message_id)
    kind = _RESULTS.get(operation[0])
    if kind is None:
        raise ProtocolError(f"a message of a kind that answers nothing asked here: 0x{operation[0]:02x}")
    return _result(message_id, kind, data, operation, _controls(data, parts[2:]) if len(parts) > 2 else {})


def _entry(message_id: int, data: bytes, operation: _Element) -> Entry:
    """Source: RFC 4511 4.5.2."""
    name, pairs, *_ = _fields(data, operation[1], operation[2], _OCTETS, _SEQUENCE)
    dn = data[name[1] : name[2]].decode("utf-8", "surrogateescape")  # sent back as it came, when the user binds
    attributes: dict[str, list[bytes]] = {}
    for tag, start, stop in _elements(data, pairs[1], pairs[2]):
        if tag == _SEQUENCE:
            kind, values, *_ = _fields(data, start, stop, _OCTETS, _SET)
            attributes[_text(data, kind)] = [
                data[a:b] for value_tag, a, b in _elements(data, values[1], values[2]) if value_tag == _OCTETS
            ]
    return Entry(message_id, dn, attributes)


def _result(message_id: int, kind: str, data: bytes, operation: _Element, controls: dict[str, bytes]) -> Result:
    """A result, of which the operation's bytes are parsed once: all but a few logins end with the same."""
    _, start, stop = operation
    content = data[start:stop]
    parsed = _short_outcome(kind, content) if len(content) <= _SHORT else _outcome(kind, content)
    return Result(message_id, kind, *parsed, controls=controls)


def _outcome(kind: str, data: bytes) -> tuple[int, str, str, tuple[str, ...], str]:
    """Result code, matched DN, diagnostic message, referrals and name of a result. Source: RFC 4511 4.1.9 and 4.12."""
    code, matched, message, *more = _fields(data, 0, len(data), _ENUMERATED, _OCTETS, _OCTETS)
    referrals: tuple[str, ...] = ()
    name = ""
    for element in more:
        if element[0] == _REFERRAL:
            referrals = tuple(_text(data, url) for url in _elements(data, element[1], element[2]))
        elif element[0] == _RESPONSE_NAME and kind == "extended":
            name = _text(data, element)
    return _number(data, code), _text(data, matched), _text(data, message), referrals, name


_SHORT = 128  # bytes: what is remembered of results is bounded in number and in size
_short_outcome = functools.lru_cache(maxsize=64)(_outcome)


def _controls(data: bytes, parts: list[_Element]) -> dict[str, bytes]:
    """The controls behind a message's operation, by OID. Source: RFC 4511 4.1.11."""
    controls: dict[str, bytes] = {}
    for tag, start, stop in parts:
        for inner_tag, inner, inner_end in _elements(data, start, stop) if tag == _CONTROLS else ():
            if inner_tag == _SEQUENCE:
                oid, *more = _fields(data, inner, inner_end, _OCTETS)
                values = [data[a:b] for value_tag, a, b in more if value_tag == _OCTETS]
                controls[_text(data, oid)] = values[0] if values else b""
    return controls
