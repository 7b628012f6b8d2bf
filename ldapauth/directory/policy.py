"""The password policy controls, in which servers say more about a bind or a change than a result code. Sans-IO.

Owns the request control and the decoding of what comes back. Sources: draft-behera-ldap-password-policy-10, which
OpenLDAP, 389 DS and FreeIPA follow; draft-vchu-ldap-pwd-policy-00 (Netscape) for the two older ones, which 389 DS sends
unasked. Active Directory has none. What an answer means as a whole is for `refusal.py` and `complaint.py` to say.
"""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Self

from . import wire

OID = "1.3.6.1.4.1.42.2.27.8.5.1"
_EXPIRED, _EXPIRING = "2.16.840.1.113730.3.4.4", "2.16.840.1.113730.3.4.5"

# A request's controls with this one in it: not critical, so that a server which does not know it says nothing about it.
REQUEST = wire.control_list(wire.control(OID))

_SEQUENCE, _WARNING, _ERROR = 0x30, 0xA0, 0x81
_BEFORE_EXPIRATION, _GRACE = 0x80, 0x81


class Error(enum.IntEnum):
    """Draft 6.2, and OpenLDAP's own 9. The first three are about a login, the others about a change."""

    PASSWORD_EXPIRED = 0
    ACCOUNT_LOCKED = 1
    CHANGE_AFTER_RESET = 2
    CHANGE_NOT_ALLOWED = 3
    OLD_PASSWORD_NEEDED = 4
    TOO_SIMPLE = 5
    TOO_SHORT = 6
    TOO_YOUNG = 7
    IN_HISTORY = 8
    TOO_LONG = 9


_NUMBERED = {error.value: error for error in Error}


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What the controls of an answer say; of what they don't, None.

    Attributes:
        error: What is wrong, if it is one of these.
        seconds_left: Until the password expires.
        graces_left: How many more logins there are with the expired password.
        expired: Whether the older control says that the password is expired, which with a login that succeeds means one
            of two things: it must be changed, or there is grace.
    """

    error: Error | None = None
    seconds_left: int | None = None
    graces_left: int | None = None
    expired: bool = False

    @classmethod
    def of(cls, controls: Mapping[str, bytes]) -> Self:
        """What the controls of an answer say, by their OIDs.

        Raises:
            ProtocolError: The value of one is not as it must be.
        """
        if OID in controls:
            return cls._decoded(controls[OID])  # it says all that the older ones do, and more clearly
        seconds_left = _seconds(controls[_EXPIRING]) if _EXPIRING in controls else None
        return cls(seconds_left=seconds_left, expired=_EXPIRED in controls)

    @classmethod
    def _decoded(cls, value: bytes) -> Self:
        """The value of the newer control; some servers say nothing with none at all. Source: draft 6.2."""
        error: Error | None = None
        warning: dict[int, int] = {}
        for tag, start, stop in _content(value):
            if tag == _WARNING:
                warning = {kind: wire.number(value, a, b) for kind, a, b in wire.elements(value, start, stop)}
            elif tag == _ERROR:
                error = _NUMBERED.get(wire.number(value, start, stop))
        return cls(error, warning.get(_BEFORE_EXPIRATION), warning.get(_GRACE))


def _content(value: bytes) -> list[tuple[int, int, int]]:
    """The elements in the sequence that a value is."""
    outer = wire.elements(value, 0, len(value))
    if not outer:
        return []
    tag, start, stop = outer[0]
    if tag != _SEQUENCE or len(outer) > 1:
        raise wire.ProtocolError("a password policy control that is no sequence")
    return wire.elements(value, start, stop)


def _seconds(value: bytes) -> int:
    if not value.isdigit() or len(value) > 10:
        raise wire.ProtocolError("a password expiring control without a number of seconds")
    return int(value)
