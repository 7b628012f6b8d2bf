"""The codec of a login, held against ldap3 and pyasn1: the same bytes out, the same messages in; and against noise."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ldap3 import ANONYMOUS, SASL, SIMPLE
from ldap3.operation.bind import bind_operation
from ldap3.operation.search import search_operation
from ldap3.protocol import rfc4511
from ldap3.protocol.convert import build_controls_list
from ldap3.utils.asn1 import decoder, encode

from ldapauth.directory import wire
from ldapauth.directory.query import FilterTemplate, User

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For whatever runs on a busy machine: that it takes long is no failure."""

MAX_INT = 2**31 - 1
HEAD = 6
"""Bytes of the longest tag and length of a message that are taken."""

# Where BER's length takes one byte more, and around it.
LENGTHS = [0, 1, 126, 127, 128, 129, 254, 255, 256, 257, 65534, 65535, 65536]
MESSAGE_IDS = [1, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**23 - 1, 2**23, 2**24, MAX_INT - 1, MAX_INT]

message_ids = st.one_of(st.sampled_from(MESSAGE_IDS), st.integers(1, MAX_INT))
limits = st.one_of(st.sampled_from([0, 1, 2, 127, 128]), st.integers(0, MAX_INT))
texts = st.text(max_size=40)
oids = st.text("0123456789.", max_size=20)
users = st.builds(User, st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))


# Requests


def ldap3_message(message_id: int, kind: str, operation: Any, controls: Any = None) -> bytes:
    """A message as ldap3 sends it."""
    message = rfc4511.LDAPMessage()
    message["messageID"] = rfc4511.MessageID(message_id)
    message["protocolOp"] = rfc4511.ProtocolOp().setComponentByName(kind, operation)
    if controls:
        message["controls"] = build_controls_list(controls)
    return bytes(encode(message))


def ldap3_bind(message_id: int, dn: str, password: bytes, controls: Any = None) -> bytes:
    """A simple bind as ldap3 sends it."""
    anonymous = not dn and not password
    operation = bind_operation(3, ANONYMOUS if anonymous else SIMPLE, dn, password)
    return ldap3_message(message_id, "bindRequest", operation, controls)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a search asks, apart from its filter; the scopes are numbered as they are called."""

    base: str = "ou=people,dc=example,dc=com"
    scope: str = "sub"
    attributes: tuple[str, ...] = ("uid",)
    size_limit: int = 2
    time_limit: int = 4

    def ldap3(self, message_id: int, filter_text: str) -> bytes:
        """The search as ldap3 sends it: aliases are never followed, types come with their values."""
        operation = search_operation(
            self.base,
            filter_text,
            ["base", "one", "sub"].index(self.scope),
            0,
            list(self.attributes),
            self.size_limit,
            self.time_limit,
            types_only=False,
            auto_escape=False,
            auto_encode=False,
        )
        return ldap3_message(message_id, "searchRequest", operation)

    def ours(self, message_id: int, encoded_filter: bytes) -> bytes:
        """The search as we send it."""
        query = wire.Search(self.base.encode(), self.scope, self.attributes, self.size_limit, self.time_limit)
        return wire.search_request(message_id, query, encoded_filter)


def escaped(value: bytes) -> str:
    """A value as it may stand in a filter's text, every byte of it escaped (RFC 4515 3)."""
    return "".join(f"\\{byte:02x}" for byte in value)


JULIET = User("juliet", "example.com")


def both_searches(template: str, user: User = JULIET, asked: Asked | None = None, message_id: int = 2) -> list[bytes]:
    """The same search by us and by ldap3, which gets the names pasted into the text, escaped."""
    asked = asked or Asked()
    pasted = template.replace("{user}", escaped(user.name.encode())).replace("{domain}", escaped(user.domain.encode()))
    filters = FilterTemplate(template)
    filters.encode(
        User("x" * len(user.name.encode()), "example.org")
    )  # of as many bytes, so it is known what surrounds it
    return [asked.ours(message_id, filters.encode(user)), asked.ldap3(message_id, pasted)]


@pytest.mark.parametrize("message_id", MESSAGE_IDS)
def test_message_ids_are_encoded_as_by_ldap3(message_id: int) -> None:
    """A message id of any size is encoded as ldap3 encodes it, in every request."""
    assert wire.bind_request(message_id, b"cn=x", b"secret") == ldap3_bind(message_id, "cn=x", b"secret")
    assert wire.unbind_request(message_id) == ldap3_message(message_id, "unbindRequest", rfc4511.UnbindRequest(""))
    ours, theirs = both_searches("(uid={user})", message_id=message_id)
    assert ours == theirs


@pytest.mark.parametrize("length", LENGTHS)
def test_lengths_are_encoded_as_by_ldap3(length: int) -> None:
    """Values whose length takes one, two or more bytes are encoded as ldap3 encodes them."""
    assert wire.bind_request(1, b"cn=x", b"x" * (length or 1)) == ldap3_bind(1, "cn=x", b"x" * (length or 1))
    assert wire.bind_request(1, b"x" * (length or 1), b"secret") == ldap3_bind(1, "x" * (length or 1), b"secret")
    ours, theirs = both_searches("(uid={user})", User("x" * length, "example.com"))
    assert ours == theirs
    ours, theirs = both_searches("(uid={user})", asked=Asked(base="x" * length))
    assert ours == theirs


@pytest.mark.parametrize("boundary", [0x80, 0x100, 0x10000])
def test_lengths_of_messages_are_encoded_as_by_ldap3(boundary: int) -> None:
    """Messages whose own length is just below, at and above a limit of its encoding are encoded as ldap3 does it."""
    passwords = [b"x" * length for length in range(boundary - 40, boundary + 1)]
    requests = [wire.bind_request(1, b"cn=x", password) for password in passwords]
    assert requests == [ldap3_bind(1, "cn=x", password) for password in passwords]
    assert len(requests[0]) < boundary < len(requests[-1])


BINDS = {
    "plain": ("uid=juliet,ou=people,dc=example,dc=com", b"secret"),
    "anonymous": ("", b""),
    "a name that is no DN": ("juliet@example.com", b"secret"),
    "Unicode": ("cn=Юлия,dc=example,dc=com", "пароль".encode()),
    "escapes in the DN": (r"cn=a\2c\22\00b,dc=example,dc=com", b"secret"),
    "hostile password": ("cn=x", b"*)(uid=*\\2a\0\r\n"),
    "password that is not UTF-8": ("cn=x", b"\xff\xfe\x80"),
    "password of spaces": ("cn=x", b"  "),
}


@pytest.mark.parametrize(("dn", "password"), BINDS.values(), ids=BINDS)
def test_binds_are_encoded_as_by_ldap3(dn: str, password: bytes) -> None:
    """A bind has the bytes that ldap3 would send."""
    assert wire.bind_request(1, dn.encode(), password) == ldap3_bind(1, dn, password)


@UNTIMED
@given(message_ids, st.text(min_size=1, max_size=300), st.binary(min_size=1, max_size=300))
def test_any_bind_is_encoded_as_by_ldap3(message_id: int, dn: str, password: bytes) -> None:
    """Any DN, password and message id make the bytes that ldap3 would send."""
    assert wire.bind_request(message_id, dn.encode(), password) == ldap3_bind(message_id, dn, password)


@UNTIMED
@given(message_ids, st.sampled_from(["EXTERNAL", "GSSAPI"]), st.binary(max_size=300))
def test_any_step_of_a_sasl_bind_is_encoded_as_by_ldap3(message_id: int, mechanism: str, credentials: bytes) -> None:
    """Any mechanism and credentials make the bytes that ldap3 would send."""
    theirs = bind_operation(3, SASL, "", None, mechanism, credentials)
    expected = ldap3_message(message_id, "bindRequest", theirs)
    assert wire.sasl_request(message_id, mechanism, credentials) == expected


FILTERS = [
    "(uid={user})",
    "(mail={user}@{domain})",
    "(&(uid={user}))",
    "(&(objectClass=person)(uid={user}))",
    "(|(uid={user})(mail={user}@{domain})(cn=prefix {user} suffix))",
    "(&(uid={user})(!(locked=TRUE)))",
    "(&(uid={user})(!(uid={user})))",
    "(&(uid={user})(!(|(a=b)(!(c={domain})))))",
    "(&(uid={user})(mail=*))",
    "(&(uid={user})(cn=a*))",
    "(&(uid={user})(cn=*a))",
    "(&(uid={user})(cn=*a*))",
    "(&(uid={user})(cn=a*b*c*d))",
    "(&(uid={user})(cn=a**d))",
    "(&(uid={user})(cn={user}*{domain}*{user}))",
    "(&(uid={user})(age>=18)(age<=99)(cn~={user}))",
    "(&(uid={user})(cn:=x))",
    "(&(uid={user})(cn:dn:=x))",
    "(&(uid={user})(cn:2.5.13.5:={user}))",
    "(&(uid={user})(cn:dn:2.5.13.5:={domain}))",
    "(&(uid={user})(:2.5.13.5:=x))",
    "(&(uid={user})(:dn:2.5.13.5:=x))",
    "(&(uid={user})(userAccountControl:1.2.840.113556.1.4.803:=2))",
    "(&(uid={user})(cn;lang-en=x)(2.5.4.3=y))",
    "(&(uid={user})(cn=))",
    r"(&(uid={user})(cn=\2a\28\29\5c\00\ff))",
    r"(&(uid={user})(cn=a\2Ab))",
    "(&(uid={user})(cn=Юлия=ß<>~))",
    "( & ( uid = {user} ) ( cn = x y ) )",
    "(&\n  (uid={user})\n  (cn=x)\n)",
]
NAMES = ["juliet", "*", ")(uid=*", "\\2a", "\0", "Юлия", " juliet ", "{user}", "{domain}", "x" * 300]


@given(
    message_ids, st.lists(st.tuples(oids, st.booleans(), st.none() | st.binary(max_size=200)), min_size=1, max_size=3)
)
@UNTIMED
def test_any_controls_of_a_bind_are_encoded_as_by_ldap3(
    message_id: int, controls: list[tuple[str, bool, bytes | None]]
) -> None:
    """A bind with controls, critical or not, with a value or none, is encoded as ldap3 encodes it."""
    encoded = wire.control_list(*(wire.control(oid, value, critical=critical) for oid, critical, value in controls))
    assert wire.bind_request(message_id, b"cn=x", b"secret", encoded) == ldap3_bind(
        message_id, "cn=x", b"secret", controls
    )


@pytest.mark.parametrize("template", FILTERS)
def test_filters_are_encoded_as_by_ldap3(template: str) -> None:
    """A search with a filter of each kind has the bytes that ldap3 would send for the same filter, whoever is asked."""
    for name in NAMES:
        ours, theirs = both_searches(template, User(name, "example.com"))
        assert ours == theirs


# A filter's text. Braces would be placeholders, and these five have to be escaped (RFC 4515 3).
plain_values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}()*\\\0"), max_size=8)
escaped_values = st.binary(max_size=6).filter(lambda value: not set(value) & set(b"{}")).map(escaped)
values = st.lists(st.one_of(plain_values, escaped_values), max_size=3).map("".join)
# Beside a placeholder a value must be text.
filled_values = st.lists(st.one_of(plain_values, st.sampled_from(["{user}", "{domain}"])), max_size=3).map("".join)
attributes = st.sampled_from(["uid", "cn", "objectClass", "userCertificate;binary", "x-1", "2.5.4.3"])
rules = st.sampled_from(["", ":caseExactMatch", ":2.5.13.5"])


def wildcards(pieces: list[str]) -> str:
    """A value with a `*` between the pieces."""
    return "*".join(pieces)


assertions = st.one_of(
    st.builds("({}{}{})".format, attributes, st.sampled_from(["=", "~=", ">=", "<="]), values | filled_values),
    st.builds("({}=*)".format, attributes),
    st.builds(
        "({}={})".format,
        attributes,
        st.lists(filled_values, min_size=2, max_size=4)
        .filter(lambda pieces: any(map(str.strip, pieces)))
        .map(wildcards),
    ),
    st.builds("({}{}{}:={})".format, attributes, st.sampled_from(["", ":dn"]), rules, values | filled_values),
    st.builds("({}{}:={})".format, st.sampled_from(["", ":dn"]), st.just(":2.5.13.5"), values),
)
filters = st.recursive(
    assertions,
    lambda inner: st.one_of(
        st.builds("(!{})".format, inner),
        st.builds("({}{})".format, st.sampled_from("&|"), st.lists(inner, min_size=1, max_size=3).map("".join)),
    ),
    max_leaves=6,
)
searches = st.builds(
    Asked,
    base=texts,
    scope=st.sampled_from(["base", "one", "sub"]),
    attributes=st.lists(texts, max_size=4).map(tuple),
    size_limit=limits,
    time_limit=limits,
)


@settings(UNTIMED, max_examples=200)
@given(message_ids, filters, users)
def test_any_filter_is_encoded_as_by_ldap3(message_id: int, generated: str, user: User) -> None:
    """Any filter beside the one that names the user, and any user, make the bytes that ldap3 would send."""
    ours, theirs = both_searches(f"(&(uid={{user}}){generated})", user, message_id=message_id)
    assert ours == theirs


@UNTIMED
@given(message_ids, searches)
def test_any_search_is_encoded_as_by_ldap3(message_id: int, asked: Asked) -> None:
    """Any base, scope, attributes and limits make the bytes that ldap3 would send."""
    ours, theirs = both_searches("(uid={user})", asked=asked, message_id=message_id)
    assert ours == theirs


# Answers


def ldap_result(kind: Callable[[], Any], code: int, dn: str, said: str | bytes, urls: Sequence[str] = ()) -> Any:
    """The components that every result has."""
    result = kind()
    result["resultCode"] = rfc4511.ResultCode(code)
    result["matchedDN"] = rfc4511.LDAPDN(dn)
    result["diagnosticMessage"] = rfc4511.LDAPString(said)
    if urls:
        result["referral"] = rfc4511.Referral()
        result["referral"].extend(urls)
    return result


def bind_response(code: int, dn: str, said: str | bytes, urls: Sequence[str] = (), sasl: bytes = b"") -> Any:
    """A BindResponse."""
    result = ldap_result(rfc4511.BindResponse, code, dn, said, urls)
    if sasl:
        result["serverSaslCreds"] = sasl
    return result


def done(code: int, dn: str, said: str | bytes, urls: Sequence[str] = ()) -> Any:
    """A SearchResultDone."""
    return ldap_result(rfc4511.SearchResultDone, code, dn, said, urls)


def extended_response(code: int, said: str, name: str = "", value: bytes = b"") -> Any:
    """An ExtendedResponse."""
    result = ldap_result(rfc4511.ExtendedResponse, code, "", said)
    if name:
        result["responseName"] = rfc4511.ResponseName(name)
    if value:
        result["responseValue"] = rfc4511.ResponseValue(value)
    return result


def intermediate(name: str = "", value: bytes = b"") -> Any:
    """An IntermediateResponse."""
    response = rfc4511.IntermediateResponse()
    response["responseName"] = rfc4511.IntermediateResponseName(name)
    response["responseValue"] = rfc4511.IntermediateResponseValue(value)
    return response


def entry(dn: str | bytes, attributes: Iterable[tuple[str, list[bytes]]]) -> Any:
    """A SearchResultEntry."""
    result = rfc4511.SearchResultEntry()
    result["object"] = rfc4511.LDAPDN(dn)
    result["attributes"] = rfc4511.PartialAttributeList()
    result["attributes"].clear()
    for name, attribute_values in attributes:
        attribute = rfc4511.PartialAttribute()
        attribute["type"] = name
        attribute["vals"] = rfc4511.Vals()
        attribute["vals"].clear()
        attribute["vals"].extend(attribute_values)
        result["attributes"].append(attribute)
    return result


def reference(urls: Sequence[str]) -> Any:
    """A SearchResultReference."""
    result = rfc4511.SearchResultReference()
    result.extend(urls)
    return result


NOTICE_OF_DISCONNECTION = "1.3.6.1.4.1.1466.20036"

ANSWERS = {
    "bind: success": ldap3_message(1, "bindResponse", bind_response(0, "", "")),
    "bind: invalid credentials": ldap3_message(1, "bindResponse", bind_response(49, "", "nö")),
    "bind: everything": ldap3_message(
        MAX_INT,
        "bindResponse",
        bind_response(10, "dc=x", "elsewhere", ["ldap://a", "ldap://b/dc=x"], b"\0creds"),
        [("1.3.6.1.4.1.42.2.27.8.5.1", False, b"\x30\x00"), ("1.2.3", True, None), ("2.16.840", True, b"")],
    ),
    "done: success": ldap3_message(2, "searchResDone", done(0, "", "")),
    "done: no such object": ldap3_message(2, "searchResDone", done(32, "dc=example,dc=com", "no such object")),
    "done: referral": ldap3_message(2, "searchResDone", done(10, "", "", ["ldap://other.example.com/dc=x??sub"])),
    "done: not UTF-8": ldap3_message(2, "searchResDone", done(80, "", b"\xff\xe9")),
    "done: control": ldap3_message(2, "searchResDone", done(0, "", ""), [("1.2.840.113556.1.4.474", False, b"x")]),
    "entry": ldap3_message(3, "searchResEntry", entry("uid=juliet,dc=x", [("uid", [b"juliet"])])),
    "entry: many values": ldap3_message(
        300, "searchResEntry", entry("uid=x", [("uid", [b"a", b"", b"\xff\0"]), ("cn;lang-en", []), ("mail", [b"c"])])
    ),
    "entry: no attributes": ldap3_message(3, "searchResEntry", entry("", [])),
    "entry: DN not UTF-8": ldap3_message(3, "searchResEntry", entry(b"cn=\xe9,dc=x", [])),
    "entry: long": ldap3_message(3, "searchResEntry", entry("uid=x", [("userCertificate;binary", [bytes(200)])])),
    "entry: control": ldap3_message(3, "searchResEntry", entry("uid=x", []), [("1.2.3", False, b"x")]),
    "reference": ldap3_message(4, "searchResRef", reference(["ldap://a/dc=x", "ldap://b"])),
    "extended: StartTLS": ldap3_message(5, "extendedResp", extended_response(0, "", "1.3.6.1.4.1.1466.20037")),
    "extended: value": ldap3_message(5, "extendedResp", extended_response(0, "", value=b"\x30\x00")),
    "extended: disconnection": ldap3_message(0, "extendedResp", extended_response(52, "bye", NOTICE_OF_DISCONNECTION)),
    "intermediate": ldap3_message(6, "intermediateResponse", intermediate("1.3.6.1.4.1.4203.1.9.1.4", b"cookie")),
}
EACH_ANSWER = pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS)
NEXT = ANSWERS["bind: success"]


def text_of(value: Any) -> str:
    """An LDAPString as text; what is not UTF-8 in it as escapes."""
    return bytes(value).decode("utf-8", "backslashreplace")


def optional(component: Any) -> Any:
    """A component, or None where it is not given."""
    return component if component is not None and component.isValue else None


def expected(data: bytes) -> wire.Message:
    """The message as pyasn1 decodes it by ldap3's specification."""
    message, rest = decoder.decode(data, asn1Spec=rfc4511.LDAPMessage())
    assert not rest
    message_id, kind, operation = int(message["messageID"]), *_operation(message)
    if kind == "searchResEntry":
        dn = bytes(operation["object"]).decode("utf-8", "surrogateescape")
        found = {text_of(item["type"]): [bytes(value) for value in item["vals"]] for item in operation["attributes"]}
        return wire.Entry(message_id, dn, found)
    if kind == "searchResRef":
        return wire.Reference(message_id)
    if kind == "intermediateResponse":
        return wire.Intermediate(message_id)
    return wire.Result(
        message_id,
        {"bindResponse": "bind", "searchResDone": "search", "extendedResp": "extended"}[kind],
        int(operation["resultCode"]),
        text_of(operation["matchedDN"]),
        text_of(operation["diagnosticMessage"]),
        tuple(text_of(url) for url in optional(operation["referral"]) or ()),
        text_of(optional(operation["responseName"]) or b"") if kind == "extendedResp" else "",
        {
            text_of(control["controlType"]): bytes(optional(control["controlValue"]) or b"")
            for control in optional(message["controls"]) or ()
        },
        bytes(optional(operation["serverSaslCreds"]) or b"") if kind == "bindResponse" else b"",
    )


def _operation(message: Any) -> tuple[str, Any]:
    return message["protocolOp"].getName(), message["protocolOp"].getComponent()


def read(*pieces: bytes) -> list[wire.Message]:
    """All messages in what came in these pieces, with the reader's memory watched."""
    reader = wire.Reader()
    messages = []
    for piece in pieces:
        reader.feed(piece)
        assert len(reader._data) - reader._offset <= wire.MAX_MESSAGE + HEAD + len(piece)
        while (message := reader.next_message()) is not None:
            messages.append(message)
    return messages


def single_bytes(data: bytes) -> list[bytes]:
    """The data, byte by byte."""
    return [data[index : index + 1] for index in range(len(data))]


@EACH_ANSWER
def test_an_answer_is_decoded_as_by_ldap3(data: bytes) -> None:
    """A whole message is decoded as pyasn1 decodes it by ldap3's specification, and nothing is left of it."""
    reader = wire.Reader()
    reader.feed(data)
    assert not reader.empty
    assert reader.next_message() == expected(data)
    assert reader.empty
    assert reader.next_message() is None


@EACH_ANSWER
def test_an_answer_may_come_byte_by_byte(data: bytes) -> None:
    """A message that comes in single bytes is the same message."""
    assert read(*single_bytes(data)) == [expected(data)]


@EACH_ANSWER
def test_an_answer_may_be_followed_by_another(data: bytes) -> None:
    """A message that comes at once with others is decoded by itself, and the others after it."""
    assert read(data + NEXT + data) == [expected(data), expected(NEXT), expected(data)]


@EACH_ANSWER
def test_an_answer_may_be_followed_by_a_part_of_another(data: bytes) -> None:
    """What follows a message stays until the rest of it has come."""
    for cut in range(1, len(NEXT)):
        assert read(data + NEXT[:cut], NEXT[cut:]) == [expected(data), expected(NEXT)]


@EACH_ANSWER
def test_an_answer_may_be_followed_by_garbage(data: bytes) -> None:
    """A message in front of what is none is given out before the error."""
    reader = wire.Reader()
    reader.feed(data + b"HTTP/1.1 400 Bad Request")
    assert reader.next_message() == expected(data)
    with pytest.raises(wire.ProtocolError):
        reader.next_message()


@EACH_ANSWER
def test_an_answer_that_is_cut_off_is_no_error(data: bytes) -> None:
    """Any beginning of a message gives nothing until the rest has come."""
    for cut in range(len(data)):
        assert read(data[:cut]) == []
        assert read(data[:cut], data[cut:]) == [expected(data)]


@EACH_ANSWER
def test_a_damaged_answer_is_a_message_or_an_error(data: bytes) -> None:
    """A message with any one byte changed to any other gives messages, nothing, or ProtocolError."""
    for index, byte in itertools.product(range(len(data)), range(256)):
        only_protocol_errors(data[:index] + bytes((byte,)) + data[index + 1 :])


@EACH_ANSWER
def test_an_answer_with_bytes_missing_is_a_message_or_an_error(data: bytes) -> None:
    """A message with a byte taken out, doubled, or all cut short gives messages, nothing, or ProtocolError."""
    for index in range(len(data)):
        only_protocol_errors(data[:index] + data[index + 1 :] + NEXT)
        only_protocol_errors(data[:index] + data[index : index + 1] + data[index:] + NEXT)
        only_protocol_errors(data[:index] + NEXT)


def only_protocol_errors(*pieces: bytes) -> None:
    """Reads to the end or to a ProtocolError; whatever else is raised fails the test."""
    try:
        read(*pieces)
    except wire.ProtocolError:
        return


codes = st.sampled_from([0, 1, 2, 3, 4, 7, 8, 10, 19, 32, 34, 48, 49, 50, 51, 52, 53, 80, 118, 4096])
octets = st.binary(max_size=40)
urls = st.lists(texts, max_size=3)
controls = st.lists(st.tuples(oids, st.booleans(), st.none() | octets), max_size=3)
operations = st.one_of(
    st.tuples(st.just("bindResponse"), st.builds(bind_response, codes, texts, texts | octets, urls, octets)),
    st.tuples(st.just("searchResDone"), st.builds(done, codes, texts, texts | octets, urls)),
    st.tuples(st.just("extendedResp"), st.builds(extended_response, codes, texts, oids, octets)),
    st.tuples(st.just("intermediateResponse"), st.builds(intermediate, oids, octets)),
    st.tuples(st.just("searchResRef"), st.builds(reference, st.lists(texts, min_size=1, max_size=3))),
    st.tuples(
        st.just("searchResEntry"),
        st.builds(entry, texts | octets, st.lists(st.tuples(texts, st.lists(octets, max_size=3)), max_size=4)),
    ),
)
answers = st.builds(
    lambda message_id, operation, given: ldap3_message(message_id, operation[0], operation[1], given),
    st.one_of(st.just(0), message_ids),
    operations,
    controls,
)


@EACH_ANSWER
def test_an_answer_that_comes_alone_is_known_by_its_bytes(data: bytes) -> None:
    """A message that is all that came is what the reader makes of it, the first time and every other time."""
    assert wire.sole_message(data) == expected(data)
    assert wire.sole_message(bytes(bytearray(data))) is wire.sole_message(data)


@EACH_ANSWER
def test_an_answer_that_does_not_come_alone_is_not_known_by_its_bytes(data: bytes) -> None:
    """A part of a message, and a message with anything behind it, are left to the reader."""
    assert {wire.sole_message(data[:cut]) for cut in range(len(data))} == {None}
    assert wire.sole_message(data + NEXT) is None
    assert wire.sole_message(data + b"\x30") is None


def found(message_id: int, dn: bytes, kind: str, values: list[bytes]) -> bytes:
    """An entry and the success of the search, as ldap3 would send them."""
    one = ldap3_message(message_id, "searchResEntry", entry(dn, [(kind, values)]))
    return one + ldap3_message(message_id, "searchResDone", done(0, "", ""))


def known(data: bytes, message_id: int, kind: bytes, value: bytes) -> bytes | None:
    """The DN, if the bytes are the whole of the expected answer."""
    begun = wire.sole_entry(data, message_id, kind, value)
    return begun[0] if begun and begun[1] == wire.search_success(message_id) else None


SHORT_IDS = st.integers(1, wire.LAST_MESSAGE_ID)


@UNTIMED
@given(
    SHORT_IDS,
    st.binary(min_size=1, max_size=60),
    st.sampled_from(["uid", "cn", "sAMAccountName"]),
    st.binary(max_size=60),
)
def test_any_sole_entry_is_known_by_its_bytes(message_id: int, dn: bytes, kind: str, value: bytes) -> None:
    """The expected entry alone gives its DN, where every length fits into a byte; else it is left to the reader."""
    data = found(message_id, dn, kind, [value])
    short = len(data) - 16 < 0x80
    assert known(data, message_id, kind.encode(), value) == (dn if short else None)


@pytest.mark.parametrize(
    "data",
    [
        found(8, b"uid=x", "uid", [b"juliet"]),
        found(7, b"uid=x", "uid", [b"Juliet"]),
        found(7, b"uid=x", "UID", [b"juliet"]),
        found(7, b"uid=x", "uid", [b"juliet", b"juliet"]),
        found(7, b"uid=x", "uid", []),
        found(7, b"", "uid", [b"juliet"]),
        found(7, b"uid=x", "uid", [b"juliet"])[:-1],
        found(7, b"uid=x", "uid", [b"juliet"]) + b"\x30",
        found(7, b"uid=x", "uid", [b"juliet"]) + NEXT,
        found(7, b"uid=x", "uid", [b"juliet"])[:-14],
        b"",
        bytes(20),
    ],
    ids=[
        "another id", "another case", "another attribute", "two values", "no value", "no DN", "cut off", "more behind",
        "a message behind", "no end", "nothing", "NULs",
    ],
)  # fmt: skip
def test_what_is_not_the_sole_entry_is_left_to_the_reader(data: bytes) -> None:
    """Anything but the very bytes of the expected answer has no DN at a glance."""
    assert known(data, 7, b"uid", b"juliet") is None


@pytest.mark.parametrize(
    "rest", [b"", b"\x30", wire.search_success(7)[:-1], wire.search_success(8), NEXT], ids=lambda rest: rest.hex()
)
def test_what_comes_behind_the_sole_entry_is_given(rest: bytes) -> None:
    """An entry that is as expected is known whatever follows, and that is left to be looked at."""
    one = found(7, b"uid=x", "uid", [b"juliet"])[:-14]
    assert wire.sole_entry(one + rest, 7, b"uid", b"juliet") == (b"uid=x", rest)


@pytest.mark.parametrize("message_id", [7, 100, 127])
def test_no_end_of_a_search_is_taken_for_an_entry(message_id: int) -> None:
    """An end with words of any length is no entry, whatever byte of its length or id looks like one."""
    for length in range(300):
        end = ldap3_message(message_id, "searchResDone", done(0, "", "x" * length))
        assert wire.sole_entry(end, message_id, b"uid", b"juliet") is None


def test_the_success_of_a_search_is_encoded_as_by_ldap3() -> None:
    """The end of a search that is known by its bytes has those that ldap3 makes of it, for each message id."""
    for number in range(1, wire.LAST_MESSAGE_ID + 1):
        assert wire.search_success(number) == ldap3_message(number, "searchResDone", done(0, "", ""))


@UNTIMED
@given(st.data())
def test_any_damage_to_a_sole_entry_is_seen(data: st.DataObject) -> None:
    """Whatever is known by its bytes is what the reader makes of them, however they were damaged."""
    whole = bytearray(found(7, data.draw(st.binary(min_size=1, max_size=40)), "uid", [b"juliet"]))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[data.draw(st.integers(0, 2)) : len(whole) - data.draw(st.integers(0, 2))])
    dn = known(cut, 7, b"uid", b"juliet")
    if dn is not None:
        entry_of = wire.Entry(7, wire.decoded_dn(dn), {"uid": [b"juliet"]})
        assert read(cut) == [entry_of, wire.Result(7, "search", 0)]


@settings(UNTIMED, max_examples=200)
@given(st.lists(answers, min_size=1, max_size=3), st.data())
def test_any_answers_are_decoded_as_by_ldap3(messages: list[bytes], data: st.DataObject) -> None:
    """Any messages one after another, in pieces of any size, are decoded as pyasn1 decodes them."""
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(stream)])]
    assert read(*pieces) == [expected(message) for message in messages]


# What ldap3 does not send


def message(*elements: bytes) -> bytes:
    """A message of these elements."""
    return wire.tlv(0x30, b"".join(elements))


def text(value: bytes) -> bytes:
    """An OCTET STRING."""
    return wire.tlv(0x04, value)


def sequence(*elements: bytes) -> bytes:
    """A SEQUENCE."""
    return wire.tlv(0x30, b"".join(elements))


ID = b"\x02\x01\x05"
SUCCESS = b"\x0a\x01\x00\x04\x00\x04\x00"
UID = sequence(text(b"uid"), wire.tlv(0x31, text(b"juliet")))
UNKNOWN = wire.tlv(0x9E, b"new") + wire.tlv(0xBE, text(b"new")) + wire.tlv(0x0C, b"new") + wire.tlv(0xDE, b"\xff")

BIND = wire.Result(5, "bind", 0)
FOUND = wire.Entry(5, "uid=juliet", {"uid": [b"juliet"]})

WITH_UNKNOWN = {
    "behind a bind's result": (message(ID, wire.tlv(0x61, SUCCESS + UNKNOWN)), BIND),
    "an extended response's name behind a bind's result": (
        message(ID, wire.tlv(0x61, SUCCESS + wire.tlv(0x8A, b"1.2.3"))),
        BIND,
    ),
    "behind a referral": (
        message(ID, wire.tlv(0x61, SUCCESS + wire.tlv(0xA3, text(b"ldap://a")) + UNKNOWN)),
        dataclasses.replace(BIND, referrals=("ldap://a",)),
    ),
    "behind a search's result": (
        message(ID, wire.tlv(0x65, SUCCESS + UNKNOWN)),
        dataclasses.replace(BIND, kind="search"),
    ),
    "behind an extended result": (
        message(ID, wire.tlv(0x78, SUCCESS + wire.tlv(0x8A, b"1.2.3") + UNKNOWN)),
        dataclasses.replace(BIND, kind="extended", name="1.2.3"),
    ),
    "behind the operation": (message(ID, wire.tlv(0x61, SUCCESS), UNKNOWN), BIND),
    "behind the controls": (
        message(ID, wire.tlv(0x61, SUCCESS), wire.tlv(0xA0, sequence(text(b"1.2"), text(b"x"))), UNKNOWN),
        dataclasses.replace(BIND, controls={"1.2": b"x"}),
    ),
    "in a control": (
        message(
            ID, wire.tlv(0x61, SUCCESS), wire.tlv(0xA0, sequence(text(b"1.2"), b"\x01\x01\xff", text(b"x"), UNKNOWN))
        ),
        dataclasses.replace(BIND, controls={"1.2": b"x"}),
    ),
    "among the controls": (
        message(ID, wire.tlv(0x61, SUCCESS), wire.tlv(0xA0, UNKNOWN + sequence(text(b"1.2"), text(b"x")))),
        dataclasses.replace(BIND, controls={"1.2": b"x"}),
    ),
    "behind an entry's attributes": (
        message(ID, wire.tlv(0x64, text(b"uid=juliet") + sequence(UID) + UNKNOWN)),
        FOUND,
    ),
    "among an entry's attributes": (
        message(ID, wire.tlv(0x64, text(b"uid=juliet") + sequence(UNKNOWN, UID, UNKNOWN))),
        FOUND,
    ),
    "in an attribute": (
        message(
            ID,
            wire.tlv(
                0x64,
                text(b"uid=juliet") + sequence(sequence(text(b"uid"), wire.tlv(0x31, text(b"juliet")), UNKNOWN)),
            ),
        ),
        FOUND,
    ),
    "among an attribute's values": (
        message(
            ID,
            wire.tlv(
                0x64,
                text(b"uid=juliet") + sequence(sequence(text(b"uid"), wire.tlv(0x31, UNKNOWN + text(b"juliet")))),
            ),
        ),
        FOUND,
    ),
    "behind an entry": (message(ID, wire.tlv(0x64, text(b"uid=juliet") + sequence(UID)), UNKNOWN), FOUND),
    "in a reference": (message(ID, wire.tlv(0x73, text(b"ldap://a") + UNKNOWN), UNKNOWN), wire.Reference(5)),
    "in an intermediate response": (message(ID, wire.tlv(0x79, UNKNOWN), UNKNOWN), wire.Intermediate(5)),
}


@pytest.mark.parametrize(("data", "known"), WITH_UNKNOWN.values(), ids=WITH_UNKNOWN)
def test_unknown_elements_are_skipped(data: bytes, known: wire.Message) -> None:
    """Elements that RFC 4511 does not know, wherever its section 4 lets them come, are as if they were not there."""
    assert read(data) == [known]
    assert read(*single_bytes(data), NEXT) == [known, expected(NEXT)]


# Active Directory writes every length in four bytes more.
LONG_LENGTHS = {
    "of the message": b"\x30\x84\x00\x00\x00\x0c" + ID + b"\x61\x07" + SUCCESS,
    "of the message, in two bytes": b"\x30\x82\x00\x0c" + ID + b"\x61\x07" + SUCCESS,
    "of the message, in one byte": b"\x30\x81\x0c" + ID + b"\x61\x07" + SUCCESS,
    "of the operation": message(ID, b"\x61\x84\x00\x00\x00\x07" + SUCCESS),
    "of the message id": message(b"\x02\x84\x00\x00\x00\x01\x05", b"\x61\x07" + SUCCESS),
    "of the result code": message(ID, wire.tlv(0x61, b"\x0a\x81\x01\x00\x04\x82\x00\x00\x04\x84\x00\x00\x00\x00")),
}


@pytest.mark.parametrize("data", LONG_LENGTHS.values(), ids=LONG_LENGTHS)
def test_lengths_may_take_more_bytes_than_they_need(data: bytes) -> None:
    """A length in more bytes than needed, up to four, is read as that length, as X.690 8.1.3.5 allows."""
    assert read(data) == [BIND]
    assert read(*single_bytes(data)) == [BIND]


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (b"\x00", 0),
        (b"\x7f", 127),
        (b"\x00\x80", 128),
        (b"\x7f\xff\xff\xff", MAX_INT),
        (b"\x00\x05", 5),
        (b"\x00\x00\x00\x00\x05", 5),
        (b"\x00\x7f\xff\xff\xff", MAX_INT),
    ],
    ids=["0", "127", "128", "2^31-1", "5 in two bytes", "5 in five bytes", "2^31-1 in five bytes"],
)
def test_numbers_from_0_to_the_largest(number: bytes, value: int) -> None:
    """A message id or result code from 0 to 2^31-1 is read, also with a leading zero too many."""
    data = message(wire.tlv(0x02, number), wire.tlv(0x61, wire.tlv(0x0A, number) + b"\x04\x00\x04\x00"))
    assert read(data) == [wire.Result(value, "bind", value)]


IMPOSSIBLE_NUMBERS = pytest.mark.parametrize(
    "number",
    [
        b"",
        b"\xff",
        b"\x80",
        b"\xff\xff\xff\xff",
        b"\x00\x80\x00\x00\x00",
        b"\x7f\xff\xff\xff\xff",
        b"\0" * 6,
        b"\0" * 300,
    ],
    ids=["empty", "-1", "-128", "-1 in four bytes", "2^31", "2^39-1", "six bytes", "300 bytes"],
)


@IMPOSSIBLE_NUMBERS
def test_impossible_message_ids(number: bytes) -> None:
    """A message id that is negative, larger than 2^31-1 or longer than five bytes is an error."""
    with pytest.raises(wire.ProtocolError):
        read(message(wire.tlv(0x02, number), wire.tlv(0x61, SUCCESS)))


@IMPOSSIBLE_NUMBERS
def test_impossible_result_codes(number: bytes) -> None:
    """A result code that is negative, larger than 2^31-1 or longer than five bytes is an error, and no success."""
    with pytest.raises(wire.ProtocolError):
        read(message(ID, wire.tlv(0x61, wire.tlv(0x0A, number) + b"\x04\x00\x04\x00")))


IMPOSSIBLE = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n",
    "TLS": b"\x15\x03\x03\x00\x02\x02\x28",
    "NUL": b"\0",
    "another tag": b"\x31",
    "indefinite length": b"\x30\x80",
    "a length of five bytes": b"\x30\x85",
    "a length of 127 bytes": b"\x30\xff",
    "1 GB": b"\x30\x84\x40\x00\x00\x00",
    "4 GB": b"\x30\x84\xff\xff\xff\xff",
    "one byte more than a message may have": b"\x30\x83" + (wire.MAX_MESSAGE + 1).to_bytes(3, "big"),
    "an empty message": b"\x30\x00",
    "a message with an id alone": message(ID),
    "an id of another type": message(b"\x04\x01\x05", wire.tlv(0x61, SUCCESS)),
    "a bind request": wire.bind_request(1, b"", b""),
    "a search request": wire.search_request(1, wire.Search(b"", "base", (), 0, 0), wire.tlv(wire.PRESENT, b"x")),
    "an unbind request": wire.unbind_request(1),
    "a modify response": message(ID, wire.tlv(0x67, SUCCESS)),
    "an empty bind response": message(ID, b"\x61\x00"),
    "a bind response without a code": message(ID, wire.tlv(0x61, b"\x04\x00\x04\x00")),
    "a bind response without a message": message(ID, wire.tlv(0x61, b"\x0a\x01\x00\x04\x00")),
    "a result code of another type": message(ID, wire.tlv(0x61, b"\x02\x01\x00\x04\x00\x04\x00")),
    "a bind response longer than the message": message(ID, b"\x61\x08" + SUCCESS),
    "a DN longer than the result": message(ID, wire.tlv(0x61, b"\x0a\x01\x00\x04\x7f\x04\x00")),
    "an element of indefinite length": message(ID, b"\x61\x80" + SUCCESS + b"\0\0"),
    "an empty element of indefinite length": message(ID, wire.tlv(0x61, SUCCESS + b"\xa3\x80")),
    "a length of no bytes that are there": message(ID, wire.tlv(0x61, SUCCESS + b"\xa3\x84")),
    "one byte behind the result": message(ID, wire.tlv(0x61, SUCCESS + b"\x87")),
    "a text that reaches into the controls": message(
        ID, wire.tlv(0x61, b"\x0a\x01\x00\x04\x00\x04\x02"), wire.tlv(0xA0, sequence(text(b"1.2")))
    ),
    "a value that reaches into the next attribute": message(
        ID, wire.tlv(0x64, text(b"uid=x") + sequence(sequence(text(b"uid"), b"\x31\x02\x04\x06"), UID))
    ),
    "a tag of several bytes": message(ID, wire.tlv(0x61, SUCCESS + b"\x9f\x21\x00")),
    "a tag of several bytes that could be a length": message(ID, wire.tlv(0x61, SUCCESS + b"\x9f\x81\x01\x00")),
    "one byte behind the operation": message(ID, wire.tlv(0x61, SUCCESS), b"\xa0"),
    "a control without an OID": message(ID, wire.tlv(0x61, SUCCESS), wire.tlv(0xA0, sequence())),
    "an entry without attributes": message(ID, wire.tlv(0x64, text(b"uid=x"))),
    "an entry without a DN": message(ID, wire.tlv(0x64, sequence(UID))),
    "an attribute without values": message(ID, wire.tlv(0x64, text(b"uid=x") + sequence(sequence(text(b"uid"))))),
    "an attribute without a name": message(ID, wire.tlv(0x64, text(b"uid=x") + sequence(sequence(b"\x31\x00")))),
    "values in a sequence": message(
        ID, wire.tlv(0x64, text(b"uid=x") + sequence(sequence(text(b"uid"), sequence(text(b"x")))))
    ),
}


@pytest.mark.parametrize("data", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    """Bytes that can't be an answer to a login are an error as soon as they are there, in one piece or many."""
    with pytest.raises(wire.ProtocolError):
        read(data)
    with pytest.raises(wire.ProtocolError):
        read(*single_bytes(data))


def largest(size: int) -> bytes:
    """An entry in a message whose content has this size."""
    empty = message(ID, wire.tlv(0x64, text(b"") + sequence(sequence(text(b"x"), wire.tlv(0x31, text(b"\0" * 70000))))))
    value = b"\0" * (70000 + size - (len(empty) - 5))
    return message(ID, wire.tlv(0x64, text(b"") + sequence(sequence(text(b"x"), wire.tlv(0x31, text(value))))))


def test_the_largest_message_is_read() -> None:
    """A message of exactly the largest size is read, in pieces as sockets give them, with another one behind it."""
    data = largest(wire.MAX_MESSAGE) + NEXT
    assert data[:5] == b"\x30\x83\x10\x00\x00"
    messages = read(*(data[start : start + 65536] for start in range(0, len(data), 65536)))
    assert isinstance(messages[0], wire.Entry)
    assert len(messages[0].attributes["x"][0]) > wire.MAX_MESSAGE - 100
    assert messages[1:] == [expected(NEXT)]


def test_a_larger_message_is_refused_by_its_head() -> None:
    """A message that says to be larger than the largest is an error before anything of it is kept."""
    head = largest(wire.MAX_MESSAGE + 1)[:5]
    assert read(head[:4]) == []
    with pytest.raises(wire.ProtocolError):
        read(head)


def test_memory_is_limited_for_whoever_sends_without_end() -> None:
    """A server that sends the largest message and never stops fills no more memory than that message and one piece."""
    piece = b"\0" * 65536
    with pytest.raises(wire.ProtocolError):
        read(b"\x30\x83\x10\x00\x00", *itertools.repeat(piece, 1000))


@settings(UNTIMED, max_examples=300)
@given(st.lists(st.binary(max_size=64), max_size=8))
def test_any_bytes_are_messages_or_an_error(pieces: list[bytes]) -> None:
    """Any bytes in any pieces give messages, nothing, or ProtocolError."""
    only_protocol_errors(*pieces)


tags = st.sampled_from([0x01, 0x02, 0x04, 0x0A, 0x30, 0x31, 0x61, 0x64, 0x65, 0x73, 0x78, 0x79, 0x8A, 0xA0, 0xA3, 0x9F])
contents = st.recursive(
    st.binary(max_size=6),
    lambda inner: st.lists(st.builds(wire.tlv, tags, inner), max_size=4).map(b"".join),
    max_leaves=20,
)


@settings(UNTIMED, max_examples=300)
@given(contents, contents)
def test_any_elements_are_messages_or_an_error(operation: bytes, rest: bytes) -> None:
    """Well-formed elements in any order and depth give messages, nothing, or ProtocolError."""
    for tag in (0x61, 0x64, 0x65, 0x73, 0x78, 0x79):
        only_protocol_errors(message(ID, wire.tlv(tag, operation), rest), NEXT)


@settings(UNTIMED, max_examples=200)
@given(st.data())
def test_any_damage_to_answers_gives_messages_or_an_error(data: st.DataObject) -> None:
    """Messages with any bytes overwritten, in any pieces, give messages, nothing, or ProtocolError."""
    stream = bytearray(b"".join(data.draw(st.lists(st.sampled_from(list(ANSWERS.values())), min_size=1, max_size=3))))
    for index in data.draw(st.lists(st.integers(0, len(stream) - 1), max_size=6)):
        stream[index] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(stream)))
    only_protocol_errors(bytes(stream[:cut]), bytes(stream[cut:]))


def test_a_reader_goes_on_raising_nothing_else() -> None:
    """A reader that is asked again after an error gives messages, nothing, or ProtocolError again."""
    for data in IMPOSSIBLE.values():
        reader = wire.Reader()
        reader.feed(data)
        for _ in range(3):
            with pytest.raises(wire.ProtocolError):
                reader.next_message()
            reader.feed(data)


def test_messages_are_values() -> None:
    """Messages are equal when their fields are."""
    assert read(NEXT) == read(NEXT)
