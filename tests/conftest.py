"""Fixtures that many tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import configuration
from tests.servers.certificates import CertificateAuthority, Certificates
from tests.servers.slapd import Slapd


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Good and bad certificates for servers and clients."""
    return CertificateAuthority(tmp_path_factory.mktemp("certificates")).issue_all()


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """A private slapd with people in it, one a test module."""
    with Slapd() as server:
        yield server


@pytest.fixture
def config_file(slapd: Slapd, tmp_path: Path) -> Path:
    """A configuration that serves `configuration.DOMAIN` from the slapd with every operation on."""
    return configuration.write(tmp_path, configuration.domain_table(slapd))
