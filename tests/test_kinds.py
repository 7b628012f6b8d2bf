"""The kinds of directory: recognised by their root DSE, each with defaults that can be used."""

from typing import get_args

import pytest

from ldapauth import kinds
from ldapauth.directory.query import FilterTemplate, timed_filter

# Of what the servers show, what matters here, as it was read from them; FreeIPA's from its source.
ROOT_DSES: dict[kinds.Name, dict[str, list[bytes]]] = {
    "active-directory": {
        "supportedCapabilities": [b"1.2.840.113556.1.4.800", b"1.2.840.113556.1.4.1670"],
        "vendorName": [b"Samba Team (https://www.samba.org)"],
    },
    "389ds": {
        "objectClass": [b"top"],
        "vendorName": [b"389 Project"],
        "supportedExtension": [b"1.3.6.1.4.1.4203.1.11.1"],
    },
    "freeipa": {"objectClass": [b"top"], "vendorName": [b"389 Project"], "ipaDomainLevel": [b"1"]},
    "openldap": {
        "objectClass": [b"top", b"OpenLDAProotDSE"],
        "supportedExtension": [b"1.3.6.1.4.1.4203.1.11.1", b"1.3.6.1.1.8"],
    },
    "other": {"objectClass": [b"top"], "vendorName": [b"389"], "supportedCapabilities": [b"1.2.840.113556.1.4.1851"]},
}


@pytest.mark.parametrize("name", ROOT_DSES)
def test_server_is_recognised(name: kinds.Name) -> None:
    """Each kind is told from the others, however the names of the attributes are written."""
    assert kinds.recognised(ROOT_DSES[name]) == name
    assert kinds.recognised({key.upper(): values for key, values in ROOT_DSES[name].items()}) == name


def test_server_that_shows_nothing_is_nothing_special() -> None:
    """An empty root DSE is that of no kind, and so are bytes that are no text."""
    assert kinds.recognised({}) == "other"
    assert kinds.recognised({"vendorName": [b"\xff\xfe"], "ipaDomainLevel": []}) == "other"


@pytest.mark.parametrize("name", get_args(kinds.Name))
def test_defaults_of_a_kind_can_be_used(name: kinds.Name) -> None:
    """Each kind has a filter that names the user and, if any, a filter of the inactive that can be asked."""
    kind = kinds.KINDS[name]
    assert FilterTemplate(kind.filter).naming
    if kind.inactive:
        timed_filter(kind.inactive, 1_795_000_000)


def test_everything_that_is_looked_at_is_read() -> None:
    """A root DSE's operational attributes are shown to whoever asks for them by name."""
    assert {key for shown in ROOT_DSES.values() for key in shown} <= set(kinds.ROOT_DSE)
