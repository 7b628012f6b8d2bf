"""Whether a connection can be had as the configuration wants it, above all TLS: its version, and the certificate.

A server whose certificate is not accepted is connected to once more, without verifying it, to see what it is. Nothing
is sent to it then but the handshake.
"""

import ipaddress
import shlex
import ssl
from collections.abc import Iterator

from ldapauth import certificate
from ldapauth.config import Server, domain_path
from ldapauth.deadline import now
from ldapauth.directory.connection import Connection
from ldapauth.directory.pool import tls_context
from ldapauth.errors import DirectoryUnavailable

from .configuration import validity
from .finding import Finding, NotAsked, ok, problem, warning
from .network import milliseconds
from .patient import Patient

_REMEDIES = (
    ("StartTLS refused", "give the server a certificate (OpenLDAP: olcTLSCertificateFile), or ask it over ldaps://"),
    ("expired", "renew the server's certificate, or its authority's, whichever it is"),
    ("not yet valid", "is this machine's clock right?"),
    ("mismatch", "name the server in servers as its certificate does ({names}), or have one made for {host} too"),
    ("issuer", "name the authority that has signed it in ca_file; the server must send those in between"),
    ("self-signed", "name the authority that has signed it, or the certificate itself, in ca_file"),
    ("certificate", "have the server's certificate made anew"),
    ("in time", "does the server answer others? is a firewall in between?"),
)
"""What to do, by what OpenSSL or connection.py says; the first that fits."""


def transport(patient: Patient) -> Iterator[Finding]:
    """Opens the connection, with TLS where it has to be."""
    if patient.out_of_reach:
        raise NotAsked(patient.out_of_reach)
    started = now()
    try:
        connection = patient.connection(bound=False)
    except DirectoryUnavailable as error:
        patient.out_of_reach = "there is no connection that may be used"
        yield from _failed(patient, _without_server(patient, error))
        return
    took = milliseconds(now() - started)
    if connection.tls is None:
        yield from _in_clear(patient)
        return
    cipher = (connection.tls.cipher() or ("",))[0]
    way = "StartTLS, " if patient.server.scheme == "ldap" else ""
    yield ok(f"{way}{connection.tls.version()} with {cipher}, in {took}")
    yield from _described(patient, connection.tls)
    if patient.settings.insecure_skip_verify:
        yield from _verified(patient)


def _in_clear(patient: Patient) -> Iterator[Finding]:
    if patient.server.is_loopback:
        yield ok("in clear, and only to this machine")
    else:
        yield warning("in clear, over the network", "use ldaps://, or start_tls = true")


def _failed(patient: Patient, why: str) -> Iterator[Finding]:
    """Why there is no connection, and what the certificate is, if it is because of that."""
    if "certificate" not in why:
        yield problem(why, _remedy(patient, why))
        return
    seen = _presented(patient)
    found = None if seen is None else certificate.describe(seen)
    if found is not None:
        why += f"; it is {_facts(found)}, and valid from {found.begin:%Y-%m-%d} until {found.end:%Y-%m-%d}"
    yield problem(why, f"{_remedy(patient, why, found)}; to see it: {openssl(patient)}")


def _remedy(patient: Patient, why: str, found: certificate.Description | None = None) -> str:
    """What to do about a connection that fails so."""
    names = ", ".join(found.names) if found is not None and found.names else "its name"
    for words, remedy in _REMEDIES:
        if words in why:
            return remedy.format(names=names, host=patient.server.host)
    if patient.server.scheme == "ldaps":
        return f"does this port speak TLS? (389 does not, 636 does); to see it: {openssl(patient)}"
    return "does this port speak LDAP without TLS? (636 does not, 389 does)"


def _described(patient: Patient, socket: ssl.SSLSocket) -> Iterator[Finding]:
    """What a certificate says that was accepted."""
    der = socket.getpeercert(binary_form=True)
    found = None if der is None else certificate.describe(der)
    if found is not None:
        remedy = f"renew it on the server; to see it: {openssl(patient)}"
        yield from validity(f"the certificate is {_facts(found)}, and", found, remedy)


def _facts(found: certificate.Description) -> str:
    names = ", ".join(found.names) if found.names else f"no server (it has no subjectAltName; {found.subject})"
    return f"for {names}, by {found.issuer}"


def _verified(patient: Patient) -> Iterator[Finding]:
    """Whether the certificate would be accepted, if it were verified."""
    try:
        _open(patient, ssl.CERT_REQUIRED).close()
    except DirectoryUnavailable as error:
        why = _without_server(patient, error)
        yield warning(f"insecure_skip_verify is all that accepts it: {why}", _remedy(patient, why))
    else:
        yield warning("insecure_skip_verify is of no use: the certificate is good", "take insecure_skip_verify away")


def _presented(patient: Patient) -> bytes | None:
    """The certificate that the server presents, whether it is accepted or not."""
    try:
        connection = _open(patient, ssl.CERT_NONE)
    except DirectoryUnavailable:
        return None
    try:
        return connection.tls.getpeercert(binary_form=True) if connection.tls is not None else None
    finally:
        connection.close()


def _open(patient: Patient, mode: ssl.VerifyMode) -> Connection:
    """Another connection, whose certificate is verified or not, whatever the settings say."""
    context = tls_context(domain_path(patient.case.table), patient.settings)
    context.check_hostname = False  # before the mode can be changed
    context.verify_mode = mode
    context.check_hostname = mode is ssl.CERT_REQUIRED
    return Connection.open(patient.server, patient.settings, context, patient.limit())


def openssl(patient: Patient) -> str:
    """The command that shows what OpenSSL makes of the server's certificate."""
    server, settings = patient.server, patient.settings
    words = ["openssl", "s_client", "-connect", _place(server)]
    if _is_address(server.host):
        words += ["-noservername", "-verify_ip", server.host]
    else:
        words += ["-servername", server.host, "-verify_hostname", server.host]
    words += ["-starttls", "ldap"] if server.scheme == "ldap" else []
    words += ["-CAfile", settings.ca_file] if settings.ca_file else []
    words += ["-cert", settings.client_cert] if settings.client_cert else []
    words += ["-key", settings.client_key] if settings.client_key else []
    return f"{shlex.join([*words, '-showcerts'])} </dev/null"


def _place(server: Server) -> str:
    return f"[{server.host}]:{server.port}" if ":" in server.host else f"{server.host}:{server.port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _without_server(patient: Patient, error: DirectoryUnavailable) -> str:
    """What went wrong, without the URL that stands above it anyway."""
    return str(error).removeprefix(f"{patient.server}: ").partition(" (ca_file names")[0]
