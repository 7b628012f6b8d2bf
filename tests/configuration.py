"""Configuration files for the tests, as an administrator writes them."""

from pathlib import Path
from typing import Any

import tomli_w

from tests.servers.slapd import Slapd

DOMAIN = "example.com"
CREDENTIALS = "prosody:http-secret"
ALL_OPERATIONS = ["check_password", "user_exists", "set_password", "register", "remove_user", "get_certs"]


def domain_table(slapd: Slapd, **changes: Any) -> dict[str, Any]:
    """The table of a domain that uses the server with every operation on; a change to None leaves a key out."""
    table = {
        "servers": [slapd.url],
        "bind_dn": slapd.service_dn,
        "bind_password": slapd.service_password,
        "base_dn": slapd.people_dn,
        "filter": "(&(objectClass=inetOrgPerson)(uid={user}))",
        "operations": ALL_OPERATIONS,
        **changes,
    }
    return {key: value for key, value in table.items() if value is not None}


def write(directory: Path, domain: dict[str, Any], **sections: Any) -> Path:
    """Writes a configuration for `DOMAIN`, readable by its owner alone, and returns its path."""
    tree = {"http": {"credentials": CREDENTIALS}, "domains": {DOMAIN: domain}, **sections}
    file = directory / "ldapauth.toml"
    file.touch(mode=0o600)
    file.write_text(tomli_w.dumps(tree))
    return file
