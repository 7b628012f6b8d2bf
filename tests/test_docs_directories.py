"""The page about each kind of directory has a configuration that people log in with."""

import re
import tomllib
from collections.abc import Iterator

import pytest
import tomli_w

from ldapauth import config
from ldapauth.deadline import Deadline
from ldapauth.provider import Provider
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests.servers.certificates import Certificates
from tests.servers.ds389 import Ds389
from tests.servers.samba import Samba
from tests.servers.slapd import Slapd
from tests.test_docs import ROOT

AnyServer = Slapd | Ds389 | Samba

PAGES = [
    pytest.param("openldap", "secured", id="openldap"),
    pytest.param("389ds", "ds389", marks=pytest.mark.ds389, id="389ds"),
    pytest.param("active-directory", "samba", marks=pytest.mark.samba, id="active-directory"),
]


@pytest.fixture(scope="module")
def secured(certificates: Certificates) -> Iterator[Slapd]:
    """A slapd with TLS."""
    with Slapd(certificate=certificates.server) as server:
        yield server


@pytest.mark.parametrize(("page", "name"), PAGES)
def test_people_log_in(
    page: str,
    name: str,
    certificates: Certificates,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """With a page's first configuration, names and places apart, people log in."""
    server: AnyServer = request.getfixturevalue(name)
    example = re.search(r"^```toml\n(.*?)^```$", (ROOT / "docs" / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert example
    directory = tmp_path_factory.mktemp(page)
    secret = directory / "bind-password"
    secret.touch(mode=0o600)
    secret.write_text(server.service_password)
    ((domain, table),) = tomllib.loads(example[1])["domains"].items()
    places = {
        "servers": [server.ldaps_url],
        "bind_dn": server.service_dn,
        "bind_password_file": str(secret),
        "base_dn": server.people_dn,
        "ca_file": str(certificates.ca if isinstance(server, Slapd) else server.ca),
    }
    assert places.keys() <= table.keys()
    file = directory / "ldapauth.toml"
    file.write_text(tomli_w.dumps({"domains": {domain: {**table, **places}}}))
    provider = Provider(config.load(str(file), http=False))

    def login(password: str) -> Verdict:
        return provider.check_password("romeo", domain, password, Deadline.after(20))

    assert login("wrong") == Verdict(Reason.WRONG_PASSWORD)
    assert login("romeo-secret") == ACCEPTED
