"""Finding, verifying and changing in a real slapd."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ldapauth import config
from ldapauth.config import Domain
from ldapauth.deadline import Deadline
from ldapauth.directory import Directory, User
from ldapauth.errors import DirectoryUnavailable, NotAllowed, PolicyRefusal, UserExists
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests import configuration
from tests.servers.certificates import CertificateAuthority
from tests.servers.people import PEOPLE, PEOPLE_DN, PEOPLE_WITH_ODD_NAMES, Person, State, person
from tests.servers.slapd import Slapd

UNIQUE = [who for who in PEOPLE if who.uid != "twin" and who.password is not None]

Make = Callable[..., Directory]


@pytest.fixture
def make(slapd: Slapd, tmp_path: Path) -> Make:
    """Makes a directory on the slapd, from a table with the given changes."""

    def directory(**changes: Any) -> Directory:
        table = configuration.domain_table(slapd, **changes)
        return Directory(configuration.DOMAIN, settings(tmp_path, table))

    return directory


def settings(tmp_path: Path, table: dict[str, Any]) -> Domain:
    """The domain's settings, through a configuration file."""
    return config.load(str(configuration.write(tmp_path, table))).domains[configuration.DOMAIN]


def soon() -> Deadline:
    """The deadline of a test's question."""
    return Deadline.after(10)


def user(name: str) -> User:
    """A user of the tests' domain."""
    return User(name, configuration.DOMAIN)


def password_of(who: Person) -> str:
    """A person's password as a text."""
    assert who.password is not None
    return who.password


@pytest.mark.parametrize("who", UNIQUE, ids=lambda who: who.uid)
def test_person_logs_in_with_own_password_only(make: Make, who: Person) -> None:
    """Whatever the name and the password are made of, the right password is accepted and another refused."""
    directory = make()
    assert directory.check_password(user(who.uid), password_of(who), soon()) == ACCEPTED
    assert directory.check_password(user(who.uid), password_of(who) + "x", soon()) == Verdict(Reason.WRONG_PASSWORD)


@pytest.mark.parametrize("who", PEOPLE_WITH_ODD_NAMES, ids=lambda who: who.uid)
def test_user_dn_template_binds_without_a_search(make: Make, who: Person) -> None:
    """With a DN template, names of every kind log in without a service account."""
    directory = make(user_dn=f"uid={{user}},{PEOPLE_DN}", bind_dn=None, bind_password=None, base_dn=None, filter=None)
    assert directory.check_password(user(who.uid), password_of(who), soon()) == ACCEPTED
    assert directory.check_password(user(who.uid), "wrong", soon()) == Verdict(Reason.WRONG_PASSWORD)


REFUSALS = {
    "nobody": Reason.NO_SUCH_USER,
    "twin": Reason.AMBIGUOUS,
    "juliet ": Reason.OTHER_NAME,
    " juliet": Reason.OTHER_NAME,
    "j  doe": Reason.OTHER_NAME,
    "*": Reason.NO_SUCH_USER,
    "jul*": Reason.NO_SUCH_USER,
    "juliet)(uid=*": Reason.NO_SUCH_USER,
    "*)(uid=*))(|(uid=*": Reason.NO_SUCH_USER,
    "juliet\\2a": Reason.NO_SUCH_USER,
    "juliet\0": Reason.NO_SUCH_USER,
    "\uff4auliet": Reason.OTHER_NAME,
    "jose\u0301 ": Reason.OTHER_NAME,
    "jose": Reason.NO_SUCH_USER,
}


@pytest.mark.parametrize(("name", "reason"), REFUSALS.items(), ids=[ascii(name) for name in REFUSALS])
def test_name_that_only_matches_is_refused(make: Make, name: str, reason: Reason) -> None:
    """None, several and not quite this name are different refusals, and no name is a pattern."""
    directory = make()
    assert directory.find(user(name), soon()) is reason
    assert directory.check_password(user(name), "juliet-secret", soon()) == Verdict(reason)


@pytest.mark.parametrize("hidden", [False, True], ids=["readable", "hidden"])
def test_user_dn_template_refuses_names_that_only_match(tmp_path: Path, *, hidden: bool) -> None:
    """With a DN template a name that slapd takes for another's is refused, readable or not."""
    with Slapd(hidden=hidden) as server:
        table = configuration.domain_table(
            server, user_dn=f"uid={{user}},{PEOPLE_DN}", bind_dn=None, bind_password=None, base_dn=None, filter=None
        )
        directory = Directory(configuration.DOMAIN, settings(tmp_path, table))
        for name in ("juliet ", " juliet", "\uff4auliet", "j\u00adu\u00adliet"):
            assert not directory.check_password(user(name), "juliet-secret", soon()).accepted
        assert not directory.check_password(user("j  doe"), password_of(person("j doe")), soon()).accepted
        assert directory.check_password(user("j doe"), password_of(person("j doe")), soon()) == ACCEPTED
        assert directory.check_password(user("juliet"), "juliet-secret", soon()) == ACCEPTED


def test_spellings_of_a_name_are_no_guesses_at_the_directory(tmp_path: Path) -> None:
    """With a DN template no spelling of a name but its own is bound, so the account has one budget of guesses."""
    who = State.EASILY_LOCKED.person
    with Slapd(ppolicy=True) as server:
        table = configuration.domain_table(
            server, user_dn=f"uid={{user}},{PEOPLE_DN}", bind_dn=None, bind_password=None, base_dn=None, filter=None
        )
        directory = Directory(configuration.DOMAIN, settings(tmp_path, table))
        for spelling in ("{} ", " {}", "{}  ", "\u00ad{}", "{}\u00ad", "{}\u200b", "{}\u034f"):
            assert directory.check_password(user(spelling.format(who.uid)), "guess", soon()) == Verdict(
                Reason.OTHER_NAME
            )
        assert server.bad_passwords(server.dn(who)) == 0
        assert directory.check_password(user(who.uid), "guess", soon()) == Verdict(Reason.WRONG_PASSWORD)
        assert server.bad_passwords(server.dn(who)) == 1


def test_case_of_a_name_does_not_count(make: Make) -> None:
    """XMPP servers send names in lower case, however the directory writes them."""
    assert make().check_password(user("JULIET"), "juliet-secret", soon()) == ACCEPTED


def test_stored_in_another_normal_form_is_the_same_name(make: Make, slapd: Slapd) -> None:
    """A name that the directory holds decomposed is found under the composed form that XMPP servers send."""
    slapd.modify_ldif(
        f"dn: cn=decomposed,{PEOPLE_DN}\nchangetype: add\nobjectClass: inetOrgPerson\ncn: decomposed\nsn: d\n"
        "uid:: cmVuZcyB\nuserPassword: rene-secret\n"  # r e n e U+0301
    )
    assert make().check_password(user("ren\u00e9"), "rene-secret", soon()) == ACCEPTED


def test_person_without_password_is_refused(make: Make) -> None:
    """An entry that has no password lets nobody in."""
    verdict = make().check_password(user("nopassword"), "x", soon())
    assert verdict.reason in (Reason.WRONG_PASSWORD, Reason.NOT_PERMITTED)


def test_filter_decides_who_may_log_in(make: Make) -> None:
    """Whoever the filter leaves out does not exist here."""
    directory = make(filter="(&(uid={user})(!(mail=juliet@*)))")
    assert directory.find(user("juliet"), soon()) is Reason.NO_SUCH_USER
    assert directory.find(user("romeo"), soon()) == person("romeo").dn


def test_filter_by_mail_address_takes_the_domain(make: Make) -> None:
    """`{domain}` stands for the virtual host, in a filter and beside another naming attribute."""
    directory = make(filter="(|(mail={user}@{domain})(uid={user}))")
    assert directory.check_password(user("juliet"), "juliet-secret", soon()) == ACCEPTED


def test_alias_of_an_attribute_name_in_the_filter(make: Make) -> None:
    """A filter may call uid by its other name, although the server answers with the first."""
    assert make(filter="(userid={user})").check_password(user("juliet"), "juliet-secret", soon()) == ACCEPTED


def test_base_dn_of_the_domain(make: Make, slapd: Slapd) -> None:
    """With `{domain}` in the base DN, a domain without a tree of its own has no users."""
    directory = make(base_dn=f"ou={{domain}},{slapd.suffix}")
    assert directory.find(user("juliet"), soon()) is Reason.NO_SUCH_USER


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"bind_password": "wrong"}, "DN or password is wrong"),
        ({"bind_dn": "cn=nobody,dc=example,dc=com"}, "DN or password is wrong"),
        ({"base_dn": "ou=nowhere,dc=example,dc=com"}, "result 32"),
        ({"base_dn": "ou=people,dc=other"}, "result 32|result 10"),
        ({"bind_dn": None, "bind_password": None}, "result 32|may not read"),
    ],
    ids=["password", "dn", "base", "suffix", "anonymous"],
)
def test_misconfigured_directory_is_unavailable(make: Make, changes: dict[str, Any], expected: str) -> None:
    """A directory that can't be asked the right way never says no."""
    directory = make(**changes)
    with pytest.raises(DirectoryUnavailable, match=expected):
        directory.check_password(user("juliet"), "juliet-secret", soon())


def test_anonymous_search_where_allowed(tmp_path: Path) -> None:
    """Without a service account the search is anonymous."""
    with Slapd(anonymous_read=True) as server:
        table = configuration.domain_table(server, bind_dn=None, bind_password=None)
        directory = Directory(configuration.DOMAIN, settings(tmp_path, table))
        assert directory.check_password(user("juliet"), "juliet-secret", soon()) == ACCEPTED


@pytest.mark.parametrize("way", ["auto", "modify", "extended"])
def test_new_password_replaces_the_old_one(make: Make, slapd: Slapd, way: str) -> None:
    """After a change by LDAP modify or RFC 3062 the new password binds and the old one does not."""
    who = person("romeo")
    directory = make(password_change=way)
    directory.set_password(who.dn, f" n\u00e9w: {way} ", soon())
    assert slapd.can_bind(who.dn, f" n\u00e9w: {way} ")
    assert not slapd.can_bind(who.dn, password_of(who))
    assert len(slapd.entry(who.dn)["userPassword"]) == 1


def test_auto_lets_the_server_hash(make: Make, slapd: Slapd) -> None:
    """Where the root DSE offers RFC 3062 it is used, and no password lies readable in the directory."""
    make().set_password(person("nurse").dn, "nurse-new", soon())
    assert slapd.entry(person("nurse").dn)["userPassword"][0].startswith(b"{SSHA}")


def test_change_without_the_right_is_not_allowed(make: Make, slapd: Slapd) -> None:
    """A service account that may only read can't set a password, and is told so."""
    directory = make(bind_dn=slapd.reader_dn, bind_password=slapd.reader_password)
    with pytest.raises(NotAllowed, match="insufficient access"):
        directory.set_password(person("juliet").dn, "x", soon())
    assert slapd.can_bind(person("juliet").dn, "juliet-secret")


@pytest.mark.parametrize("way", ["modify", "extended"])
def test_policy_refusal_says_why_and_nothing_changes(tmp_path: Path, way: str) -> None:
    """A password that the policy does not like is refused in the server's words, and leaves no half-made account."""
    with Slapd(ppolicy=True) as server:
        table = configuration.domain_table(server, password_change=way)
        directory = Directory(configuration.DOMAIN, settings(tmp_path, table))
        with pytest.raises(PolicyRefusal, match=r"(?i)quality|short"):
            directory.set_password(person("juliet").dn, "short", soon())
        with pytest.raises(PolicyRefusal, match=r"(?i)quality|short"):
            directory.add(user("mercutio"), "short", soon())
        assert server.can_bind(person("juliet").dn, "juliet-secret")
        assert server.entry(f"uid=mercutio,{PEOPLE_DN}") == {}


@pytest.mark.parametrize("way", ["modify", "extended"])
@pytest.mark.parametrize("name", ["mercutio", 'o,new+one="x" #;<>\\', "#n\u00e9w 'one'", "\u65b0"], ids=ascii)
def test_added_account_logs_in_until_it_is_deleted(make: Make, name: str, way: str) -> None:
    """A new account of whatever name logs in with its password, can't be made twice, and is gone when deleted."""
    directory = make(password_change=way)
    directory.add(user(name), "first", soon())
    assert directory.check_password(user(name), "first", soon()) == ACCEPTED
    with pytest.raises(UserExists):
        directory.add(user(name), "second", soon())
    dn = directory.find(user(name), soon())
    assert isinstance(dn, str)
    directory.remove(dn, soon())
    assert directory.find(user(name), soon()) is Reason.NO_SUCH_USER


def test_register_templates_make_the_entry(make: Make, slapd: Slapd) -> None:
    """A new account gets the DN, object classes and attributes that the configuration says."""
    directory = make(
        register={
            "dn": f"cn={{user}},ou=a,{PEOPLE_DN}",
            "object_classes": ["inetOrgPerson"],
            "attributes": {"uid": "{user}", "sn": "of {domain}", "mail": "{user}@{domain}"},
        }
    )
    directory.add(user("paris"), "paris-secret", soon())
    entry = slapd.entry(f"cn=paris,ou=a,{PEOPLE_DN}")
    assert entry["mail"] == [b"paris@example.com"]
    assert entry["sn"] == [b"of example.com"]
    assert directory.check_password(user("paris"), "paris-secret", soon()) == ACCEPTED


def test_schema_violation_is_not_allowed(make: Make) -> None:
    """An account that the directory's schema has no room for is refused, not an outage."""
    directory = make(register={"attributes": {"uid": "{user}", "nonsense": "{user}"}})
    with pytest.raises(NotAllowed, match="schema"):
        directory.add(user("tybalt"), "x", soon())


def test_certificates_come_as_stored(make: Make, slapd: Slapd, tmp_path: Path) -> None:
    """The user's certificates are given in DER form, and nobody else's."""
    issued = CertificateAuthority(tmp_path).user_certificate("juliet", "juliet@example.com")
    slapd.modify_ldif(
        f"dn: {person('juliet').dn}\nchangetype: modify\nadd: userCertificate;binary\n"
        f"userCertificate;binary:: {base64.b64encode(issued.der).decode()}\n"
    )
    found = make().certificates(user("juliet"), soon())
    assert not isinstance(found, Reason)
    assert found == [issued.der]
    assert make().certificates(user("romeo"), soon()) == []
    assert make().certificates(user("nobody"), soon()) is Reason.NO_SUCH_USER
