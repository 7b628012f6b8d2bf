"""What the answers to the service account's bind mean."""

import pytest

from ldapauth.config import Domain
from ldapauth.directory import Directory, kerberos, service
from ldapauth.directory.wire import Result
from ldapauth.errors import ConfigurationError

SETTINGS = Domain(servers=("ldap://localhost",), base_dn="dc=x", bind_dn="cn=x")
_AD = "80090308: LdapErr: DSID-0C09042A, comment: AcceptSecurityContext error, data {}, v4563\0"


def trouble(code: int, message: str = "", settings: Domain = SETTINGS) -> str:
    """What is said of an answer."""
    return service.trouble(settings, Result(1, "bind", code, message=message))


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (0, "", ""),
        (7, "", "does not know this way to bind"),
        (8, "", "takes no password without TLS"),
        (13, "", "takes no password without TLS"),
        (49, "", "DN or password is wrong (result 49)"),
        (49, _AD.format("52e"), "DN or password is wrong (result 49, data 52e)"),
        (49, _AD.format("775"), "the account is locked"),
        (49, _AD.format("533"), "the account is switched off"),
        (49, _AD.format("532"), "has expired (result 49, data 532)"),
        (49, _AD.format("51f"), "may not bind (result 49, data 51f)"),
        (32, "", "no entry matches the name"),
        (51, "", "may not bind (result 51)"),
        (80, "secret words", "may not bind (result 80)"),
    ],
)
def test_each_answer_is_a_sentence(code: int, message: str, said: str) -> None:
    """What keeps the account from binding is said in words of ours, with the server's number."""
    assert said in trouble(code, message)
    assert bool(trouble(code, message)) == bool(code)
    assert "secret words" not in trouble(code, message)


@pytest.mark.parametrize(
    ("way", "said"), [("external", "whom the client certificate"), ("gssapi", "the principal of the keytab")]
)
def test_wrong_account_without_a_password(way: str, said: str) -> None:
    """What is wrong is no password where there is none."""
    settings = Domain(servers=("ldap://localhost",), base_dn="dc=x", bind=way)  # type: ignore[arg-type] # one of them
    assert said in trouble(49, settings=settings)


def test_kerberos_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package for Kerberos it is a mistake in the configuration, and what to install is said."""
    monkeypatch.setattr(kerberos, "is_installed", lambda: False)
    settings = Domain(servers=("ldaps://x.example",), base_dn="dc=x", bind="gssapi", keytab="x")
    with pytest.raises(ConfigurationError, match=r"bind: \"gssapi\" needs the extra kerberos"):
        Directory("example.com", settings)
