"""The service account's bind with Kerberos: SASL GSSAPI (RFC 4752), with a keytab.

Owns the exchange of tokens, and what the Kerberos library is told. The only module that imports gssapi, which the extra
`kerberos` brings, and only when it is asked for. No layer of Kerberos's own is put over the connection: TLS is there
for that.
"""

import contextlib
import functools
import importlib.util
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ldapauth.deadline import Deadline
from ldapauth.errors import DeadlineExceeded, DirectoryUnavailable, UnclearAnswer

from . import wire
from .connection import Connection

MECHANISM = "GSSAPI"

_ROUNDS = 8  # messages of the server: it takes three, and one that goes on for ever is not heard out
_IN_PROGRESS = 14  # RFC 4511 appendix A.2
_NO_LAYER = 1  # RFC 4752 3.3
# KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN, …_CLIENT_REVOKED, …_PREAUTH_FAILED of MIT's krb5.h, as unsigned numbers.
_REFUSED = {2529638918, 2529638930, 2529638936}
_T = TypeVar("_T")


class KeyRefused(DirectoryUnavailable):
    """The key distribution centre does not take the key; it would say so again, and may count it."""


def is_installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec("gssapi") is not None


def bind(connection: Connection, keytab: str, deadline: Deadline, controls: bytes) -> wire.Result:
    """The answer to a bind as the first principal of a keytab.

    The tickets are kept in memory, so that the key distribution centre is asked again when they expire only.

    Raises:
        KeyRefused: The key, or the account, is no good.
        DirectoryUnavailable: There is no ticket to be had in time, or no answer that can be trusted.
    """
    import gssapi  # noqa: PLC0415 - an extra

    try:
        context = _in_time(lambda: _context(gssapi, connection.server.host, keytab), deadline)
        token = b""
        for _ in range(_ROUNDS):
            answer = _in_time(functools.partial(context.step, token or None), deadline) or b""
            result = connection.bind_sasl(MECHANISM, answer, deadline, controls)
            if result.code != _IN_PROGRESS:
                return result
            token = result.credentials
            if context.complete:
                return connection.bind_sasl(MECHANISM, _without_layer(context, token), deadline, controls)
    except gssapi.exceptions.GSSError as error:
        # The library's sentence names principals and realms, and no key.
        refused = KeyRefused if error.min_code in _REFUSED else DirectoryUnavailable
        raise refused(f"{connection.server}: Kerberos: {' '.join(str(error).split())}") from None
    raise UnclearAnswer(f"{connection.server}: the exchange of Kerberos tokens does not end")


def _context(gssapi: Any, host: str, keytab: str) -> Any:
    """A security context for the LDAP service of a host."""
    store = {"client_keytab": f"FILE:{keytab}", "ccache": f"MEMORY:ldapauth {keytab}"}
    return gssapi.SecurityContext(
        name=gssapi.Name(f"ldap@{host}", gssapi.NameType.hostbased_service),
        creds=gssapi.Credentials(usage="initiate", store=store),
        mech=gssapi.MechType.kerberos,
        flags=gssapi.RequirementFlag.mutual_authentication,
        usage="initiate",
    )


def _without_layer(context: Any, offered: bytes) -> bytes:
    """The answer to the layers that a server offers: none, as whoever the ticket is for. Source: RFC 4752 3.1."""
    layers = context.unwrap(offered).message
    if len(layers) != 4 or not layers[0] & _NO_LAYER:
        raise UnclearAnswer("the server wants Kerberos to sign or encrypt, in place of TLS or besides it")
    return bytes(context.wrap(bytes((_NO_LAYER, 0, 0, 0)), False).message)  # noqa: FBT003 - gssapi's own


def _in_time(call: Callable[[], _T], deadline: Deadline) -> _T:
    """What a call gives that asks a key distribution centre: it can't be given a limit, so a thread may stay behind."""
    given: list[_T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            given.append(call())
        except BaseException as error:  # noqa: BLE001 - it is raised below
            raised.append(error)

    thread = threading.Thread(target=run, name="kerberos", daemon=True)
    thread.start()
    thread.join(deadline.remaining())
    if raised:
        raise raised[0]
    with contextlib.suppress(IndexError):
        return given[0]
    raise DeadlineExceeded("no ticket from Kerberos in time")
