"""What a new account looks like, and how one is switched off, in each kind of directory.

Owns the entry that `register` adds, apart from its password, and the change that `remove = "disable"` makes. Knows no
connections of its own, and nothing of passwords.
"""

import re
from typing import Any

import ldap3

from ldapauth.config import Domain
from ldapauth.deadline import Deadline
from ldapauth.errors import NoSuchUser, NotAllowed, UnclearAnswer
from ldapauth.kinds import Kind

from . import wire
from .connection import Connection
from .password import check
from .query import DnTemplate, Template, User
from .search import ANY_OBJECT, said

# [MS-SAMR] 3.1.1.7.1 and 3.1.1.8.4; some servers take more and then can't be asked by it.
_ACCOUNT_NAME = re.compile(r"[^\"/\\\[\]:;|=,+*?<>@]{1,20}")

# RFC 4511 appendix A.2
_SUCCESS, _UNDEFINED_TYPE, _NO_SUCH_OBJECT = 0, 17, 32


def new_entry(settings: Domain, kind: Kind, user: User) -> tuple[str, dict[str, Any]]:
    """The DN and the attributes of a new account, as ldap3 takes them.

    Args:
        settings: The domain's settings, whose templates are known to be good.
        kind: What is usual where they say nothing.
        user: Whose account it is.

    Raises:
        NotAllowed: There can't be such an account.
    """
    given = settings.register
    if given.dn is not None or not settings.is_searched:
        dn = DnTemplate(given.dn or settings.user_dn or "")
    else:
        base = settings.searches()[0].base_dn
        dn = DnTemplate(f"{kind.naming}={{user}},{base}" if base else f"{kind.naming}={{user}}")
    classes = kind.object_classes if given.object_classes is None else given.object_classes
    templates = kind.attributes if given.attributes is None else given.attributes
    attributes = {name: Template(text).fill(user).encode() for name, text in templates.items()}
    if not _ACCOUNT_NAME.fullmatch(attributes.get("sAMAccountName", b"x").decode()):
        raise NotAllowed('in an Active Directory a name has 20 characters at most, and none of "/\\[]:;|=,+*?<>@')
    return dn.fill(user), {"objectClass": list(classes), **attributes}


def switch_off(connection: Connection, kind: Kind, dn: str, deadline: Deadline) -> None:
    """Switches an account off, as the kind of directory has it.

    Raises:
        ChangeRefused: There is no such way, or the directory does not let it be done.
        DirectoryUnavailable: The server can't be asked.
    """
    if kind.off is None:
        raise NotAllowed('in this kind of directory no account can be switched off: see remove = "delete"')
    attribute, value = kind.off
    if isinstance(value, int):
        old = _number(connection, dn, attribute, deadline)
        if old & value:
            return
        # Taking away what was read makes it fail if somebody has set another bit meanwhile.
        changes = [(ldap3.MODIFY_DELETE, [str(old)]), (ldap3.MODIFY_ADD, [str(old | value)])]
    else:
        changes = [(ldap3.MODIFY_REPLACE, [value])]
    done = connection.rare(lambda ldap: ldap.modify(dn, {attribute: changes})[1], deadline)
    if done["result"] == _UNDEFINED_TYPE:
        raise NotAllowed(f"no account can be switched off: the directory does not know {attribute} (result 17)")
    check(connection, done)


def _number(connection: Connection, dn: str, attribute: str, deadline: Deadline) -> int:
    """The number that an attribute of an entry has."""
    entries, result = connection.search(
        wire.Search(wire.encoded_dn(dn), "base", (attribute,), 1, 0), ANY_OBJECT, deadline
    )
    if result.code == _NO_SUCH_OBJECT:
        raise NoSuchUser("the entry is not there")
    if result.code != _SUCCESS:
        raise UnclearAnswer(f"{connection.server}: the entry can't be read ({said(result)})")
    values = [value for entry in entries for value in entry.attributes.get(attribute, [])]
    if len(values) != 1 or not values[0].isdigit():
        raise NotAllowed(f"the service account may not read {attribute}")
    return int(values[0])
