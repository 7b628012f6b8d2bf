"""The service account's bind: how it is done, and what it means when the directory does not take it.

Knows no other connections, and nothing of when a bind is tried again.
"""

from ldapauth.config import Domain
from ldapauth.deadline import Deadline
from ldapauth.errors import UnclearAnswer
from ldapauth.verdict import Reason

from . import kerberos, policy, refusal, wire
from .connection import Connection

# RFC 4511 appendix A.2
_SUCCESS, _INVALID_CREDENTIALS = 0, 49
_SENTENCES = {
    7: "the server does not know this way to bind, or has been shown no certificate that it trusts: see bind",
    8: "the server takes no password without TLS: use ldaps://, or start_tls = true",
    13: "the server takes no password without TLS: use ldaps://, or start_tls = true",
}
_WRONG = {
    "simple": "the service account's DN or password is wrong",
    "external": "the server does not know whom the client certificate, or the user of the Unix socket, stands for",
    "gssapi": "the server does not know whom the principal of the keytab stands for",
}


class ServiceRefused(UnclearAnswer):
    """The service account is refused; every server would say the same, and some count it."""


def is_configured(settings: Domain) -> bool:
    """Whether there is a service account at all."""
    return settings.bind != "simple" or settings.bind_dn is not None


def bind(connection: Connection, settings: Domain, deadline: Deadline) -> None:
    """Binds as the service account.

    Raises:
        ServiceRefused: The account, or its password, is no good.
        UnclearAnswer: This server does not take it.
        DirectoryUnavailable: It gave no answer.
    """
    try:
        result = ask(connection, settings, deadline)
    except kerberos.KeyRefused as error:
        raise ServiceRefused(str(error)) from None
    why = trouble(settings, result)
    if why:
        refused = ServiceRefused if _is_final(result) else UnclearAnswer
        raise refused(f"{connection.server}: {why}")


def ask(connection: Connection, settings: Domain, deadline: Deadline) -> wire.Result:
    """The answer to the bind, whatever it is."""
    if settings.bind == "external":  # RFC 4422 appendix A: no credentials, as whoever that is
        return connection.bind_sasl("EXTERNAL", b"", deadline, policy.REQUEST)
    if settings.bind == "gssapi":
        return kerberos.bind(connection, settings.keytab or "", deadline, policy.REQUEST)
    dn, password = settings.bind_dn, settings.bind_password
    return connection.bind(dn or "", password.reveal() if password else "", deadline, policy.REQUEST)


def trouble(settings: Domain, result: wire.Result) -> str:
    """Why the account can't be used, as a sentence; nothing if it can."""
    if result.code in _SENTENCES:
        return f"{_SENTENCES[result.code]} (result {result.code})"
    verdict, detail = refusal.verdict(result, accept_must_change=False), refusal.detail(result)
    if verdict is None:
        return f"the service account may not bind ({detail})"
    if verdict.reason is Reason.WRONG_PASSWORD:
        return f"{_WRONG[settings.bind]} ({detail})"
    return f"the service account can't be used: {verdict.reason.sentence} ({detail})" if verdict.reason else ""


def _is_final(result: wire.Result) -> bool:
    """Whether it is the account that is no good, and not this server."""
    if result.code == _SUCCESS:
        return True
    return result.code == _INVALID_CREDENTIALS and refusal.verdict(result, accept_must_change=False) is not None
