"""The servers and providers of the tests that run on every kind of directory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ldapauth import config
from ldapauth.provider import Provider
from tests import configuration
from tests.configuration import DOMAIN
from tests.integration.table import KINDS, AnyServer, Make, people
from tests.servers import groups
from tests.servers.samba import Samba
from tests.servers.slapd import Slapd


@pytest.fixture(scope="module")
def ppolicy() -> Iterator[Slapd]:
    """A slapd with a password policy."""
    with Slapd(ppolicy=True, memberof=True) as server:
        yield server


@pytest.fixture
def server(request: pytest.FixtureRequest, name: str) -> AnyServer:
    """The server of a case."""
    found = request.getfixturevalue(name)
    assert isinstance(found, AnyServer)
    return found


@pytest.fixture
def make(server: AnyServer, name: str, tmp_path: Path) -> Make:
    """Makes providers on the server of a case, from the least that an administrator writes, with changes."""

    def provider(domain: str = DOMAIN, **changes: Any) -> Provider:
        table = {
            "servers": [server.url if isinstance(server, Slapd) else server.ldaps_url],
            "directory": KINDS[name],
            "bind_dn": server.service_dn,
            "bind_password": server.service_password,
            "base_dn": server.people_dn,
            "operations": configuration.ALL_OPERATIONS,
            "ca_file": None if isinstance(server, Slapd) else str(server.ca),
            **changes,
        }
        given = {key: value for key, value in table.items() if value is not None}
        return Provider(config.load(str(configuration.write(tmp_path, given, domains={domain: given}))))

    return provider


@pytest.fixture
def grouped(server: AnyServer) -> AnyServer:
    """The server of a case, with groups in it."""
    if not server.entry(groups.dn("house", server.suffix)):
        written = groups.Groups(server.suffix, people(server), server.dn)
        server.modify_ldif(written.of_an_active_directory() if isinstance(server, Samba) else written.of_others())
    return server
