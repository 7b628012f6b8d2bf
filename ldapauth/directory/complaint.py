"""Why a directory does not take a new password, as a sentence for its owner. Sans-IO.

Owns the dialects: the password policy control's errors, and the texts of Samba, 389 DS, FreeIPA and OpenLDAP. The
sentences are ours, always. A server's own words may quote the password, whole or in part, in whatever encoding; so of
them nothing is passed on but a number that stands where a known text has one. A text that is not known, to its last
letter, is not shown. docs/directories.md has what each server says when.
"""

import re
from collections.abc import Mapping

from . import wire
from .policy import Error, Said

_TOO_SHORT = "the password is too short"
_AT_LEAST = f"{_TOO_SHORT}: it needs at least {{}} characters"
_TOO_SIMPLE = "the password is too simple"
_TOO_YOUNG = "the password was changed too recently"
_IN_HISTORY = "the password has been used before"
_LIKE_ENTRY = "the password is too much like the name, or something else in the entry"
_NOT_ALLOWED = "this account's password may not be changed"

_ERRORS = {
    Error.CHANGE_NOT_ALLOWED: _NOT_ALLOWED,
    Error.OLD_PASSWORD_NEEDED: "the directory wants to see the old password too, which is not known here",
    Error.TOO_SIMPLE: _TOO_SIMPLE,
    Error.TOO_SHORT: _TOO_SHORT,
    Error.TOO_YOUNG: _TOO_YOUNG,
    Error.IN_HISTORY: _IN_HISTORY,
    Error.TOO_LONG: "the password is too long",
}

_N = r"(\d{1,3})"
_SAMBA = "0000052D: Constraint violation - check_password_restrictions: "
_SYNTAX = "invalid password syntax - "

# Whole texts, and what each means; {} is the number in it. The first are Samba's, in its password_hash.c.
_MEANINGS = {
    rf"{_SAMBA}the password is too short\. It should be equal or longer than {_N} characters!": _AT_LEAST,
    rf"{_SAMBA}the password does not meet the complexity criteria!": _TOO_SIMPLE,
    rf"{_SAMBA}the password was already used \((?:in history|previous password)\)!": _IN_HISTORY,
    rf"{_SAMBA}password is too young to change!": _TOO_YOUNG,
    rf"{_SAMBA}password changes disabled!": _NOT_ALLOWED,
    # These are of 389 DS, in its pw.c.
    rf"{_SYNTAX}password must be at least {_N} characters long": _AT_LEAST,
    **{
        rf"{_SYNTAX}password must contain at least {_N} {kind} characters": (
            f"{_TOO_SIMPLE}: it needs at least {{}} {kind} characters"
        )
        for kind in ("digit", "alphabetic", "uppercase", "lowercase", "special", "8-bit")
    },
    rf"{_SYNTAX}password must contain at least {_N} character categories"
    r" \(valid categories are digit, uppercase, lowercase, special, and 8-bit characters\)": (
        f"{_TOO_SIMPLE}: it needs characters of at least {{}} kinds (digits, upper case, lower case, others)"
    ),
    rf"{_SYNTAX}a character cannot be repeated more than {_N} times": (
        f"{_TOO_SIMPLE}: no character may be repeated more than {{}} times"
    ),
    rf"{_SYNTAX}password based off of user entry": _LIKE_ENTRY,
    "password in history": _IN_HISTORY,
    "within password minimum age": _TOO_YOUNG,
    "user is not allowed to change password": _NOT_ALLOWED,
    # And these are of FreeIPA, in its ipa_pwd.c, with its spelling.
    "Password is too short": _TOO_SHORT,
    "Password reuse not permitted": _IN_HISTORY,
    "Too soon to change password": _TOO_YOUNG,
    "Password contains username": _LIKE_ENTRY,
    "Password is based on a dictionary word": f"{_TOO_SIMPLE}: it is made of a word",
    "Password is too simple": _TOO_SIMPLE,
    "Password has too many consecutive characters": _TOO_SIMPLE,
    "Password contains a monotonic sequence": _TOO_SIMPLE,
    "Password is a palindrone": _TOO_SIMPLE,
    "Password contains too few (?:digits|(?:upper|lower|special) characters)": _TOO_SIMPLE,
}
_TEXTS = [(re.compile(pattern), meaning) for pattern, meaning in _MEANINGS.items()]

# A Windows server says nothing but this number, ERROR_PASSWORD_RESTRICTION ([MS-ERREF] 2.2).
_WINDOWS = re.compile(r"0000052D: (?:Svc|Atr)Err: DSID-.*", re.DOTALL)


def sentence(message: str, controls: Mapping[str, bytes]) -> str | None:
    """What keeps the directory from taking the password, if it is known.

    Args:
        message: The server's diagnostic message.
        controls: The values of the answer's controls, by their OIDs.
    """
    text = message.rstrip("\n\0")
    for pattern, meaning in _TEXTS:
        if found := pattern.fullmatch(text):
            return meaning.format(*found.groups())
    try:
        error = Said.of(controls).error
    except wire.ProtocolError:
        error = None
    if error in _ERRORS:
        return _ERRORS[error]
    if _WINDOWS.fullmatch(text):
        return "the password is too short, too simple, too young to be changed, or has been used before"
    return None
