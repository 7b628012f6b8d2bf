"""Why a password is not taken: known texts and errors become sentences, and nothing else comes through."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldapauth.directory import complaint, policy
from ldapauth.directory.policy import Error

SAMBA = "0000052D: Constraint violation - check_password_restrictions: "
SYNTAX = "invalid password syntax - "

KNOWN = {
    f"{SAMBA}the password is too short. It should be equal or longer than 12 characters!": (
        "the password is too short: it needs at least 12 characters"
    ),
    f"{SAMBA}the password does not meet the complexity criteria!": "the password is too simple",
    f"{SAMBA}the password was already used (in history)!": "the password has been used before",
    f"{SAMBA}the password was already used (previous password)!": "the password has been used before",
    f"{SAMBA}password is too young to change!": "the password was changed too recently",
    f"{SYNTAX}password must be at least 8 characters long": (
        "the password is too short: it needs at least 8 characters"
    ),
    f"{SYNTAX}password must contain at least 2 digit characters": (
        "the password is too simple: it needs at least 2 digit characters"
    ),
    f"{SYNTAX}a character cannot be repeated more than 3 times": (
        "the password is too simple: no character may be repeated more than 3 times"
    ),
    "password in history": "the password has been used before",
    "within password minimum age": "the password was changed too recently",
    "user is not allowed to change password": "this account's password may not be changed",
    "Password reuse not permitted": "the password has been used before",
    "Password contains too few upper characters": "the password is too simple",
    "Password is too short\n": "the password is too short",
    "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0\n\0": (
        "the password is too short, too simple, too young to be changed, or has been used before"
    ),
    "0000052D: AtrErr: DSID-03190F80, #1:\n\t0: 0000052D: DSID-03190F80, problem 1005 (CONSTRAINT_ATT_TYPE), data 0,"
    " Att 9005a (unicodePwd)\n\0": (
        "the password is too short, too simple, too young to be changed, or has been used before"
    ),
}


@pytest.mark.parametrize(("message", "sentence"), KNOWN.items())
def test_known_text_becomes_a_sentence(message: str, sentence: str) -> None:
    """What a server is known to say is said in a sentence of ours, with the number that is in it."""
    assert complaint.sentence(message, {}) == sentence


@pytest.mark.parametrize("error", [error for error in Error if error >= Error.CHANGE_NOT_ALLOWED])
def test_every_error_about_a_change_has_a_sentence(error: Error) -> None:
    """Each error of the password policy control that is about a change is said in words."""
    said = complaint.sentence("whatever", {policy.OID: bytes((0x30, 3, 0x81, 1, error))})
    assert said is not None
    assert "password" in said


def test_number_of_a_known_text_counts_before_the_error() -> None:
    """389 DS has one error for all that is wrong with a password, and says more in words."""
    said = complaint.sentence(
        f"{SYNTAX}password must be at least 8 characters long", {policy.OID: b"\x30\x03\x81\x01\x05"}
    )
    assert said == "the password is too short: it needs at least 8 characters"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Failed to update password\n",
        "password in history: uid=juliet",
        "x password in history",
        "secret",
        f"{SAMBA}x!",
    ],
)
def test_unknown_text_is_not_shown(message: str) -> None:
    """A text that is not known to its last letter is not passed on, nor any part of it."""
    assert complaint.sentence(message, {}) is None
    assert complaint.sentence(message, {policy.OID: b"nonsense"}) is None


QUOTES = [
    str,
    lambda password: password.encode().hex(),
    lambda password: password.encode("utf-16-le").hex(),
    lambda password: base64.b64encode(password.encode()).decode(),
    lambda password: password[1:],
    lambda password: password[::-1],
]
SHAPES = ["{}", "password in history: {}", "{} password in history", *(f"{text}{{}}" for text in KNOWN)]
OURS = {re.sub(r"\d+", "N", sentence) for sentence in KNOWN.values()}


@given(
    st.text(min_size=1).filter(lambda password: not re.search(r"^[\n\0]*$", password)),
    st.sampled_from(QUOTES),
    st.sampled_from(SHAPES),
)
def test_no_password_comes_back(password: str, quote: "type[str]", shape: str) -> None:
    """However a server's text quotes the password, what comes of it is a sentence of ours or nothing."""
    said = complaint.sentence(shape.replace("{}", quote(password)), {})
    assert said is None or re.sub(r"\d+", "N", said) in OURS
