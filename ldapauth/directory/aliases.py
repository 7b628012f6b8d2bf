"""Whether a person may log in under several names, where right passwords are remembered by name.

A change of the password through this program ends the memory of the name that it was asked for, and of no other one.
Owns the check at the start; asks no directory, so it doesn't see several values of one attribute.
"""

import itertools
import re
from collections.abc import Iterator

from ldapauth.config import Domain, Settings, domain_path
from ldapauth.errors import ConfigurationError

from .query import FilterTemplate, Template, User

_ENDING = {"set_password", "remove_user"}  # operations after which the old password is to be of no use


def refuse_aliases(settings: Settings) -> None:
    """Sees to it that no old password goes on being right under another name.

    Args:
        settings: Whose templates and filters can be parsed.

    Raises:
        ConfigurationError: Right passwords are remembered, and it might.
    """
    remembering = [key for key in ("cache_ttl", "stale_if_error") if getattr(settings.guard, key)]
    if remembering:
        ways = list(_ways(settings.domains))
        if ways:
            raise ConfigurationError(*(f"guard.{key}: {way}" for key in remembering for way in ways))


def _ways(domains: dict[str, Domain]) -> Iterator[str]:
    """Each way to have several names, as a sentence."""
    remedy = "of which a change ends one alone: leave it off, or set_password and remove_user out of operations"
    ending = {name for name, domain in domains.items() if _ENDING & {*domain.operations}}
    for name in (name for name in domains if name in ending):
        if name == "*":
            yield f"with {domain_path(name)} a person has a name in each virtual host, {remedy}"
        if len(_naming(domains[name])) > 1:
            yield f"the filter of {domain_path(name)} may give a person several names, {remedy}"
    for one, other in itertools.combinations(domains, 2):
        if {one, other} & ending and _overlap((one, domains[one]), (other, domains[other])):
            yield f"a person may be in {domain_path(one)} and in {domain_path(other)}, {remedy}"


def _naming(domain: Domain) -> set[tuple[str, str]]:
    """The attributes in which the name is looked for, each with what is; one for what is left to the directory."""
    naming: set[tuple[str, str]] = set()
    for place in domain.searches():
        found = [("", Template("{user}"))] if place.filter is None else FilterTemplate(place.filter).naming
        naming |= {(attribute.lower(), template.fill(User("user", "domain"))) for attribute, template in found}
    return naming


def _overlap(one: tuple[str, Domain], other: tuple[str, Domain]) -> bool:
    """Whether two domains may have the same entries: on a host of both, one's base is at or above the other's."""
    hosts, others = _hosts(one[1]), _hosts(other[1])
    if hosts and others and not hosts & others:
        return False
    bases = itertools.product(_bases(*one), _bases(*other))
    return any(f",{base}".endswith(f",{above}") for pair in bases for base, above in (pair, pair[::-1]) if above) or (
        "" in _bases(*one) | _bases(*other)
    )


def _hosts(domain: Domain) -> set[str]:
    """Where its servers are, on whatever port; none where only DNS knows."""
    return set() if isinstance(domain.servers, str) else {server.host.lower() for server in domain.addresses()}


def _bases(name: str, domain: Domain) -> set[str]:
    """The DNs below which its users are, written alike."""
    if domain.is_searched:
        texts = [place.base_dn for place in domain.searches()]
    else:
        texts = [(domain.user_dn or "").partition(",")[2]]
    templates = [Template(text) for text in texts]
    if name == "*" and not all(template.constant for template in templates):
        return {""}  # anywhere
    filled = [template.fill(User("user", name)) for template in templates]
    return {re.sub(r"\s*([,=])\s*", r"\1", text).strip().lower() for text in filled}
