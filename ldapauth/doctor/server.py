"""A server's root DSE, parsed: what kind it is, what it offers, what time it is there. Source: RFC 4512 5.1."""

import dataclasses

from ldapauth.directory import wire
from ldapauth.kinds import ROOT_DSE, Name, recognised

ATTRIBUTES = (
    *ROOT_DSE,
    "vendorVersion",
    "namingContexts",
    "schemaNamingContext",
    "supportedControl",
    "currentTime",
)
"""What is asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class RootDse:
    """What the root DSE says.

    Attributes:
        kind: What kind of directory it is.
        name: Who made it, in its own words; empty if it does not say.
        offered: The OIDs of the extended operations, controls and capabilities that it offers.
        contexts: The DNs below which it has entries.
        schema: The DN of an Active Directory's schema.
        time: Its clock, if it shows it.
    """

    kind: Name
    name: str
    offered: frozenset[str]
    contexts: tuple[str, ...]
    schema: str
    time: str


def parsed(entry: wire.Entry) -> RootDse:
    """The root DSE, from its entry."""
    lists = ("supportedExtension", "supportedControl", "supportedCapabilities")
    offered = frozenset(value for name in lists for value in values_of(entry, name))
    name = " ".join(filter(None, (first_of(entry, "vendorName"), first_of(entry, "vendorVersion"))))
    contexts = tuple(values_of(entry, "namingContexts"))
    return RootDse(
        recognised(entry.attributes),
        name,
        offered,
        contexts,
        first_of(entry, "schemaNamingContext"),
        first_of(entry, "currentTime"),
    )


def first_of(entry: wire.Entry, attribute: str) -> str:
    """The first value of an attribute as text; empty if there is none. Names of attributes have no case."""
    values = values_of(entry, attribute)
    return values[0] if values else ""


def values_of(entry: wire.Entry, attribute: str) -> list[str]:
    """The values of an attribute as texts."""
    found = [values for name, values in entry.attributes.items() if name.lower() == attribute.lower()]
    return [value.decode("utf-8", "replace") for values in found for value in values]
