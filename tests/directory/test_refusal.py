"""What the answer to a user's bind means, in each dialect."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldapauth.directory import policy, refusal
from ldapauth.directory.wire import Result
from ldapauth.verdict import ACCEPTED, Reason, Verdict

EXPIRED = {"2.16.840.1.113730.3.4.4": b"0"}
MUST_CHANGE = Verdict(notice="the password must be changed")

# The numbers that [MS-ERREF] gives a word for a login, and what they mean.
WINDOWS = {
    "525": Reason.NO_SUCH_USER,
    "52e": Reason.WRONG_PASSWORD,
    "530": Reason.NOT_AT_THIS_TIME,
    "531": Reason.NOT_FROM_HERE,
    "532": Reason.PASSWORD_EXPIRED,
    "533": Reason.DISABLED,
    "701": Reason.ACCOUNT_EXPIRED,
    "773": Reason.MUST_CHANGE,
    "775": Reason.LOCKED,
    "52f": Reason.NOT_PERMITTED,
    "568": Reason.NOT_PERMITTED,
    "569": Reason.NOT_PERMITTED,
}


def windows(number: str) -> str:
    """What Active Directory says, from Windows with a NUL behind it."""
    return f"80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data {number}, v2580\0"


def control(value: str) -> dict[str, bytes]:
    """The newer password policy control, with its value in hexadecimal."""
    return {policy.OID: bytes.fromhex(value)}


def judged(
    code: int, message: str = "", controls: dict[str, bytes] | None = None, *, accept: bool = False
) -> Verdict | None:
    """The verdict on an answer."""
    return refusal.verdict(Result(1, "bind", code, message=message, controls=controls or {}), accept_must_change=accept)


SEEN: dict[str, tuple[tuple[int, str, dict[str, bytes]], Verdict | None]] = {
    "accepted": ((0, "", {}), ACCEPTED),
    "OpenLDAP: accepted": ((0, "", control("3000")), ACCEPTED),
    "OpenLDAP: wrong": ((49, "", control("3000")), Verdict(Reason.WRONG_PASSWORD)),
    "OpenLDAP: locked": ((49, "", control("3003810101")), Verdict(Reason.LOCKED)),
    "OpenLDAP: expired": ((49, "", control("3003810100")), Verdict(Reason.PASSWORD_EXPIRED)),
    "OpenLDAP: must change": ((0, "", control("3003810102")), Verdict(Reason.MUST_CHANGE)),
    "OpenLDAP: invalid DN": ((34, "invalid DN", {}), Verdict(Reason.NO_SUCH_USER)),
    "389 DS: disabled": (
        (53, "Account inactivated. Contact system administrator.", control("308400000003810101")),
        Verdict(Reason.DISABLED),
    ),
    "389 DS: locked": (
        (19, "Exceed password retry limit. Please try later.", control("308400000003810101")),
        Verdict(Reason.LOCKED),
    ),
    "389 DS: expired": (
        (49, "password expired!", EXPIRED | control("308400000003810100")),
        Verdict(Reason.PASSWORD_EXPIRED),
    ),
    "389 DS: unused for too long": (
        (19, "Account inactivity limit exceeded. Contact system administrator to reset.", {}),
        Verdict(Reason.ACCOUNT_EXPIRED),
    ),
    "389 DS: must change": (
        (0, "", EXPIRED | control("30840000000ca08400000003800100810102")),
        Verdict(Reason.MUST_CHANGE),
    ),
    "389 DS: grace": (
        (0, "", EXPIRED | control("308400000009a08400000003810101")),
        Verdict(notice="the password has expired, and this many more logins are left: 1"),
    ),
    "older control alone: expired": ((49, "", EXPIRED), Verdict(Reason.PASSWORD_EXPIRED)),
    "older control alone: must change or grace": ((0, "", EXPIRED), Verdict(Reason.MUST_CHANGE)),
    "older control alone: soon": (
        (0, "", {"2.16.840.1.113730.3.4.5": b"5400"}),
        Verdict(notice="the password expires in 1.5 hours"),
    ),
    "FreeIPA: expired": ((53, "Account (Kerberos principal) is expired", {}), Verdict(Reason.ACCOUNT_EXPIRED)),
    "FreeIPA: locked": ((53, "Too many failed logins.\n", {}), Verdict(Reason.LOCKED)),
    "FreeIPA: locked for good": ((53, "Entry permanently locked.\n", {}), Verdict(Reason.LOCKED)),
    "not permitted": ((53, "something else", {}), Verdict(Reason.NOT_PERMITTED)),
    "no password to compare with": ((48, "", {}), Verdict(Reason.NOT_PERMITTED)),
    "locked, says a yes": ((0, "", control("3003810101")), Verdict(Reason.LOCKED)),
    "an error about changes with a yes": ((0, "", control("3003810106")), ACCEPTED),
    "an error about changes with a no": ((49, "", control("3003810106")), Verdict(Reason.WRONG_PASSWORD)),
    "a control that is none with a yes": ((0, "", control("3001")), None),
    "a control that is none with a no": ((49, "", control("3001")), Verdict(Reason.WRONG_PASSWORD)),
    "a referral": ((10, "", {}), None),
    "TLS needed": ((8, "BindSimple: Transport encryption required.", {}), None),
    "operations error": ((1, "", {}), None),
}


@pytest.mark.parametrize(("answer", "verdict"), SEEN.values(), ids=SEEN.keys())
def test_answer_means_what_the_server_means(answer: tuple[int, str, dict[str, bytes]], verdict: Verdict | None) -> None:
    """Each answer that the servers give is understood as they mean it."""
    assert judged(*answer) == verdict


@pytest.mark.parametrize(("number", "reason"), WINDOWS.items())
def test_numbers_of_active_directory(number: str, reason: Reason) -> None:
    """Each number that Active Directory has for an account is a reason."""
    assert judged(49, windows(number)) == Verdict(reason)


@pytest.mark.parametrize("number", ["51f", "1f", "57", "80090346", "6ba"])
def test_number_that_is_not_about_the_account_is_no_answer(number: str) -> None:
    """No domain controller at hand, a broken channel: an outage is not a wrong password, though the code is."""
    assert judged(49, windows(number)) is None
    assert refusal.detail(Result(1, "bind", 49, message=windows(number))) == f"result 49, data {number}"


@pytest.mark.parametrize(
    ("code", "message", "controls"),
    [(0, "", control("3003810102")), (0, "", EXPIRED), (49, windows("773"), {}), (49, windows("773").strip("\0"), {})],
    ids=["control", "older control", "Windows", "Samba"],
)
def test_must_change_may_be_accepted(code: int, message: str, controls: dict[str, bytes]) -> None:
    """Where it is so configured, each way of saying that a right password must be changed is a yes."""
    assert judged(code, message, controls, accept=True) == MUST_CHANGE


@pytest.mark.parametrize(
    ("code", "message", "controls"),
    [
        (49, windows("532"), {}),
        (49, "", control("3003810102")),
        (49, "", EXPIRED),
        (49, f"DN x: {windows('773')}", {}),
        (49, windows("773") + "x", {}),
        (49, "data 773", {}),
        (53, windows("773"), {}),
        (0, "", control("3003810100")),
        (0, "", control("3003810101")),
    ],
)
def test_nothing_else_is_accepted_as_must_change(code: int, message: str, controls: dict[str, bytes]) -> None:
    """An expired password, a refusal by another server, or a text that only quotes Active Directory stays a no."""
    verdict = judged(code, message, controls, accept=True)
    assert verdict is not None
    assert not verdict.accepted


def test_detail_quotes_nothing() -> None:
    """What is logged of an answer that is none has the code and not the server's words."""
    assert refusal.detail(Result(1, "bind", 80, message="error: juliet-secret")) == "result 80"


answers = st.builds(
    Result,
    message_id=st.just(1),
    kind=st.just("bind"),
    code=st.one_of(st.sampled_from([0, 19, 49, 53]), st.integers(0, 200)),
    message=st.one_of(st.text(), st.text(string.hexdigits, max_size=8).map(windows), st.just("password expired!")),
    controls=st.dictionaries(
        st.sampled_from([policy.OID, *EXPIRED, "2.16.840.1.113730.3.4.5", "1.2"]),
        st.one_of(st.binary(max_size=30), st.sampled_from([b"0", bytes.fromhex("3003810102")])),
    ),
)


@given(answers, st.booleans())
def test_any_answer_gives_a_verdict_or_none(result: Result, accept: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """Whatever a server answers, nothing is raised, and only success, or Active Directory's 773, is ever a yes."""
    verdict = refusal.verdict(result, accept_must_change=accept)
    refusal.detail(result)
    if verdict is not None and verdict.accepted:
        assert result.code == 0 or (accept and result.code == 49 and result.message == windows("773"))
