"""What memory takes for an outage: that no server answers, and nothing that one does answer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ldapauth import config
from ldapauth.deadline import Deadline
from ldapauth.errors import UnclearAnswer
from ldapauth.provider import Provider
from ldapauth.verdict import ACCEPTED, Memory, Verdict
from tests import configuration
from tests.servers.people import person
from tests.servers.proxy import Fault, Proxy
from tests.servers.slapd import Slapd

SERVICE = "cn=xmpp,ou=services,dc=example,dc=com"
RULES = f"""
access to filter=(title=unnamed) attrs=uid,cn,sn,mail by dn.exact="{SERVICE}" search by * none break
access to filter=(title=gone) by dn.exact="{SERVICE}" none by * none break
"""


@pytest.fixture
def server() -> Iterator[Slapd]:
    """A slapd that hides the names of an entry from the service account where its title says so."""
    with Slapd(rules=RULES) as slapd:
        yield slapd


@pytest.fixture
def known(server: Slapd, tmp_path: Path) -> Callable[..., Provider]:
    """A provider that remembers juliet's password for an outage."""

    def provider(**changes: Any) -> Provider:
        table = configuration.domain_table(server, **changes)
        made = Provider(config.load(str(configuration.write(tmp_path, table, guard={"stale_if_error": 86400}))))
        assert login(made) == ACCEPTED
        return made

    return provider


def login(provider: Provider) -> Verdict:
    """The answer to juliet's login with the password that is remembered."""
    return provider.check_password("juliet", configuration.DOMAIN, "juliet-secret", Deadline.after(10))


def change(server: Slapd, *lines: str) -> None:
    """Changes juliet's entry."""
    server.modify_ldif("\n".join([f"dn: {server.dn(person('juliet'))}", "changetype: modify", *lines, ""]))


def test_server_that_is_away_is_an_outage(server: Slapd, known: Callable[..., Provider]) -> None:
    """Where no server can be connected to, memory answers, also while it is left alone."""
    provider = known()
    server.stop()
    for _ in range(3):
        assert login(provider).memory is Memory.OUTAGE


def test_entry_whose_names_may_not_be_read_is_no_outage(server: Slapd, known: Callable[..., Provider]) -> None:
    """An entry that is there and hides its names may be one that was shut out: memory does not answer for it."""
    provider = known()
    change(server, "replace: userPassword", "userPassword: another-one", "-", "add: title", "title: unnamed")
    for _ in range(3):
        with pytest.raises(UnclearAnswer):
            login(provider)


def test_group_that_is_gone_is_no_outage(server: Slapd, known: Callable[..., Provider]) -> None:
    """Where the group that lets users in was deleted, nobody is let in from memory."""
    group, dn = "cn=chat,dc=example,dc=com", server.dn(person("juliet"))
    server.modify_ldif(f"dn: {group}\nchangetype: add\nobjectClass: groupOfNames\ncn: chat\nmember: {dn}\n")
    provider = known(required_groups=[group], group_membership="member")
    server.modify_ldif(f"dn: {group}\nchangetype: delete\n")
    with pytest.raises(UnclearAnswer, match="result 32"):
        login(provider)


@pytest.mark.parametrize("fault", [Fault.GARBAGE, Fault.OTHER_ID, Fault.HUGE])
def test_garbage_is_no_outage(server: Slapd, known: Callable[..., Provider], fault: Fault) -> None:
    """A server that answers with what is no answer is there: memory does not answer in its place."""
    with Proxy(server.port) as proxy:
        provider = known(servers=[proxy.url])
        proxy.fault = fault
        for _ in range(3):
            with pytest.raises(UnclearAnswer):
                login(provider)


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.CLOSE, Fault.RESET, Fault.NOTICE, Fault.BUSY, Fault.UNAVAILABLE])
def test_way_that_fails_is_an_outage(server: Slapd, known: Callable[..., Provider], fault: Fault) -> None:
    """A server that ends the connection, or says that it is busy or unavailable, has not answered: memory does."""
    with Proxy(server.port) as proxy:
        provider = known(servers=[proxy.url])
        proxy.fault = fault
        proxy.reset()
        for _ in range(3):
            assert login(provider).memory is Memory.OUTAGE


def test_service_account_that_is_refused_is_no_outage(server: Slapd, known: Callable[..., Provider]) -> None:
    """A service account whose password was changed is an answer, at once and while it is left alone."""
    provider = known()
    server.modify_ldif(f"dn: {SERVICE}\nchangetype: modify\nreplace: userPassword\nuserPassword: another-one\n")
    provider._served[configuration.DOMAIN].directory.close()  # the next question binds anew
    for _ in range(3):
        with pytest.raises(UnclearAnswer, match="service account"):
            login(provider)
