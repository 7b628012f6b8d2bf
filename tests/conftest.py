"""Fixtures that many tests share."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from ldapauth import log
from tests import configuration
from tests.servers.certificates import CertificateAuthority, Certificates
from tests.servers.ds389 import Ds389
from tests.servers.samba import Samba
from tests.servers.slapd import Slapd


@pytest.fixture(autouse=True)
def _logger() -> Iterator[None]:
    """Puts the logger back as it was, and closes what a test has opened: the next one may look at what is logged."""
    root = logging.getLogger(log.ROOT)
    before = (root.handlers[:], root.level, root.propagate, logging.raiseExceptions)
    yield
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers[:], root.level, root.propagate, logging.raiseExceptions = before


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Good and bad certificates for servers and clients."""
    return CertificateAuthority(tmp_path_factory.mktemp("certificates")).issue_all()


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    """A private slapd with people in it, one a test module."""
    with Slapd() as server:
        yield server


@pytest.fixture(scope="session")
def samba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samba]:
    """An Active Directory with people in it, one for all tests: they leave it as it was, or use people of their own."""
    with Samba(CertificateAuthority(tmp_path_factory.mktemp("samba"))) as server:
        yield server


@pytest.fixture(scope="session")
def ds389(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ds389]:
    """A 389 Directory Server with people in it, one for all tests: likewise."""
    with Ds389(CertificateAuthority(tmp_path_factory.mktemp("ds389"))) as server:
        yield server


@pytest.fixture
def config_file(slapd: Slapd, tmp_path: Path) -> Path:
    """A configuration that serves `configuration.DOMAIN` from the slapd with every operation on."""
    return configuration.write(tmp_path, configuration.domain_table(slapd))
