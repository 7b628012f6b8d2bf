"""The bytes of a login: LDAP bind and search requests out, their answers in. Sans-IO: no socket, no clock, no library.

Owns exactly the messages of RFC 4511 that finding a user and binding need. A `Reader` takes bytes in pieces of any size
and gives messages, nothing (more bytes are needed), or `ProtocolError`: never another exception, and never more memory
than `MAX_MESSAGE` and one piece. Elements that RFC 4511 does not know are skipped, as its section 4 asks.

Every login runs through here, and nearly all get the same two answers. `sole_entry` and `sole_message` know these by
their bytes; whatever they do not know is decoded.

Knows nothing of names, filters' text, servers or time. Everything rare (modify, add, delete, extended) is ldap3's.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence

MAX_MESSAGE = 1 << 20
"""Bytes of one message that are taken. We ask for a handful of attributes of two entries at most; a user's certificates
are the largest and rarely reach 10 kB each. What claims to be larger is no answer to our question."""

MAX_ELEMENTS = 10_000
"""Elements side by side that are taken: each costs time, and a message of nothing but empty ones would cost seconds."""

LAST_MESSAGE_ID = 127
"""After it message ids begin at 1 again. One question is under way on a connection, so an id is free again when its
answer is here (RFC 4511 4.1.1.1); and of so few ids the usual answers soon are all known, see `sole_message`."""

SHORT_MESSAGE = 64
"""Bytes of a message that is remembered with what it says: enough for a result without words, however it is encoded."""

# Tags: RFC 4511 4.2, 4.5, 4.12, 4.13; universal ones from X.690.
_INTEGER, _OCTETS, _ENUMERATED, _SEQUENCE, _SET = 0x02, 0x04, 0x0A, 0x30, 0x31
_BIND_REQUEST, _BIND_RESPONSE, _UNBIND_REQUEST = 0x60, 0x61, 0x42
_SEARCH_REQUEST, _SEARCH_ENTRY, _SEARCH_DONE, _SEARCH_REFERENCE = 0x63, 0x64, 0x65, 0x73
_EXTENDED_RESPONSE, _INTERMEDIATE_RESPONSE = 0x78, 0x79
_SIMPLE, _SASL, _REFERRAL, _CREDENTIALS, _RESPONSE_NAME, _CONTROLS = 0x80, 0xA3, 0xA3, 0x87, 0x8A, 0xA0

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
        name: The OID of an extended response, if it has one.
        controls: The value of each response control by its OID.
        credentials: What the server says in a SASL bind.
    """

    message_id: int
    kind: str
    code: int
    matched_dn: str = ""
    message: str = ""
    referrals: tuple[str, ...] = ()
    name: str = ""
    controls: dict[str, bytes] = dataclasses.field(default_factory=dict)
    credentials: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True)
class Intermediate:
    """An IntermediateResponse, which we ask for nowhere and skip."""

    message_id: int


Message = Entry | Reference | Result | Intermediate

AS_EXPECTED = Result(0, "search", 0)
"""How a search ended whose answer was known by its bytes, see `sole_entry`: its entry needs no closer look."""


def tlv(tag: int, content: bytes) -> bytes:
    """One element: tag, definite length in the fewest bytes, content. Source: X.690 8.1."""
    length = len(content)
    if length < 0x80:
        return b"%c%c%b" % (tag, length, content)
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def equality(attribute: str, value: bytes) -> bytes:
    """The filter that an attribute has a value. Source: RFC 4511 4.5.1.7."""
    return tlv(EQUALITY, tlv(_OCTETS, attribute.encode()) + tlv(_OCTETS, value))


def _integer(value: int, tag: int = _INTEGER) -> bytes:
    """A non-negative INTEGER or ENUMERATED."""
    if value < 0x80:
        return b"%c\x01%c" % (tag, value)
    return tlv(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def bind_request(message_id: int, dn: bytes, password: bytes, controls: bytes = b"") -> bytes:
    """A simple bind of LDAP version 3, with encoded controls if there are any. Source: RFC 4511 4.2 and 4.1.11."""
    if len(dn) < 0x80 > len(password):  # each length fits into a byte, see `tlv`
        content = b"%b\x04%c%b\x80%c%b" % (_VERSION, len(dn), dn, len(password), password)
    else:
        content = _VERSION + tlv(_OCTETS, dn) + tlv(_SIMPLE, password)
    return _request(message_id, _BIND_REQUEST, content, controls)


def sasl_request(message_id: int, mechanism: str, credentials: bytes, controls: bytes = b"") -> bytes:
    """A SASL bind, or one step of it. Source: RFC 4511 4.2."""
    sasl = tlv(_SASL, tlv(_OCTETS, mechanism.encode()) + tlv(_OCTETS, credentials))
    return _request(message_id, _BIND_REQUEST, _VERSION + tlv(_OCTETS, b"") + sasl, controls)


def search_request(message_id: int, query: "Search", search_filter: bytes) -> bytes:
    """A search with an encoded filter. Source: RFC 4511 4.5.1."""
    return _request(message_id, _SEARCH_REQUEST, query.head + search_filter + query.attributes)


def unbind_request(message_id: int) -> bytes:
    """Says goodbye; there is no answer. Source: RFC 4511 4.3."""
    return _request(message_id, _UNBIND_REQUEST, b"")


def _request(message_id: int, tag: int, content: bytes, controls: bytes = b"") -> bytes:
    """Source: RFC 4511 4.1.1."""
    length, whole = len(content), len(content) + len(controls) + 5
    if whole < 0x80 and message_id < 0x80:  # as below, with every length in one byte
        return b"\x30%c\x02\x01%c%c%c%b%b" % (whole, message_id, tag, length, content, controls)
    return tlv(_SEQUENCE, _integer(message_id) + tlv(tag, content) + controls)


def control(oid: str, value: bytes | None = None, *, critical: bool = False) -> bytes:
    """A request control, to be put into a `control_list`. Source: RFC 4511 4.1.11."""
    content = tlv(_OCTETS, oid.encode())
    if critical:
        content += b"\x01\x01\xff"
    if value is not None:
        content += tlv(_OCTETS, value)
    return tlv(_SEQUENCE, content)


def control_list(*encoded: bytes) -> bytes:
    """Encoded controls as they stand behind a request. Source: RFC 4511 4.1.1."""
    return tlv(_CONTROLS, b"".join(encoded))


_VERSION = _integer(3)


class Search:
    """The parts of a search request around its filter, encoded.

    Args:
        base: The base DN.
        scope: `base`, `one` or `sub`.
        attributes: What to ask for; `1.1` asks for no attribute (RFC 4511 4.5.1.8).
        size_limit: Entries at most; 0 for no limit.
        time_limit: Seconds that the server may take at most; 0 for no limit.
    """

    __slots__ = ("attributes", "base", "head", "scope", "size_limit")

    def __init__(self, base: bytes, scope: str, attributes: tuple[str, ...], size_limit: int, time_limit: int) -> None:
        self.base, self.scope = base, scope
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


# From the bytes of a DN to its text and back, valid UTF-8 or not.
decoded_dn: Callable[[bytes], str] = operator.methodcaller("decode", "utf-8", "surrogateescape")
encoded_dn: Callable[[str], bytes] = operator.methodcaller("encode", "utf-8", "surrogateescape")


@functools.lru_cache(maxsize=1024)
def sole_message(data: bytes) -> Message | None:
    """The message, if the bytes are just one; decoded once, however often they come.

    Raises:
        ProtocolError: The bytes can't be a message.
    """
    reader = Reader()
    reader.feed(data)
    message = reader.next_message()
    return message if reader.empty else None


def sole_entry(data: bytes, message_id: int, kind: bytes, value: bytes) -> tuple[bytes, bytes] | None:
    """The DN in an answer that begins with an entry of one attribute with one value, and what comes behind that entry.

    None if the bytes are anything else, or lengths need more than a byte. Nothing is taken on trust: they must be the
    very bytes that an encoder makes of this entry. With `search_success` behind them they are a whole answer.

    Args:
        data: What has come.
        message_id: Of the search.
        kind: The attribute.
        value: Its value.
    """
    pair, total = len(kind) + len(value) + 6, data[1] if len(data) > 9 else 0
    if not pair < total < 0x80:
        return None
    length, size = data[8], total + 2
    dn = data[9 : 9 + length]
    usual = _SOLE_ENTRY % (
        total, message_id, total - 5, length, dn,
        pair + 2, pair, len(kind), kind, len(value) + 2, len(value), value,
    )  # fmt: skip
    return (dn, data[size:]) if data[:size] == usual and dn else None


# RFC 4511 4.5.2: a SearchResultEntry.
_SOLE_ENTRY = b"\x30%c\x02\x01%c\x64%c\x04%c%b\x30%c\x30%c\x04%c%b\x31%c\x04%c%b"


def search_success(message_id: int) -> bytes:
    """The end of a search that succeeded, without words. Source: RFC 4511 4.5.2."""
    return b"\x30\x0c\x02\x01%c\x65\x07\x0a\x01\x00\x04\x00\x04\x00" % message_id


class Reader:
    """Takes a server's bytes and gives its messages, in order."""

    __slots__ = ("_data", "_offset")

    def __init__(self) -> None:
        self._data = b""
        self._offset = 0

    @property
    def empty(self) -> bool:
        """Whether every byte taken has been given out in a message."""
        return self._offset == len(self._data)

    def feed(self, data: bytes) -> None:
        """Takes what a server has sent."""
        self._data = data if self._offset == len(self._data) else self._data[self._offset :] + data
        self._offset = 0

    def next_message(self) -> Message | None:
        """The next message, or None when more bytes are needed.

        Raises:
            ProtocolError: These bytes can't be one. The reader is of no use afterwards.
        """
        data, offset = self._data, self._offset
        if offset == len(data):
            return None
        if data[offset] != _SEQUENCE:
            raise ProtocolError("a message does not begin with a sequence")
        start = offset + 2
        if start > len(data):
            return None
        size = data[offset + 1]
        if size >= 0x80:
            found = _long_length(data, start, size & 0x7F)
            if found is None:
                return None
            start, size = found
        stop = start + size
        if stop > len(data):
            return None
        self._offset = stop
        return _message(data, start, stop)


def _long_length(data: bytes, offset: int, size: int) -> tuple[int, int] | None:
    """Where a message's content begins, and its length, which stands there in so many bytes if they are here yet."""
    if not 1 <= size <= 4:
        raise ProtocolError("a message of indefinite or absurd length")
    start = offset + size
    if start > len(data):
        return None
    length = int.from_bytes(data[offset:start], "big")
    if length > MAX_MESSAGE:
        raise ProtocolError("a message that is too long")
    return start, length


def _span(data: bytes, offset: int, end: int) -> tuple[int, int]:
    """Where the content of the element at an offset begins and ends, within what holds it. Source: X.690 8.1."""
    start = offset + 2
    if start > end:
        raise ProtocolError("an element is cut off")
    length = data[offset + 1]
    if length >= 0x80:  # RFC 4511 5.1: definite lengths only
        size = length & 0x7F
        if not 1 <= size <= 4 or end - start < size:
            raise ProtocolError("an element of indefinite or absurd length")
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    stop = start + length
    if stop > end:
        raise ProtocolError("an element is longer than what holds it")
    return start, stop


def _opened(data: bytes, offset: int, end: int, tag: int) -> tuple[int, int]:
    """Where the content of the element at an offset begins and ends; it has to be of this tag."""
    if offset >= end or data[offset] != tag:
        raise ProtocolError("an element is missing, or of another type")
    return _span(data, offset, end)


# A tag, and where the content behind it begins and ends.
_Element = tuple[int, int, int]


def elements(data: bytes, offset: int, end: int) -> list[_Element]:
    """The elements side by side between two offsets, which must be filled by them."""
    found = []
    while offset < end:
        tag = data[offset]
        if tag & 0x1F == 0x1F:
            raise ProtocolError("a tag of a form that LDAP does not use")
        start, offset = _span(data, offset, end)
        found.append((tag, start, offset))
        if len(found) > MAX_ELEMENTS:
            raise ProtocolError("more elements than any answer has")
    return found


def number(data: bytes, start: int, stop: int) -> int:
    """A number from 0 to 2^31-1."""
    if not 1 <= stop - start <= 5:
        raise ProtocolError("a number of absurd length")
    value = int.from_bytes(data[start:stop], "big", signed=True)
    if not 0 <= value < 1 << 31:
        raise ProtocolError("a number out of range")
    return value


def _text(data: bytes, start: int, stop: int) -> str:
    """An LDAPString; what is not UTF-8 in it is shown as escapes, for it is only ever compared or shown."""
    return data[start:stop].decode("utf-8", "backslashreplace")


def _message(data: bytes, start: int, stop: int) -> Message:
    """The message whose content lies there. Source: RFC 4511 4.1.1."""
    id_start, offset = _opened(data, start, stop, _INTEGER)
    message_id = number(data, id_start, offset)
    if offset == stop:
        raise ProtocolError("a message without an operation")
    tag = data[offset]
    operation, end = _opened(data, offset, stop, tag)
    more = elements(data, end, stop) if end < stop else ()
    if tag == _SEARCH_ENTRY:
        return _entry(message_id, data, operation, end)
    if tag == _SEARCH_REFERENCE:
        return Reference(message_id)
    if tag == _INTERMEDIATE_RESPONSE:
        return Intermediate(message_id)
    kind = _RESULTS.get(tag)
    if kind is None:
        raise ProtocolError(f"a message of a kind that answers nothing asked here: 0x{tag:02x}")
    return _result(message_id, kind, data, (operation, end), _controls(data, more) if more else {})


def _entry(message_id: int, data: bytes, start: int, stop: int) -> Entry:
    """Source: RFC 4511 4.5.2."""
    name, name_end = _opened(data, start, stop, _OCTETS)
    pairs, pairs_end = _opened(data, name_end, stop, _SEQUENCE)
    if pairs_end < stop:
        elements(data, pairs_end, stop)
    attributes: dict[str, list[bytes]] = {}
    for tag, pair, end in elements(data, pairs, pairs_end):
        if tag == _SEQUENCE:
            kind, kind_end = _opened(data, pair, end, _OCTETS)
            values, values_end = _opened(data, kind_end, end, _SET)
            if values_end < end:
                elements(data, values_end, end)
            attributes[_text(data, kind, kind_end)] = [
                data[a:b] for value_tag, a, b in elements(data, values, values_end) if value_tag == _OCTETS
            ]
    return Entry(message_id, decoded_dn(data[name:name_end]), attributes)


def _result(message_id: int, kind: str, data: bytes, span: tuple[int, int], controls: dict[str, bytes]) -> Result:
    """A result. Source: RFC 4511 4.1.9 and 4.12."""
    start, stop = span
    code, code_end = _opened(data, start, stop, _ENUMERATED)
    matched, matched_end = _opened(data, code_end, stop, _OCTETS)
    message, message_end = _opened(data, matched_end, stop, _OCTETS)
    referrals: tuple[str, ...] = ()
    name, credentials = "", b""
    for tag, inner, end in elements(data, message_end, stop):
        if tag == _REFERRAL:
            referrals = tuple(_text(data, a, b) for _, a, b in elements(data, inner, end))
        elif tag == _RESPONSE_NAME and kind == "extended":
            name = _text(data, inner, end)
        elif tag == _CREDENTIALS and kind == "bind":
            credentials = data[inner:end]
    return Result(
        message_id,
        kind,
        code=number(data, code, code_end),
        matched_dn=_text(data, matched, matched_end),
        message=_text(data, message, message_end),
        referrals=referrals,
        name=name,
        controls=controls,
        credentials=credentials,
    )


def _controls(data: bytes, parts: Sequence[_Element]) -> dict[str, bytes]:
    """The controls behind a message's operation, by OID. Source: RFC 4511 4.1.11."""
    controls: dict[str, bytes] = {}
    for tag, start, stop in parts:
        for inner_tag, inner, inner_end in elements(data, start, stop) if tag == _CONTROLS else ():
            if inner_tag == _SEQUENCE:
                oid, oid_end = _opened(data, inner, inner_end, _OCTETS)
                values = [data[a:b] for value_tag, a, b in elements(data, oid_end, inner_end) if value_tag == _OCTETS]
                controls[_text(data, oid, oid_end)] = values[0] if values else b""
    return controls
