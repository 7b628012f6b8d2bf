"""What the provider refuses by itself; all else is tested through the doors."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from ldapauth import config, log
from ldapauth.config import Log
from ldapauth.deadline import Deadline
from ldapauth.errors import DeadlineExceeded, DirectoryUnavailable, UnclearAnswer
from ldapauth.provider import Provider
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests import configuration
from tests.servers.process import wait_until
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


def test_hidden_name_is_not_told_by_what_the_directory_says(slapd: Slapd, tmp_path: Path) -> None:
    """Where names are hidden and a group that is named by the user can't be asked about, no line tells the name."""
    groups = {"group_membership": "member", "required_groups": ["cn={user},ou=groups,dc=example,dc=com"]}
    file = configuration.write(tmp_path, configuration.domain_table(slapd, **groups))
    for users, told in (("hash", False), ("plain", True)):
        target = tmp_path / f"{users}.log"
        log.configure(Log(target=str(target), users=users))  # type: ignore[arg-type] # one of the two
        with pytest.raises(UnclearAnswer):
            Provider(config.load(str(file))).check_password("juliet", configuration.DOMAIN, "x", Deadline.after(10))
        assert "event=outage" in target.read_text()
        assert ("juliet" in target.read_text()) is told


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


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[], list[str]]:
    """Has the log go to a file; gives its lines, without their times."""
    file = tmp_path / "provider.log"
    log.configure(Log(target=str(file)))
    return lambda: [line[24:] for line in file.read_text().splitlines()]


def made(slapd: Slapd, directory: Path, **changes: Any) -> Provider:
    """A provider for a domain on the slapd, behind a front end called `door`."""
    file = configuration.write(directory, configuration.domain_table(slapd, **changes))
    return Provider(config.load(str(file)), "door")


def ask(provider: Provider, user: str = "juliet", domain: str = configuration.DOMAIN) -> Verdict | None:
    """A login, or None where there is no answer."""
    try:
        return provider.check_password(user, domain, "juliet-secret", Deadline.after(10))
    except DirectoryUnavailable:
        return None


def test_a_line_says_who_answered_and_who_asked(
    slapd: Slapd, tmp_path: Path, lines: Callable[[], list[str]], mocker: MockerFixture
) -> None:
    """The line of a question names the server that was asked last, the front end, and what it calls the question."""
    mocker.patch.object(log.asked, "id", "q-1", create=True)
    provider = made(slapd, tmp_path)
    ask(provider)
    ask(provider, domain="example.net")
    asked, not_asked = lines()
    assert re.fullmatch(
        rf"INFO event=check_password domain=example\.com user=juliet verdict=accepted"
        rf" server={re.escape(slapd.url)} ms=[\d.]+ door=door id=q-1",
        asked,
    )
    assert re.search(r"reason=unknown-domain ms=[\d.]+ door=door id=q-1$", not_asked)


def test_an_outage_is_warned_about_once(tmp_path: Path, lines: Callable[[], list[str]]) -> None:
    """An outage is one warning; when it ends, a line says how many questions it hit; each has its own line anyway."""
    with Slapd() as slapd:
        provider = made(slapd, tmp_path, connect_timeout=0.5)
        assert ask(provider) == ACCEPTED
        slapd.stop()
        assert [ask(provider) for _ in range(3)] == [None] * 3
        assert ask(provider, domain="example.net") == Verdict(Reason.UNKNOWN_DOMAIN)
        slapd.start()
        assert wait_until(lambda: ask(provider) == ACCEPTED, 20)
        assert ask(provider) == ACCEPTED
    found = [line for line in lines() if "event=server-" not in line]
    warnings = [line for line in found if line.startswith("WARNING")]
    (over,) = [line for line in found if "event=outage-over" in line]
    missed = [line for line in found if "verdict=unavailable reason=outage" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("WARNING event=outage domain=example.com error=")
    assert over.startswith(f"INFO event=outage-over domain=example.com questions={len(missed)} seconds=")
    assert all(line.startswith("INFO ") for line in missed)
    assert found.index(over) > max(found.index(line) for line in missed)
