"""Base DNs, filters, indexes, size limits, and what the service account may read."""

from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from ldapauth import doctor
from ldapauth.doctor import people
from ldapauth.doctor.finding import Line, Mark
from ldapauth.doctor.people import anybody, nobody, parent
from tests import configuration
from tests.doctor import examined, findings, only, problems, skipped
from tests.servers import ldif
from tests.servers.people import PEOPLE_DN, SUFFIX
from tests.servers.proxy import Fault, Proxy
from tests.servers.slapd import Slapd
from tests.servers.slapd_config import READER_DN, SERVICE_DN

MANY = "".join(
    ldif.entry(
        f"uid=user{number},{PEOPLE_DN}",
        [("objectClass", "inetOrgPerson"), ("uid", f"user{number}"), ("cn", "User"), ("sn", "User")],
    )
    for number in range(10_000)
)


def ask(directory: Path, slapd: Slapd, **changes: Any) -> list[Line]:
    """What is said about a domain on the slapd."""
    return examined(directory, configuration.domain_table(slapd, **changes))


def test_a_healthy_directory(slapd: Slapd, tmp_path: Path) -> None:
    """Where everything is as it must be, nothing is a problem, and the searches of a login are timed."""
    lines = ask(tmp_path, slapd)
    assert problems(lines) == {}
    assert only(lines, "base DN").text == f"{PEOPLE_DN} is there"
    assert only(lines, "search").text.startswith("a search by the filter takes ")
    assert findings(lines, "read rights")[1].text == "the service account may read uid"


def test_a_base_that_is_not_there(slapd: Slapd, tmp_path: Path) -> None:
    """A base DN that is not there is a problem, whose remedy says what there is; nobody is searched below it."""
    lines = ask(tmp_path, slapd, base_dn=f"ou=nowhere,{SUFFIX}")
    found = only(lines, "base DN")
    assert found.mark is Mark.PROBLEM
    assert found.text.startswith(f"there is no ou=nowhere,{SUFFIX}, or the service account may not see it (result 32")
    assert f"(there is {SUFFIX})" in found.remedy
    assert list(problems(lines)) == ["base DN"]
    assert {"search", "read rights", "certificates", "write rights"} <= set(skipped(lines))


def test_a_base_in_another_directory(slapd: Slapd, tmp_path: Path) -> None:
    """A base DN that is no part of the server's tree is a problem, whose remedy says what the server has."""
    assert f"(the server has {SUFFIX})" in only(ask(tmp_path, slapd, base_dn="dc=other"), "base DN").remedy


def test_a_base_that_depends_on_the_domain(slapd: Slapd, tmp_path: Path) -> None:
    """Where the base DN depends on the domain, one must be named; then it is that domain's."""
    table = configuration.domain_table(slapd, base_dn=f"o={{domain}},{SUFFIX}")
    lines = examined(tmp_path, table, domains={"*": table})
    assert any("ldapauth doctor DOMAIN" in finding.text for finding in findings(lines, "skipped"))
    assert problems(lines) == {}
    named = examined(tmp_path, table, "sub.example.org", domains={"*": table})
    assert only(named, "base DN").text.startswith(f"there is no o=sub.example.org,{SUFFIX}")


@pytest.mark.parametrize(
    ("indexes", "text", "blamed"),
    [
        ("objectClass,uid", "(uid={user})", []),
        ("objectClass", "(&(objectClass=inetOrgPerson)(uid={user}))", ["uid"]),
        ("objectClass,uid", "(|(uid={user})(mail={user}@{domain}))", ["mail"]),
        ("objectClass", "(|(uid={user})(mail={user}))", ["uid", "mail"]),
    ],
    ids=["none", "the only one", "one of two", "both"],
)
def test_a_missing_index_is_named(tmp_path: Path, indexes: str, text: str, blamed: list[str]) -> None:
    """Among 10,000 entries a search without an index is told by its time, and the attributes to index are named."""
    with Slapd(extra_ldif=MANY, indexes=indexes) as slapd:
        found = only(ask(tmp_path, slapd, filter=text), "search")
    assert (found.mark, found.remedy) == (
        (Mark.WARNING, f"index {' and '.join(blamed)} for equality (OpenLDAP: olcDbIndex: {','.join(blamed)} eq)")
        if blamed
        else (Mark.OK, "")
    )


def test_a_filter_that_takes_long_by_itself(slapd: Slapd, tmp_path: Path, mocker: MockerFixture) -> None:
    """Where the name alone is found fast and the filter is slow all the same, its other attributes are named."""
    fastest = mocker.patch.object(people, "_fastest", side_effect=[0.5, 0.0])
    found = only(ask(tmp_path, slapd, filter="(&(uid={user})(memberOf=cn=chat)(!(locked=TRUE)))"), "search")
    assert fastest.call_count == 2
    assert (found.mark, found.remedy) == (Mark.WARNING, "see what takes long in the rest of the filter: memberOf")


def test_a_search_that_takes_too_long(slapd: Slapd, tmp_path: Path) -> None:
    """A search for which a login has not the time is a problem, and the rest is examined on another connection."""
    with Proxy(slapd.port) as proxy:
        file = configuration.write(tmp_path, configuration.domain_table(slapd, servers=[proxy.url], deadline=0.5))
        lines = []
        for line in doctor.examine(str(file)):
            lines.append(line)
            proxy.fault = Fault.HANG if line.check == "base DN" else Fault.NONE
    assert problems(lines) == {"search": "a search by the filter takes longer than the deadline of 0.5 seconds"}
    assert only(lines, "search").remedy.startswith("index uid for equality")
    assert {finding.mark for finding in findings(lines, "read rights")} == {Mark.OK}


def test_a_server_that_looks_through_no_more(tmp_path: Path) -> None:
    """A limit of entries that are looked through, which a search without an index exceeds, is a problem."""
    rules = f'limits dn.exact="{SERVICE_DN}" size.unchecked=100'
    with Slapd(extra_ldif=MANY, indexes="sn", rules=rules) as slapd:
        lines = ask(tmp_path, slapd)
    found = only(lines, "search")
    assert (found.mark, found.remedy) == (Mark.PROBLEM, "index uid for equality there")
    assert "(result 11" in found.text
    assert only(lines, "read rights").mark is Mark.NOT_ASKED


def test_a_filter_that_finds_whoever_asks(slapd: Slapd, tmp_path: Path) -> None:
    """A filter that finds entries for a name that nobody has is a problem."""
    found = only(ask(tmp_path, slapd, filter="(|(uid={user})(objectClass=person))"), "search")
    assert found.mark is Mark.PROBLEM
    assert found.text.startswith("the filter finds an entry for a name that nobody has: uid=")


def test_a_size_limit_of_one(tmp_path: Path) -> None:
    """A server that gives the service account one entry only is a problem: two alike could not be told."""
    with Slapd(rules=f'limits dn.exact="{SERVICE_DN}" size=1') as slapd:
        first = findings(ask(tmp_path, slapd), "read rights")[0]
    assert first.mark is Mark.PROBLEM
    assert "no more than one entry" in first.text


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ("search", "the service account may search by uid, and not read it, so nobody is recognised"),
        ("none", f"no entry below {PEOPLE_DN} shows uid: none has it, or the service account may not search by it"),
    ],
)
def test_an_account_that_may_not_read(tmp_path: Path, right: str, said: str) -> None:
    """A service account that may not read, or not search by, what the filter compares is a problem."""
    with Slapd(rules=f'access to attrs=uid by dn.exact="{SERVICE_DN}" {right} by * none') as slapd:
        lines = ask(tmp_path, slapd)
    assert problems(lines) == {"read rights": said}
    (remedy,) = (finding.remedy for finding in findings(lines, "read rights") if finding.remedy)
    assert "access to attrs=uid" in remedy


def test_an_account_that_sees_nobody(tmp_path: Path) -> None:
    """A service account that sees no entry at all is a problem."""
    rules = f'access to dn.onelevel="{PEOPLE_DN}" by * none\naccess to dn.subtree="{PEOPLE_DN}" attrs=entry by * read'
    with Slapd(rules=rules) as slapd:
        lines = ask(tmp_path, slapd, scope="one")
    assert problems(lines) == {"read rights": f"the service account sees nobody below {PEOPLE_DN}"}
    assert "write rights" in skipped(lines)


def test_a_filter_that_finds_nobody(slapd: Slapd, tmp_path: Path) -> None:
    """A filter whose attributes there are, and which finds nobody all the same, is a problem that shows the filter."""
    found = only(ask(tmp_path, slapd, filter="(&(uid={user})(objectClass=organization))"), "read rights")
    assert found.text == f"the filter finds nobody below {PEOPLE_DN}, whatever the name"
    assert found.remedy.endswith("(&(uid=*)(objectClass=organization))")


def test_passwords_that_may_be_read(tmp_path: Path) -> None:
    """That the service account may read passwords is a warning, and a problem if they are in clear; none is shown."""
    marks = []
    for stored in ("{SSHA}x1x2x3x4", "clear-x1x2x3x4"):
        entry = ldif.entry(
            f"uid=x,ou=x,{SUFFIX}",
            [("objectClass", "inetOrgPerson"), ("uid", "x"), ("cn", "x"), ("sn", "x"), ("userPassword", stored)],
        )
        unit = ldif.entry(f"ou=x,{SUFFIX}", [("objectClass", "organizationalUnit")])
        rules = f'access to dn.subtree="ou=x,{SUFFIX}" by dn.exact="{READER_DN}" read by * auth'
        with Slapd(extra_ldif=unit + entry, rules=rules) as slapd:
            reader = {"bind_dn": READER_DN, "bind_password": slapd.reader_password, "base_dn": f"ou=x,{SUFFIX}"}
            lines = ask(tmp_path, slapd, operations=["check_password"], **reader)
        marks.append(findings(lines, "read rights")[-1].mark)
        assert "x1x2x3x4" not in repr(lines)
    assert marks == [Mark.WARNING, Mark.PROBLEM]


def test_names_can_not_command_a_terminal(tmp_path: Path) -> None:
    """What is in the directory is shown without what a terminal would take for a command."""
    unit = ldif.entry(f"ou=x,{SUFFIX}", [("objectClass", "organizationalUnit")])
    names = [("objectClass", "inetOrgPerson"), ("uid", "a\x1b[2J\x9b\u202eb"), ("cn", "x"), ("sn", "x")]
    entry = ldif.entry(f"uid=a\x1b[2J\x9b\u202eb,ou=x,{SUFFIX}", names)
    with Slapd(extra_ldif=unit + entry) as slapd:
        lines = ask(tmp_path, slapd, base_dn=f"ou=x,{SUFFIX}")
    texts = [line.finding.text for line in lines]
    assert any("2J" in text for text in texts)
    assert all(text.isprintable() for text in texts)


def test_certificates_that_may_be_read(tmp_path: Path) -> None:
    """Whether users' certificates may be read is asked where `get_certs` is on, if anybody has one."""
    marks = []
    for right in ("read", "search", "none"):
        person = [("objectClass", "inetOrgPerson"), ("uid", "x"), ("cn", "x"), ("sn", "x")]
        entry = ldif.entry(f"uid=x,{PEOPLE_DN}", [*person, ("userCertificate;binary", CERTIFICATE)])
        rules = f'access to attrs=userCertificate by dn.exact="{SERVICE_DN}" {right}'
        with Slapd(extra_ldif=entry, rules=rules) as slapd:
            marks.append(only(ask(tmp_path, slapd), "certificates").mark)
            assert findings(ask(tmp_path, slapd, operations=["check_password"]), "certificates") == []
    assert marks == [Mark.OK, Mark.PROBLEM, Mark.NOT_ASKED]


CERTIFICATE = b"\x30\x03\x02\x01\x00"
"""Enough of one for a schema that does not look into it."""

BY_DN = {"user_dn": f"uid={{user}},{PEOPLE_DN}", "filter": None, "base_dn": None}


def test_users_that_bind_unsearched(slapd: Slapd, tmp_path: Path) -> None:
    """With user_dn the entry above it must be there, and there is no search to be timed."""
    lines = ask(tmp_path, slapd, **BY_DN)
    assert problems(lines) == {}
    assert only(lines, "base DN").text == f"{PEOPLE_DN} is there"
    assert findings(lines, "search") == []
    assert findings(lines, "read rights")[1].text == "the service account may read uid"
    moved = ask(tmp_path, slapd, **{**BY_DN, "user_dn": f"uid={{user}},ou=nowhere,{SUFFIX}"})
    assert only(moved, "base DN").remedy.startswith("correct user_dn")


def test_nothing_is_read_where_users_only_bind(slapd: Slapd, tmp_path: Path) -> None:
    """Where users bind at once and nobody asks for more, there is nothing that would have to be there."""
    nobody_else = {"bind_dn": None, "bind_password": None, "operations": ["check_password"]}
    lines = ask(tmp_path, slapd, **BY_DN, **nobody_else)
    assert problems(lines) == {}
    assert set(skipped(lines)) == {"base DN", "read rights"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(uid={user})", "(uid=*)"),
        ("(|(uid={user})(mail={user}@{domain}))", "(|(uid=*)(mail=*))"),
        ("(&(uid={user})(ou={domain}))", r"(&(uid=*)(ou=\61\2e\62))"),
        ("(&(uid={user})(proxyAddresses=smtp:{user}@*))", "(&(uid=*)(proxyAddresses=*))"),
        ("(&(uid:caseExactMatch:={user})(cn>={user})(uid={user}))", "(&(uid=*)(cn=*)(uid=*))"),
        (r"(&(uid=\28{user}\29)(description=\7buser\7d))", r"(&(uid=*)(description=\7buser\7d))"),
    ],
)
def test_a_filter_for_anybody(text: str, expected: str) -> None:
    """A filter for anybody asks for any value where the name stands, and is the same otherwise."""
    assert anybody(text, "a.b") == expected


@pytest.mark.parametrize(
    ("dn", "expected"),
    [
        ("uid=x,ou=people,dc=x", "ou=people,dc=x"),
        (r"uid=a\,b+cn=c,dc=x", "dc=x"),
        (r"uid=a\2cb,dc=x", "dc=x"),
        ("dc=x", ""),
        ("", ""),
    ],
)
def test_the_dn_above(dn: str, expected: str) -> None:
    """The DN above another one begins behind the first comma that is not escaped."""
    assert parent(dn) == expected


def test_nobody_is_somebody_else_each_time() -> None:
    """The name that nobody has is no name that was ever asked for."""
    assert nobody("x") != nobody("x")
