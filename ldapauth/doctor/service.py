"""Whether the service account may bind.

A wrong password is sent once, and never again in the same run: each one counts.
"""

from collections.abc import Iterator

from ldapauth.config import Secret
from ldapauth.deadline import now
from ldapauth.directory import wire

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


def bind(patient: Patient) -> Iterator[Finding]:
    """Binds as the service account."""
    account = patient.case.account
    if account is None:
        patient.connection(bound=False)
        patient.unbound = ""
        yield ok("no bind_dn: what has to be looked up is asked anonymously")
        return
    dn, password = account
    if account in patient.case.refused:
        patient.unbound = "the service account's password was refused already, and each wrong one counts"
        raise NotAsked(patient.unbound)
    patient.unbound = "the service account could not bind"
    connection = patient.connection(bound=False)
    started = now()
    result = connection.bind(dn, password.reveal(), patient.limit())
    if result.code == 0:
        patient.unbound = ""
        yield ok(f"{dn} binds, in {milliseconds(now() - started)}")
        return
    if result.code == _INVALID_CREDENTIALS:
        patient.case.refused.append(account)
    remedy = _REMEDIES.get(result.code, "see the server's log")
    yield problem(f"{dn} can't bind ({_said(result, password)})", remedy)


def _said(result: wire.Result, password: Secret) -> str:
    """A result with the server's words, unless it quotes the password."""
    if password.reveal().lower() in said(result).lower():
        return f"result {result.code}"
    return said(result)
