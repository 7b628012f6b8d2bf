"""What the provider refuses by itself; all else is tested through the doors."""

from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from ldapauth import config
from ldapauth.deadline import Deadline
from ldapauth.errors import DeadlineExceeded
from ldapauth.provider import Provider
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests import configuration
from tests.servers.slapd import Slapd


@pytest.fixture
def provider(slapd: Slapd, tmp_path: Path) -> Provider:
    """A provider for one domain that only says who exists, and for every other one."""
    tree = {"example.org": configuration.domain_table(slapd, operations=["user_exists"])}
    file = configuration.write(tmp_path, configuration.domain_table(slapd))
    text = file.read_text().replace(f'[domains."{configuration.DOMAIN}"]', '[domains."*"]')
    other = configuration.write(tmp_path, tree["example.org"]).read_text()
    other = other[other.index("[domains.") :].replace(configuration.DOMAIN, "example.org", 1)
    file.write_text(f"{text}\n{other}")
    return Provider(config.load(str(file)))


def test_answer_that_comes_too_late_is_none(provider: Provider, mocker: MockerFixture) -> None:
    """An accepted password of which the deadline has passed meanwhile is not an answer any more."""
    mocker.patch.object(Deadline, "expired", new_callable=mocker.PropertyMock, return_value=True)
    with pytest.raises(DeadlineExceeded):
        provider.check_password("juliet", "any.example", "juliet-secret", Deadline.after(10))


@pytest.mark.parametrize("domain", ["example.org ", " example.org", "\uff45xample.org", "a\nb", ""], ids=ascii)
def test_domain_that_only_looks_like_another_is_unknown(provider: Provider, domain: str) -> None:
    """A domain that a directory might take for one with stricter settings is not served by `*`."""
    verdict = provider.check_password("juliet", domain, "juliet-secret", Deadline.after(10))
    assert verdict == Verdict(Reason.UNKNOWN_DOMAIN)


def test_every_other_domain_is_served_by_the_star(provider: Provider) -> None:
    """A domain without a table of its own is served by `*`, in whatever case it comes."""
    for domain in ("any.example", "ANY.example", "m\u00fcnchen.example"):
        assert provider.check_password("juliet", domain, "juliet-secret", Deadline.after(10)) == ACCEPTED
