"""`ldapauth doctor`: asks the configured directories everything that can be wrong, and says it in order.

Owns which checks there are, in which order, and that one that fails does not stop those that do not depend on it. What
a check asks is in the module of its subject; how findings are printed is in `report.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ldapauth import log
from ldapauth.config import Domain, Log, Secret, Settings, domain_path
from ldapauth.directory.pool import tls_context
from ldapauth.errors import DeadlineExceeded, DirectoryUnavailable
from ldapauth.provider import ANY_DOMAIN

from . import configuration, groups, memory, network, people, rights, rootdse, service, tls
from .finding import Finding, Line, NotAsked, not_asked, problem
from .patient import Case, Patient

_T = TypeVar("_T")

_FOR_ALL: tuple[tuple[str, Callable[[Settings], Iterator[Finding]]], ...] = (
    ("secrets", configuration.secrets),
    ("HTTP credentials", configuration.credentials),
    ("deadlines", configuration.deadlines),
    ("Redis", memory.shared),
)

_FOR_DOMAIN: tuple[tuple[str, Callable[[Domain], Iterator[Finding]]], ...] = (
    ("protections", configuration.protections),
    ("client certificate", configuration.client_certificate),
)

_FOR_SERVER: tuple[tuple[str, Callable[[Patient], Iterator[Finding]]], ...] = (
    ("addresses", network.addresses),
    ("reach", network.reach),
    ("TLS", tls.transport),
    ("bind", service.bind),
    ("root DSE", rootdse.kind),
    ("password change", rootdse.password_change),
    ("clock", rootdse.clock),
    ("base DN", people.base),
    ("search", people.search),
    ("read rights", people.sample),
    ("certificates", people.certificates),
    ("groups", groups.required),
    ("write rights", rights.write),
)

CHECKS = ["configuration", *dict(_FOR_ALL), "domain", *dict(_FOR_DOMAIN), "servers", *dict(_FOR_SERVER), "skipped"]
"""The names of all checks, in the order in which they are made."""


def examine(path: str | None, domains: Sequence[str] = ()) -> Iterator[Line]:
    """Everything that there is to say, as it is found out.

    Args:
        path: The configuration: see `config.locate`.
        domains: The domains to examine; all that are configured, if none is named.
    """
    log.configure(Log(target="none"))  # what there is to say is a finding
    settings, findings = configuration.read(path)
    yield from (Line("", "", "configuration", finding) for finding in findings)
    if settings is None:
        return
    yield from _made(_FOR_ALL, settings, "", "")
    refused: list[tuple[str, Secret]] = []
    for domain in domains or settings.domains:
        yield from _domain(settings, domain.lower(), refused)


def _domain(settings: Settings, domain: str, refused: list[tuple[str, Secret]]) -> Iterator[Line]:
    """Everything about one domain."""
    table = domain if domain in settings.domains else ANY_DOMAIN
    if table not in settings.domains:
        yield Line(domain, "", "domain", problem("is not configured", f'add [{domain_path(domain)}], or [domains."*"]'))
        return
    case = Case(table, "" if domain == ANY_DOMAIN else domain, settings.domains[table], refused)
    yield from _made(_FOR_DOMAIN, case.settings, domain, "")
    servers, findings = network.servers(case.settings)
    yield from (Line(domain, "", "servers", finding) for finding in findings)
    context = tls_context(domain_path(table), case.settings)
    for server in servers:
        patient = Patient(case, server, context)
        try:
            yield from _made(_FOR_SERVER, patient, domain, str(server))
        finally:
            patient.close()


def _made(
    checks: Sequence[tuple[str, Callable[[_T], Iterator[Finding]]]], subject: _T, domain: str, server: str
) -> Iterator[Line]:
    """What some checks find; at the end those that could not be made, by the reason."""
    skipped: dict[str, list[str]] = {}
    for check, ask in checks:
        try:
            for finding in ask(subject):
                yield Line(domain, server, check, finding)
        except NotAsked as error:
            skipped.setdefault(str(error), []).append(check)
        except Exception as error:  # noqa: BLE001 - a check that fails is a finding, and the next one is made
            yield Line(domain, server, check, _failed(server, error))
    for reason, names in skipped.items():
        yield Line(domain, server, "skipped", not_asked(f"{', '.join(names)}: {reason}"))


def _failed(server: str, error: Exception) -> Finding:
    """What it means that a check has ended in an exception."""
    text = str(error).removeprefix(f"{server}: ")
    if isinstance(error, DeadlineExceeded):
        return problem(f"{text} (deadline)", "does the server answer others in time? is a firewall in between?")
    if isinstance(error, DirectoryUnavailable):
        return problem(text, "see the server's log; does the port speak what the URL says (ldap in clear, ldaps TLS)?")
    return problem(f"the doctor has a bug: {type(error).__name__}", "please report it")
