"""The directory that every peer asks: a private slapd with 10,000 people, in plain and over TLS."""

import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomli_w

from bench.peer import PASSWORD, PEOPLE, USER, environment
from tests.servers import ldif
from tests.servers.certificates import SERVER_NAMES, CertificateAuthority
from tests.servers.ports import LOOPBACK
from tests.servers.slapd import Slapd

DOMAIN = "example.com"
CREDENTIALS = "prosody:http-secret"


@dataclass(frozen=True)
class Target:
    """How a peer reaches the directory, and finds people in it.

    Attributes:
        wire: `plain` or `TLS`.
        suffix: What the keys of the peers that use it end with.
        port: The port on loopback.
        ca_file: The certificate authority to trust.
        base_dn: Where people are.
        service_dn: The account that searches.
        service_password: Its password.
    """

    wire: str
    suffix: str
    port: int
    ca_file: Path
    base_dn: str = Slapd.people_dn
    service_dn: str = Slapd.service_dn
    service_password: str = Slapd.service_password

    @property
    def tls(self) -> bool:
        """Whether it is LDAPS."""
        return self.wire == "TLS"

    @property
    def url(self) -> str:
        """Where the directory is. Not at localhost: libldap demands the machine's own name of its certificate."""
        return f"{'ldaps' if self.tls else 'ldap'}://{LOOPBACK}:{self.port}"

    @property
    def arguments(self) -> list[str]:
        """The arguments of the programs in `bench.programs`."""
        return [self.url, str(self.ca_file), self.base_dn, self.service_dn, self.service_password]

    def environment(self) -> dict[str, str]:
        """The environment of a program that uses libldap."""
        return environment(LDAPTLS_CACERT=str(self.ca_file), LDAPTLS_REQCERT="demand")


class World:
    """A directory and a place for files: `with World() as world: ...`.

    Attributes:
        targets: The ways to the directory.

    Args:
        loglevel: What the directory logs.
    """

    targets: tuple[Target, ...]

    def __init__(self, *, loglevel: str = "none") -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="bench-")
        self._directory = Path(self._temporary.name)
        self._authority = CertificateAuthority(self._directory)
        certificate = self._authority.issue("server", *SERVER_NAMES)
        self._slapd = Slapd(certificate=certificate, extra_ldif=_people(), loglevel=loglevel)

    def __enter__(self) -> Self:
        self._slapd.start()
        assert self._slapd.ldaps_port is not None  # noqa: S101 - for the type checker: it has a certificate
        ca_file = self._authority.ca
        self.targets = (
            Target("plain", "", self._slapd.port, ca_file),
            Target("TLS", "-tls", self._slapd.ldaps_port, ca_file),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._slapd.close()
        self._temporary.cleanup()

    def operations(self, seconds: float) -> Counter[str]:
        """What the directory was asked so far, once it has had so many seconds to log it; needs the level `stats`."""
        time.sleep(seconds)
        return self._slapd.operations()

    def configuration(
        self, name: str, target: Target, domain: str = DOMAIN, guard: dict[str, Any] | None = None
    ) -> Path:
        """Writes a configuration of ours as an administrator would, with the log in a file, and returns its path."""
        table = {
            "servers": [target.url],
            "bind_dn": target.service_dn,
            "bind_password": target.service_password,
            "base_dn": target.base_dn,
            "filter": "(uid={user})",
        }
        if target.tls:
            table["ca_file"] = str(target.ca_file)
        tree: dict[str, Any] = {
            "http": {"credentials": CREDENTIALS},
            "log": {"level": "info", "target": str(self._directory / f"{name}.log")},
            "guard": guard or {},
            "domains": {domain: table},
        }
        file = self._directory / f"{name}.toml"
        file.touch(mode=0o600)
        file.write_text(tomli_w.dumps(tree))
        return file


def _people() -> str:
    """The LDIF of the people."""
    return "".join(
        ldif.entry(
            f"uid={USER % number},{Slapd.people_dn}",
            [
                ("objectClass", "inetOrgPerson"),
                ("uid", USER % number),
                ("cn", f"User {number}"),
                ("sn", f"Number {number}"),
                ("mail", f"{USER % number}@{DOMAIN}"),
                ("userPassword", PASSWORD % number),
            ],
        )
        for number in range(PEOPLE)
    )
