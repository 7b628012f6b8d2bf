"""What the doctor says of the groups that users must be in, and of several places where they are."""

from pathlib import Path
from typing import Any

import pytest

from ldapauth.doctor.finding import Line, Mark
from tests import configuration
from tests.doctor import examined, findings, only, skipped
from tests.servers.groups import POSIX, Groups, dn
from tests.servers.people import PEOPLE, PEOPLE_DN, SUFFIX
from tests.servers.slapd import Slapd

HOUSE = dn("house", SUFFIX)


@pytest.fixture
def grouped(slapd: Slapd) -> Slapd:
    """A slapd with groups in it."""
    if not slapd.entry(HOUSE):
        slapd.modify_ldif(Groups(SUFFIX, PEOPLE, slapd.dn).of_others())
    return slapd


def ask(tmp_path: Path, slapd: Slapd, *domains: str, **changes: Any) -> list[Line]:
    """What is said about a domain on the slapd."""
    return examined(tmp_path, configuration.domain_table(slapd, **changes), *domains)


def test_groups_that_are_there_and_show_who_is_in_them(grouped: Slapd, tmp_path: Path) -> None:
    """Each required group is looked for, and for a member of it by the attribute that is asked about."""
    found = findings(ask(tmp_path, grouped, required_groups=[HOUSE, dn("floor", SUFFIX)]), "groups")
    assert [finding.mark for finding in found] == [Mark.OK, Mark.OK]
    assert found[0].text == f"{HOUSE} is there, and shows who is in it (member)"
    lines = ask(tmp_path, grouped, required_groups=[dn(POSIX, SUFFIX)], group_membership="memberUid")
    assert only(lines, "groups").mark is Mark.OK
    lines = ask(tmp_path, grouped, required_groups=[HOUSE], group_membership="memberOf")
    assert only(lines, "groups").text == f"{HOUSE} is there"


def test_a_group_that_is_not_there(grouped: Slapd, tmp_path: Path) -> None:
    """A required group that can't be found is a problem, since nobody can log in."""
    found = only(ask(tmp_path, grouped, required_groups=[dn("nowhere", SUFFIX)]), "groups")
    assert (found.mark, "result 32" in found.text) == (Mark.PROBLEM, True)


def test_a_group_that_shows_nobody(grouped: Slapd, tmp_path: Path) -> None:
    """A group without the attribute that is asked about is a warning, since nobody may be in it."""
    found = only(ask(tmp_path, grouped, required_groups=[HOUSE], group_membership="memberUid"), "groups")
    assert (found.mark, found.text.startswith(f"{HOUSE} shows no memberUid")) == (Mark.WARNING, True)


def test_nothing_is_said_where_no_group_is_required(grouped: Slapd, tmp_path: Path) -> None:
    """Without `required_groups` there is nothing to say of groups."""
    assert findings(ask(tmp_path, grouped), "groups") == []


def test_each_place_is_examined(grouped: Slapd, tmp_path: Path) -> None:
    """Where people are in several places, each is looked at, and one that is not there is a problem."""
    whole = {"base_dn": None, "filter": None, "directory": "openldap"}
    places = [{"base_dn": PEOPLE_DN}, {"base_dn": SUFFIX, "filter": "(mail={user}@{domain})"}]
    lines = ask(tmp_path, grouped, **whole, search=places)
    for check in ("base DN", "search"):
        assert [finding.mark for finding in findings(lines, check)] == [Mark.OK, Mark.OK]
    lines = ask(tmp_path, grouped, **whole, search=[places[0], {"base_dn": f"ou=nowhere,{SUFFIX}"}])
    assert [finding.mark for finding in findings(lines, "base DN")] == [Mark.OK, Mark.PROBLEM]
    assert "search" in skipped(lines)


def test_places_that_depend_on_the_domain(grouped: Slapd, tmp_path: Path) -> None:
    """What is below the domain's DN is examined for a domain that is named."""
    table = configuration.domain_table(
        grouped,
        base_dn="ou=people,{dc}",
        filter="(&(uid={user})(!(cn={dc})))",
        required_groups=["cn=house,ou=groups,{dc}"],
    )
    sections = {"domains": {"*": table}}
    lines = examined(tmp_path, table, configuration.DOMAIN, **sections)
    assert [only(lines, check).mark for check in ("base DN", "search", "groups")] == [Mark.OK] * 3
    assert {"base DN", "search", "groups"} <= set(skipped(examined(tmp_path, table, **sections)))
