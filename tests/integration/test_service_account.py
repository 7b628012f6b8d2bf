"""The service account: how it binds, and what is said when a directory does not take it."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ldapauth.errors import DeadlineExceeded, DirectoryUnavailable
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests.integration.table import RIGHT, AnyServer, Make, change, login, on
from tests.servers.certificates import CertificateAuthority, Certificates
from tests.servers.ds389 import Ds389
from tests.servers.people import State
from tests.servers.samba import Samba
from tests.servers.slapd import Slapd

EXTERNAL = {"bind": "external", "bind_dn": None, "bind_password": None}


@pytest.fixture(scope="module")
def slapd(certificates: Certificates) -> Iterator[Slapd]:
    """A slapd that knows clients by their certificates."""
    with Slapd(certificate=certificates.server, client_ca=certificates.ca) as server:
        yield server


@pytest.fixture
def shown(server: AnyServer, certificates: Certificates) -> dict[str, Any]:
    """The settings for a service account with a certificate."""
    assert isinstance(server, Slapd | Ds389)
    pair, ca = (server.client, server.ca) if isinstance(server, Ds389) else (certificates.client, certificates.ca)
    return {**EXTERNAL, "client_cert": str(pair.certificate), "client_key": str(pair.key), "ca_file": str(ca)}


@pytest.mark.parametrize("name", [on("slapd"), on("ds389")])
@pytest.mark.parametrize("start_tls", [False, True], ids=["ldaps", "StartTLS"])
def test_certificate_is_the_service_account(
    make: Make, server: AnyServer, shown: dict[str, Any], *, start_tls: bool
) -> None:
    """With a client certificate the service account needs no password, to find people and to change them."""
    assert not isinstance(server, Samba)
    provider = make(**shown, servers=[server.url if start_tls else server.ldaps_url], start_tls=start_tls)
    assert login(provider, "juliet", "juliet-secret") == ACCEPTED
    assert login(provider, "juliet", "wrong") == Verdict(Reason.WRONG_PASSWORD)
    new = f"Neue-Losung-{start_tls}"
    change(provider, "nurse", new)
    assert login(provider, "nurse", new) == ACCEPTED


@pytest.mark.parametrize("name", [on("slapd"), on("ds389")])
def test_unix_socket_is_the_service_account(make: Make, server: AnyServer) -> None:
    """On a Unix socket the server knows the user that this program runs as."""
    assert not isinstance(server, Samba)
    provider = make(**EXTERNAL, servers=[server.ldapi_url], ca_file=None)
    assert login(provider, "juliet", "juliet-secret") == ACCEPTED
    assert login(provider, "juliet", "wrong") == Verdict(Reason.WRONG_PASSWORD)


@pytest.mark.parametrize("name", [on("slapd"), on("ds389")])
def test_certificate_of_another_authority_is_no_account(
    make: Make, server: AnyServer, shown: dict[str, Any], tmp_path: Path
) -> None:
    """A server that does not trust the certificate ends the connection, and that is no answer."""
    assert not isinstance(server, Samba)
    other = CertificateAuthority(tmp_path).issue("other", common_name="xmpp service")
    changes = {**shown, "client_cert": str(other.certificate), "client_key": str(other.key)}
    with pytest.raises(DirectoryUnavailable):
        login(make(**changes, servers=[server.ldaps_url]), "juliet", "juliet-secret")


@pytest.mark.parametrize("name", [on("ds389")])
def test_certificate_of_nobody_is_no_account(make: Make, server: AnyServer, shown: dict[str, Any]) -> None:
    """A certificate that is trusted and stands for no entry is refused, and said to be."""
    assert isinstance(server, Ds389)
    nobody = {"client_cert": str(server.stranger.certificate), "client_key": str(server.stranger.key)}
    with pytest.raises(DirectoryUnavailable, match="does not know whom the client certificate"):
        login(make(**{**shown, **nobody}), "juliet", "juliet-secret")


@pytest.mark.parametrize("name", [on("slapd")])
def test_server_that_was_shown_no_certificate(make: Make, server: AnyServer, certificates: Certificates) -> None:
    """A server that asks for no certificate can't know whose it is, and says that it does not know the way."""
    assert isinstance(server, Slapd)
    pair = {"client_cert": str(certificates.client.certificate), "client_key": str(certificates.client.key)}
    with Slapd(certificate=certificates.server) as other:
        provider = make(**EXTERNAL, **pair, ca_file=str(certificates.ca), servers=[other.ldaps_url])
        with pytest.raises(DirectoryUnavailable, match=r"no certificate that it trusts: see bind \(result 7\)"):
            login(provider, "juliet", "juliet-secret")


SAID = {
    State.DISABLED: ("switched off", ("ds389", "samba")),
    State.ACCOUNT_EXPIRED: ("the account has expired", ("ds389", "samba")),
    State.PASSWORD_EXPIRED: ("the password is right, and has expired", ("ppolicy", "ds389", "samba")),
    State.MUST_CHANGE: ("must be changed before the account may do anything", ("ppolicy", "ds389", "samba")),
}


@pytest.mark.parametrize(
    ("name", "state", "sentence"),
    [on(name, state, said) for state, (said, names) in SAID.items() for name in names]
    + [on("ppolicy", State.DISABLED, "the account is locked")],
)
def test_service_account_in_a_state_is_said(make: Make, server: AnyServer, state: State, sentence: str) -> None:
    """What keeps the service account from being used is said in a sentence, and is no answer to anybody's question."""
    provider = make(bind_dn=server.dn(state.person), bind_password=RIGHT)
    with pytest.raises(DirectoryUnavailable, match=f"the service account can't be used: .*{sentence}"):
        login(provider, "juliet", "juliet-secret")


@pytest.mark.parametrize("name", [on("slapd"), on("ppolicy"), on("ds389"), on("samba")])
def test_wrong_password_of_the_service_account_is_said(make: Make) -> None:
    """A wrong password is named as what it is."""
    with pytest.raises(DirectoryUnavailable, match=r"DN or password is wrong \(result 49"):
        login(make(bind_password="wrong"), "juliet", "juliet-secret")


@pytest.mark.parametrize("name", [on("samba")])
def test_service_account_in_clear_is_said(make: Make, server: AnyServer) -> None:
    """An Active Directory takes no password without TLS, and what to do is said."""
    with pytest.raises(DirectoryUnavailable, match=r"without TLS: use ldaps://, or start_tls = true \(result 8\)"):
        login(make(servers=[server.url]), "juliet", "juliet-secret")


KERBEROS = {"bind": "gssapi", "bind_dn": None, "bind_password": None}


@pytest.fixture
def keytab(server: AnyServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings for a service account with a keytab."""
    assert isinstance(server, Samba)
    monkeypatch.setenv("KRB5_CONFIG", str(server.kerberos))
    return {**KERBEROS, "keytab": str(server.keytab)}


@pytest.mark.parametrize("name", [on("samba")])
@pytest.mark.parametrize("start_tls", [False, True], ids=["ldaps", "StartTLS"])
def test_keytab_is_the_service_account(
    make: Make, server: AnyServer, keytab: dict[str, Any], *, start_tls: bool
) -> None:
    """With a keytab the service account needs no password, to find people and to change them."""
    assert isinstance(server, Samba)
    provider = make(**keytab, servers=[server.url if start_tls else server.ldaps_url], start_tls=start_tls)
    assert login(provider, "juliet", "juliet-secret") == ACCEPTED
    assert login(provider, "juliet", "wrong") == Verdict(Reason.WRONG_PASSWORD)
    new = f"Ticket-Losung-{start_tls}"
    change(provider, "nurse", new)
    assert login(provider, "nurse", new) == ACCEPTED


@pytest.mark.parametrize("name", [on("samba")])
def test_server_that_wants_a_layer_is_told_about_tls(make: Make, server: AnyServer, keytab: dict[str, Any]) -> None:
    """Without TLS the server does not take Kerberos without a layer of its own, and what to do is said."""
    with pytest.raises(DirectoryUnavailable, match=r"use ldaps://, or start_tls = true \(result 8\)"):
        login(make(**keytab, servers=[server.url]), "juliet", "juliet-secret")


@pytest.mark.parametrize("name", [on("samba")])
def test_keytab_that_is_none(make: Make, keytab: dict[str, Any], tmp_path: Path) -> None:
    """A file that holds no key leaves no answer, and the log has the library's sentence."""
    empty = tmp_path / "empty.keytab"
    empty.write_bytes(b"")
    with pytest.raises(DirectoryUnavailable, match="Kerberos: "):
        login(make(**{**keytab, "keytab": str(empty)}), "juliet", "juliet-secret")


@pytest.mark.parametrize("name", [on("samba")])
def test_centre_that_does_not_answer(
    make: Make, keytab: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key distribution centre that says nothing is an outage, by the deadline of the question."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        text = Path(os.environ["KRB5_CONFIG"]).read_text()
        silence = f"127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "krb5.conf").write_text(re.sub(r"kdc = .*", f"kdc = {silence}", text))
        monkeypatch.setenv("KRB5_CONFIG", str(tmp_path / "krb5.conf"))
        fresh = tmp_path / "another-name.keytab"  # for which there is no ticket yet
        fresh.write_bytes(Path(keytab["keytab"]).read_bytes())
        with pytest.raises(DeadlineExceeded):
            login(make(**{**keytab, "keytab": str(fresh)}, deadline=1), "juliet", "juliet-secret")


@pytest.mark.parametrize("name", [on("samba")])
def test_key_that_is_refused_is_not_tried_again_at_once(
    make: Make, server: AnyServer, keytab: dict[str, Any], tmp_path: Path
) -> None:
    """A keytab of a password that is no more is refused once and left alone: each try would be counted."""
    assert isinstance(server, Samba)
    who, old = State.EASILY_LOCKED, tmp_path / "old.keytab"
    dn = server.dn(who.person)
    server.export_keytab(who.value, old)
    change(make(), who.value, "Ganz-Anders-3")
    try:
        server.unlock(dn)
        provider = make(**{**keytab, "keytab": str(old)})
        counted = []
        for _ in range(5):
            with pytest.raises(DirectoryUnavailable, match=r"Kerberos: .*Preauthentication failed"):
                login(provider, "juliet", "juliet-secret")
            counted.append(server.bad_passwords(dn))
        assert counted == [counted[0]] * 5
    finally:
        change(make(), who.value, RIGHT)
        server.unlock(dn)
