"""Users' certificates: on every kind of directory."""

from pathlib import Path

import pytest

from ldapauth.deadline import Deadline
from ldapauth.errors import NoSuchUser
from ldapauth.provider import Provider
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests.configuration import DOMAIN
from tests.integration.table import EVERYWHERE, AnyServer, Make
from tests.servers import ldif
from tests.servers.certificates import CertificateAuthority, UserCertificate
from tests.servers.people import person
from tests.servers.samba import Samba

NOT_HIS = Verdict(Reason.NO_SUCH_CERTIFICATE)


@pytest.fixture
def issued(server: AnyServer, tmp_path: Path) -> dict[str, UserCertificate]:
    """Certificates: romeo has three, of which one has expired; the last is not in his entry, though it has his name."""
    authority = CertificateAuthority(tmp_path)
    made = {name: authority.user_certificate("romeo", "romeo@example.com") for name in ("new", "old", "unknown")}
    made["expired"] = authority.user_certificate("romeo", "romeo@example.com", expired=True)
    attribute = "userCertificate" if isinstance(server, Samba) else "userCertificate;binary"
    values = "".join(ldif.line(attribute, made[name].der) for name in ("new", "old", "expired"))
    dn = server.dn(person("romeo"))
    server.modify_ldif(f"{ldif.line('dn', dn)}changetype: modify\nreplace: {attribute}\n{values}\n")
    return made


def presented(provider: Provider, uid: str, pem: str) -> Verdict:
    """The answer to a login with a certificate."""
    return provider.check_certificate(uid, DOMAIN, pem, Deadline.after(20))


@pytest.mark.parametrize("name", EVERYWHERE)
def test_certificates_are_those_of_the_entry(make: Make, issued: dict[str, UserCertificate]) -> None:
    """Each certificate of the user's entry is given in PEM form, whatever it is worth, and nobody else's."""
    provider = make()
    found = provider.certificates("romeo", DOMAIN, Deadline.after(20))
    assert sorted(found) == sorted(issued[name].pem.decode() for name in ("new", "old", "expired"))
    assert provider.certificates("juliet", DOMAIN, Deadline.after(20)) == []
    with pytest.raises(NoSuchUser):
        provider.certificates("nobody", DOMAIN, Deadline.after(20))
    with pytest.raises(NoSuchUser):
        provider.certificates(r"romeo\20", DOMAIN, Deadline.after(20))


@pytest.mark.parametrize("name", EVERYWHERE)
def test_login_with_a_certificate(make: Make, issued: dict[str, UserCertificate]) -> None:
    """A certificate of the user's that is valid today logs in; an expired one, an unknown one or another's does not."""
    provider = make()
    for mine in ("new", "old"):
        assert presented(provider, "romeo", issued[mine].pem.decode()) == ACCEPTED
        assert presented(provider, "ROMEO", issued[mine].pem.decode()) == ACCEPTED
        assert presented(provider, "juliet", issued[mine].pem.decode()) == NOT_HIS
        assert presented(provider, "nobody", issued[mine].pem.decode()) == Verdict(Reason.NO_SUCH_USER)
        assert presented(provider, r"romeo\20", issued[mine].pem.decode()) == Verdict(Reason.OTHER_NAME)
    for other in ("expired", "unknown"):
        assert presented(provider, "romeo", issued[other].pem.decode()) == NOT_HIS
    both = issued["unknown"].pem + issued["new"].pem
    for wrong in ("", "x", issued["new"].pem.decode()[:-60], both.decode()):
        assert presented(provider, "romeo", wrong) == NOT_HIS


@pytest.mark.parametrize("name", EVERYWHERE)
def test_certificates_are_found_in_several_places(
    make: Make, server: AnyServer, issued: dict[str, UserCertificate]
) -> None:
    """Where users are searched does not matter to their certificates."""
    places = [{"base_dn": server.people_dn}, {"base_dn": server.suffix}]
    provider = make(base_dn=None, search=places)
    assert presented(provider, "romeo", issued["new"].pem.decode()) == ACCEPTED
