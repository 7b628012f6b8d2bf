"""Whether the groups that users must be in are there, for the service account to see who is in them."""

from collections.abc import Iterator

from ldapauth.directory.auto import Auto
from ldapauth.directory.query import DnTemplate

from .finding import Finding, NotAsked, ok, problem, warning
from .patient import Patient, present, said
from .people import nobody

_SUCCESS = 0  # RFC 4511 appendix A.2


def required(patient: Patient) -> Iterator[Finding]:
    """Whether each of the required groups is there, and shows members where it is asked for them."""
    settings, domain = patient.settings, patient.case.domain
    if not settings.required_groups:
        return
    connection = patient.connection()
    membership = Auto(settings).membership(connection, patient.limit())
    for text in settings.required_groups:
        template = DnTemplate(text)
        if not domain and not template.constant:
            raise NotAsked("the groups: they depend on the domain, so name one: ldapauth doctor DOMAIN")
        dn = template.fill(nobody(domain))
        answer = patient.read(dn, "1.1")
        if answer.result.code != _SUCCESS or not answer.entries:
            yield problem(
                f"there is no {dn}, or the service account may not see it ({said(answer.result)})",
                "correct required_groups, or let the service account see the group",
            )
        elif membership in ("memberOf", "chain"):
            yield ok(f"{dn} is there")
        elif patient.search(patient.query(dn, "base", "1.1"), present(membership)).entries:
            yield ok(f"{dn} is there, and shows who is in it ({membership})")
        else:
            yield warning(
                f"{dn} shows no {membership}: nobody is in it, or the service account may not see who is",
                "see group_membership, and let the service account search and read that attribute",
            )
