"""How a directory takes a new password: LDAP modify, or RFC 3062.

Owns which way is used, and what the server's refusals of a change mean. Knows no users and no connections of its own.
"""

import logging
import re
from typing import Any, Literal

import ldap3

from ldapauth import log
from ldapauth.deadline import Deadline
from ldapauth.errors import ChangeRefused, DirectoryUnavailable, NoSuchUser, NotAllowed, PolicyRefusal, UserExists

from . import wire
from .connection import Connection

_log = logging.getLogger(__name__)

Way = Literal["modify", "extended"]

PASSWORD_MODIFY = "1.3.6.1.4.1.4203.1.11.1"  # noqa: S105 - RFC 3062's OID

ACTIVE_DIRECTORY = "1.2.840.113556.1.4.800"  # [MS-ADTS] 3.1.1.3.4.3.1

_ROOT_DSE = wire.Search(b"", "base", ("supportedExtension", "supportedCapabilities"), 1, 0)
_ANY_OBJECT = wire.tlv(wire.PRESENT, b"objectClass")

# RFC 4511 appendix A.2
_NO_SUCH_OBJECT, _ENTRY_EXISTS = 32, 68
_RIGHTS = {50: "insufficient access rights", 8: "stronger authentication required", 13: "confidentiality required"}
_POLICY = {19: "constraint violation", 53: "unwilling to perform"}
_MALFORMED = {17, 20, 21, 34, 64, 65, 69}  # a name or value that the directory's schema has no room for


class PasswordChange:
    """Which way of setting a password is used: the configured one, or what the server says when first asked.

    Args:
        way: `modify`, `extended`, or `auto`: RFC 3062, which lets the server hash, where the root DSE offers it.
    """

    def __init__(self, way: Literal["auto", "modify", "extended"]) -> None:
        self._way = way

    def chosen(self, connection: Connection, deadline: Deadline) -> Way:
        """The way.

        Raises:
            DirectoryUnavailable: The server can't be asked.
        """
        if self._way == "auto":
            entries, result = connection.search(_ROOT_DSE, _ANY_OBJECT, deadline)
            if result.code not in (0, _NO_SUCH_OBJECT):  # to go by it would store passwords in clear for good
                raise DirectoryUnavailable(f"{connection.server}: the root DSE can't be read (result {result.code})")
            # A server that shows no root DSE offers nothing special.
            offered = [value for entry in entries for values in entry.attributes.values() for value in values]
            if ACTIVE_DIRECTORY.encode() in offered:
                # There userPassword is an attribute like any other: it would stand readable beside the old password.
                raise NotAllowed("passwords of an Active Directory can't be set")
            self._way = "extended" if PASSWORD_MODIFY.encode() in offered else "modify"
            log.event(_log, logging.INFO, "password-change", way=self._way, server=str(connection.server))
        return self._way


def replace(connection: Connection, way: Way, dn: str, password: str, deadline: Deadline) -> None:
    """Sets the password of an entry; it must not be empty (RFC 3062: the server would choose one).

    Raises:
        ChangeRefused: See `check`.
        DirectoryUnavailable: The server can't be asked.
    """
    demand_plain(way, password)
    encoded = password.encode()

    def change(borrowed: Any) -> Any:
        if way == "extended":
            borrowed.extend.standard.modify_password(user=dn, new_password=encoded)
            return borrowed.result
        _, result, _, _ = borrowed.modify(dn, {"userPassword": [(ldap3.MODIFY_REPLACE, [encoded])]})
        return result

    check(connection, connection.rare(change, deadline), password)


def demand_plain(way: Way, password: str) -> None:
    """Refuses a password that `modify` would store as somebody's hash of another one.

    Raises:
        PolicyRefusal: It begins with a scheme in braces (RFC 3112, and every server's own).
    """
    if way == "modify" and re.match(r"\{[^{}]*\}", password):
        raise PolicyRefusal("the password begins with a word in braces, which the directory would take for a hash")


def check(connection: Connection, result: dict[str, Any], password: str | None = None) -> None:
    """Raises what a result of a change means, unless it is success.

    Args:
        connection: Which server said it.
        result: What ldap3 makes of the answer.
        password: The password that was sent, which must not come back in a message.

    Raises:
        ChangeRefused: The entry is not there or is there already, rights are missing, or the policy says no.
        DirectoryUnavailable: Anything else, referrals included: they are not followed.
    """
    code = result["result"]
    if code == 0:
        return
    said = str(result.get("message") or "")
    if password and password.lower() in said.lower():
        said = ""
    refusal = _refusal(code, said)
    if refusal:
        raise refusal
    raise DirectoryUnavailable(f"{connection.server}: the change was not made (result {code})")


def _refusal(code: int, said: str) -> ChangeRefused | None:
    """The refusal that a result code means, with the server's words where it has any."""
    if code == _NO_SUCH_OBJECT:
        return NoSuchUser("the entry is not there")
    if code == _ENTRY_EXISTS:
        return UserExists("the entry is there already")
    if code in _RIGHTS:
        return NotAllowed(f"the directory does not let the service account do this ({_RIGHTS[code]})")
    if code in _POLICY:
        return PolicyRefusal(said or f"the directory's policy refuses it ({_POLICY[code]})")
    if code in _MALFORMED:
        return NotAllowed(f"the directory's schema does not allow it (result {code})")
    return None
