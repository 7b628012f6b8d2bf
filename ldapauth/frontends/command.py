"""The seven commands that the line protocol and ejabberd's share, `auth:user:domain:password` and the like. Sans-IO.

Owns what a command is made of and which call of the provider it is. Knows nothing of framing.
"""

import dataclasses

from ldapauth.deadline import Deadline
from ldapauth.errors import ChangeRefused, OperationOff
from ldapauth.provider import Provider

# The number of colons to split at: a password or certificate is the last field and may hold any.
_FIELDS = {
    b"auth": 3,
    b"isuser": 2,
    b"setpass": 3,
    b"tryregister": 3,
    b"removeuser": 2,
    b"removeuser3": 3,
    b"certauth": 3,
}


@dataclasses.dataclass(slots=True)
class Command:
    """One question.

    Attributes:
        name: One of the seven.
        local_part: The user, as sent.
        domain: The virtual host, as sent.
        secret: The password, or for `certauth` the certificate in PEM form; empty where the command has none.
    """

    name: str
    local_part: str
    domain: str
    secret: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Malformed:
    """What is no question; it is answered "no" all the same, never with silence.

    Attributes:
        why: A phrase for the log, with nothing in it of what was sent.
    """

    why: str


def parse(text: bytes) -> Command | Malformed:
    """The command in a line or frame. Nothing is stripped: a password may begin or end with a space.

    Source: Prosody's mod_auth_external.lua, ejabberd's extauth.erl.
    """
    name, _, rest = text.partition(b":")
    colons = _FIELDS.get(name)
    if colons is None:
        return Malformed("unknown command")
    try:
        fields = rest.decode().split(":", colons - 1)
    except UnicodeDecodeError:
        return Malformed("not UTF-8")
    if len(fields) != colons:
        return Malformed("missing field")
    return Command(name.decode(), *fields)


def answer(command: Command, provider: Provider, deadline: Deadline) -> bool:
    """Asks the provider.

    Raises:
        DirectoryUnavailable: There is no answer.
    """
    user = (command.local_part, command.domain)
    try:
        match command.name:
            case "auth":
                return provider.check_password(command.local_part, command.domain, command.secret, deadline).accepted
            case "isuser":
                return provider.user_exists(*user, deadline).accepted
            case "certauth":
                return provider.check_certificate(*user, command.secret, deadline).accepted
            case "setpass":
                provider.set_password(*user, command.secret, deadline)
            case "tryregister":
                provider.register(*user, command.secret, deadline)
            case "removeuser":
                provider.remove_user(*user, deadline)
            case "removeuser3":
                provider.remove_user(*user, deadline, password=command.secret)
    except (ChangeRefused, OperationOff):
        return False
    return True
