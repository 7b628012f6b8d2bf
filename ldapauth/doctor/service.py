"""Whether the service account may bind.

A wrong password is sent once, and never again in the same run: each one counts.
"""

from collections.abc import Iterator

from ldapauth.config import Secret
from ldapauth.deadline import now
from ldapauth.directory import refusal, service, wire
from ldapauth.verdict import Reason

from .finding import Finding, NotAsked, ok, problem
from .network import milliseconds
from .patient import Patient, said

# RFC 4511 appendix A.2
_INVALID_CREDENTIALS = 49
_REMEDIES = {
    8: "the server wants TLS for a bind: use ldaps://, or start_tls = true",
    13: "the server wants TLS for a bind: use ldaps://, or start_tls = true",
    19: "is the account locked? see it in the directory",
    32: "correct bind_dn: there is no such entry",
    34: "correct bind_dn: it is no DN to this server",
    48: "has the account a password? see it in the directory",
    _INVALID_CREDENTIALS: "correct bind_dn or the password; it is not tried again, since each wrong password counts",
    53: "is the account locked, or inactive? see it in the directory",
}
_WITHOUT_PASSWORD = {
    7: "have the server offer this way to bind, and trust the authority of client_cert",
    _INVALID_CREDENTIALS: "have the server map what it is shown (certificate, user, principal) to an account",
}
_LOOK = "see the server's log"


def bind(patient: Patient) -> Iterator[Finding]:
    """Binds as the service account."""
    account, settings = patient.case.account, patient.settings
    if not service.is_configured(settings):
        patient.connection(bound=False)
        patient.unbound = ""
        yield ok("no bind_dn: what has to be looked up is asked anonymously")
        return
    if account is not None and account in patient.case.refused:
        patient.unbound = "the service account's password was refused already, and each wrong one counts"
        raise NotAsked(patient.unbound)
    patient.unbound = "the service account could not bind"
    connection = patient.connection(bound=False)
    started = now()
    result = service.ask(connection, settings, patient.limit())
    who, took = settings.bind_dn or "the service account", milliseconds(now() - started)
    if not service.trouble(settings, result):
        patient.unbound = ""
        yield ok(f"{who} binds, in {took}")
        return
    if account is not None and result.code == _INVALID_CREDENTIALS:
        patient.case.refused.append(account)
    verdict = refusal.verdict(result, accept_must_change=False)
    known = None if verdict is None or verdict.reason is Reason.WRONG_PASSWORD else verdict.reason
    more = f": {known.sentence}" if known else ""
    remedies = _REMEDIES | (_WITHOUT_PASSWORD if settings.bind != "simple" else {})
    yield problem(f"{who} can't bind ({_said(result, account)}){more}", remedies.get(result.code, _LOOK))


def _said(result: wire.Result, account: tuple[str, Secret] | None) -> str:
    """A result with the server's words, unless it quotes the password."""
    if account and account[1].reveal().lower() in said(result).lower():
        return f"result {result.code}"
    return said(result)
