"""Right passwords are not remembered by name where a person has several, and changes go through this program."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w

from ldapauth import config
from ldapauth.config import Settings
from ldapauth.errors import ConfigurationError
from ldapauth.provider import Provider

CHANGING = ["check_password", "set_password"]
ANOTHER = {"base_dn": "ou=others,dc=example,dc=com"}
ABOVE = {"base_dn": "DC=Example, dc=com"}


def domain(**changes: Any) -> dict[str, Any]:
    """The table of a domain whose people have one name each, and change their passwords."""
    return {
        "servers": ["ldap://127.0.0.1:1"],
        "base_dn": "ou=people,dc=example,dc=com",
        "filter": "(uid={user})",
        "operations": CHANGING,
        **changes,
    }


def loaded(directory: Path, domains: dict[str, Any], **guard: float) -> Settings:
    """The settings of a file with these domains."""
    file = directory / "ldapauth.toml"
    file.write_text(tomli_w.dumps({"http": {"insecure_open": True}, "guard": guard, "domains": domains}))
    return config.load(str(file))


def split(**changes: Any) -> dict[str, Any]:
    """A domain with two places."""
    places = [{"base_dn": "ou=a,dc=x", "filter": "(uid={user})"}, {"base_dn": "ou=b,dc=x", **changes}]
    table = domain(search=places)
    del table["base_dn"], table["filter"]
    return table


SEVERAL = {
    "two attributes": {"a": domain(filter="(|(uid={user})(mail={user}))")},
    "two values of one": {"a": domain(filter="(|(mail={user})(mail={user}@example.com))")},
    "two places": {"a": split(filter="(mail={user})")},
    "a place of which the directory decides": {"a": split()},
    "any domain": {"*": domain()},
    "the same people": {"a": domain(), "b": domain()},
    "the other can change": {"a": domain(operations=["check_password"]), "b": domain()},
    "removal": {"a": domain(operations=["remove_user"]), "b": domain(operations=["check_password"])},
    "one above the other": {"a": domain(), "b": domain(**ABOVE)},
    "everybody": {"a": domain(), "b": domain(base_dn="")},
    "another port": {"a": domain(), "b": domain(servers=["ldap://127.0.0.1:2"])},
    "any domain may be below": {
        "*": domain(base_dn="{dc}", operations=["check_password"]),
        "a": domain(base_dn="{dc}"),
    },
    "servers from DNS": {"a": domain(), "b": domain(servers="srv:example.com", start_tls=True)},
}

ONE = {
    "one attribute": {"a": domain()},
    "one attribute and more": {"a": domain(filter="(&(objectClass=person)(uid={user})(!(cn={user})))")},
    "one attribute in two places": {"a": split(filter="(UID={user})")},
    "other people": {"a": domain(), "b": domain(**ANOTHER)},
    "other people by the domain": {"a.b": domain(base_dn="{dc}"), "a.c": domain(base_dn="{dc}")},
    "another server": {"a": domain(), "b": domain(servers=["ldap://localhost"])},
    "nothing is changed": {"*": domain(filter="(|(uid={user})(mail={user}))", operations=["check_password"])},
}


@pytest.mark.parametrize("key", ["cache_ttl", "stale_if_error"])
@pytest.mark.parametrize("case", SEVERAL)
def test_several_names_are_a_mistake(tmp_path: Path, case: str, key: str) -> None:
    """Where an old password would stay right under another name, right ones are not remembered at all."""
    settings = loaded(tmp_path, SEVERAL[case], **{key: 60.0, "failures": 5})
    with pytest.raises(ConfigurationError, match=f"^guard\\.{key}: ") as caught:
        Provider(settings)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("case", ONE)
def test_one_name_is_none(tmp_path: Path, case: str) -> None:
    """Where everybody has one name, or nothing is changed here, right passwords may be remembered."""
    Provider(loaded(tmp_path, ONE[case], cache_ttl=60.0, stale_if_error=60.0, failures=5)).close()


@pytest.mark.parametrize("case", SEVERAL)
def test_several_names_do_no_harm_else(tmp_path: Path, case: str) -> None:
    """Where no right password is accepted from memory, people may have as many names as they like."""
    Provider(loaded(tmp_path, SEVERAL[case], failures=5)).close()
