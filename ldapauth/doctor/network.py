"""Whether a server's name has addresses, and whether each of them lets anybody connect. Knows nothing of LDAP."""

import socket
from collections.abc import Iterator, Sequence

from ldapauth.config import Domain, Server
from ldapauth.deadline import Deadline, now
from ldapauth.directory.connection import connected, resolve
from ldapauth.directory.srv import SrvList
from ldapauth.errors import DirectoryUnavailable

from .finding import Finding, NotAsked, ok, problem, warning
from .patient import Patient

_LATE = (TimeoutError, DirectoryUnavailable)
_RECORDS = {socket.AF_INET: "A", socket.AF_INET6: "AAAA"}


def servers(settings: Domain) -> tuple[Sequence[Server], list[Finding]]:
    """The servers of a domain, from the configuration or from DNS."""
    if not isinstance(settings.servers, str):
        return settings.addresses(), []
    domain = settings.servers.removeprefix("srv:")
    record = f"_ldap._tcp.{domain}"
    try:
        listed = SrvList(domain)(Deadline.after(settings.deadline))
    except DirectoryUnavailable as error:
        return [], [problem(str(error), f"see what DNS says: dig +short SRV {record}")]
    return listed, [ok(f"SRV {record}: {', '.join(f'{server.host}:{server.port}' for server in listed)}")]


def addresses(patient: Patient) -> Iterator[Finding]:
    """Whether the name resolves."""
    server = patient.server
    if server.scheme == "ldapi":
        return
    patient.out_of_reach = "its name has no address"
    try:
        found = resolve(server, Deadline.after(patient.settings.connect_timeout))
    except (OSError, DirectoryUnavailable) as error:
        yield problem(
            f"{server.host} does not resolve: {getattr(error, 'strerror', None) or error}",
            f"correct the name in servers, or DNS; see what this machine says: getent ahosts {server.host}",
        )
        return
    patient.out_of_reach = ""
    texts = [f"{_RECORDS.get(socket.AddressFamily(family), 'address')} {address[0]}" for family, address in found]
    if texts[0].split()[1] != server.host:
        yield ok(f"{server.host} resolves: {', '.join(dict.fromkeys(texts))}")


def reach(patient: Patient) -> Iterator[Finding]:
    """Whether each address lets this machine connect, and how long that takes."""
    server, limit = patient.server, Deadline.after(patient.settings.connect_timeout)
    if patient.out_of_reach:
        raise NotAsked(patient.out_of_reach)
    found = [(int(socket.AF_UNIX), server.host)] if server.scheme == "ldapi" else resolve(server, limit)
    failed = []
    for index, (family, address) in enumerate(found):
        name = server.host if server.scheme == "ldapi" else f"{address[0]} port {server.port}"
        started = now()
        try:
            connected(family, address, limit.remaining() / (len(found) - index)).close()
        except (OSError, DirectoryUnavailable) as error:  # the latter where the others have left no time
            failed.append((f"{name}: {_why(error)}", _remedy(server, error)))
        else:
            yield ok(f"{name} accepts connections, in {milliseconds(now() - started)}")
    if len(failed) == len(found):
        patient.out_of_reach = "nothing accepts connections"
    for text, remedy in failed:
        if len(failed) == len(found):
            yield problem(text, remedy)
        else:
            yield warning(f"{text}: each new connection tries it too", f"{remedy}; or take the address out of DNS")


def _why(error: OSError | DirectoryUnavailable) -> str:
    return "no answer in time" if isinstance(error, _LATE) else getattr(error, "strerror", None) or "can't be reached"


def _remedy(server: Server, error: OSError | DirectoryUnavailable) -> str:
    if isinstance(error, _LATE):
        return "does a firewall drop what this machine sends? is the server up?"
    if server.scheme == "ldapi":
        return "is the server up, does it listen there (slapd -h ldapi://…), and may this user write to the socket?"
    return f"is the server up, and does it listen on port {server.port} for this machine? (ldap is 389, ldaps 636)"


def milliseconds(seconds: float) -> str:
    """A time as it is shown."""
    return f"{seconds * 1000:.{2 if seconds < 0.001 else 1}f} ms"
