"""The password policy controls: what real servers have sent, what may be sent, and noise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3 import SIMPLE
from ldap3.operation.bind import bind_operation

from ldapauth.directory import policy, wire
from ldapauth.directory.policy import Error, Said
from tests.directory.test_wire import ldap3_message

NEWER = policy.OID
EXPIRED, EXPIRING = "2.16.840.1.113730.3.4.4", "2.16.840.1.113730.3.4.5"

# As they came from OpenLDAP 2.5, which uses the shortest lengths, and from 389 DS 2.3, which uses long ones.
SEEN = {
    "nothing": ("3000", Said()),
    "expired": ("3003810100", Said(Error.PASSWORD_EXPIRED)),
    "expired, long": ("308400000003810100", Said(Error.PASSWORD_EXPIRED)),
    "locked": ("3003810101", Said(Error.ACCOUNT_LOCKED)),
    "must change": ("3003810102", Said(Error.CHANGE_AFTER_RESET)),
    "must change, and expires now": ("30840000000ca08400000003800100810102", Said(Error.CHANGE_AFTER_RESET, 0)),
    "one grace login": ("3005a003810101", Said(graces_left=1)),
    "one grace login, long": ("308400000009a08400000003810101", Said(graces_left=1)),
    "an hour": ("3006a00480020e0f", Said(seconds_left=3599)),
    "a day, long": ("30840000000ba084000000058003015180", Said(seconds_left=86400)),
    "too long": ("3003810109", Said(Error.TOO_LONG)),
    "an error of the future": ("300381012a", Said()),
    "an element of the future": ("3006820178810100", Said(Error.PASSWORD_EXPIRED)),
    "no value": ("", Said()),
}
NOT_ONE = {
    "no sequence": "0403810100",
    "cut off": "30038101",
    "longer than it says": "300381010000",
    "two": "30003000",
    "a warning that is cut off": "3004a0058001",
    "a negative number": "3005a0038001ff",
    "a number without bytes": "30028100",
    "a number of six bytes": "3008810600000000ffff",
    "indefinite length": "30800000",
}


@pytest.mark.parametrize(("value", "said"), SEEN.values(), ids=SEEN.keys())
def test_control_says_what_it_says(value: str, said: Said) -> None:
    """Each form in which servers write the control is understood."""
    assert Said.of({NEWER: bytes.fromhex(value)}) == said


@pytest.mark.parametrize("value", NOT_ONE.values(), ids=NOT_ONE.keys())
def test_what_is_no_control_is_an_error(value: str) -> None:
    """A value that can't be one is an error, and not a control that says nothing."""
    with pytest.raises(wire.ProtocolError):
        Said.of({NEWER: bytes.fromhex(value)})


@pytest.mark.parametrize("number", range(10))
def test_every_error_has_its_number(number: int) -> None:
    """The numbers of the draft, and OpenLDAP's own, are errors that are told apart."""
    said = Said.of({NEWER: wire.tlv(0x30, wire.tlv(0x81, bytes((number,))))})
    assert said.error is Error(number)


def test_older_controls() -> None:
    """The older controls say that a password is expired, and when it will be."""
    assert Said.of({EXPIRED: b"0"}) == Said(expired=True)
    assert Said.of({EXPIRING: b"86400"}) == Said(seconds_left=86400)
    assert Said.of({}) == Said()


def test_newer_control_counts_before_the_older() -> None:
    """The older control can't tell grace from a password that must be changed, so where both come it is passed over."""
    assert Said.of({EXPIRED: b"0", NEWER: bytes.fromhex("3005a003810101")}) == Said(graces_left=1)


@pytest.mark.parametrize("value", [b"", b"-1", b"1 day", b" 1", b"\xc2\xb2", b"1" * 11])
def test_time_that_is_none_is_an_error(value: bytes) -> None:
    """The older control's time is a number of seconds in digits."""
    with pytest.raises(wire.ProtocolError):
        Said.of({EXPIRING: value})


@given(st.dictionaries(st.sampled_from([NEWER, EXPIRED, EXPIRING]), st.binary(max_size=40)))
def test_any_bytes_give_an_answer_or_the_error(controls: dict[str, bytes]) -> None:
    """Whatever bytes a server sends, there is an answer or `ProtocolError`, and no other exception."""
    try:
        said = Said.of(controls)
    except wire.ProtocolError:
        return
    assert all(number is None or number >= 0 for number in (said.seconds_left, said.graces_left))


def test_request_is_not_critical() -> None:
    """A server that does not know the control is to say nothing about it: it has neither criticality nor value."""
    asked = ldap3_message(7, "bindRequest", bind_operation(3, SIMPLE, "cn=x", b"secret"), [(policy.OID, False, None)])
    assert wire.bind_request(7, b"cn=x", b"secret", policy.REQUEST) == asked
    assert wire.tlv(0xA0, wire.tlv(0x30, wire.tlv(0x04, b"1.3.6.1.4.1.42.2.27.8.5.1"))) == policy.REQUEST
