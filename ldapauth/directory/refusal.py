"""What a directory's answer to a user's bind means: yes, no and why, or nothing that can be trusted. Sans-IO.

Owns the dialects: result codes, the password policy controls, Active Directory's numbers and 389 DS's and FreeIPA's
texts. Any answer gives a verdict or none, and never an exception. docs/directories.md has what each server says when.
"""

import re

from ldapauth.verdict import ACCEPTED, Reason, Verdict

from . import wire
from .policy import Error, Said

# RFC 4511 appendix A.2
_SUCCESS, _NO_SUCH_OBJECT, _INVALID_DN, _INVALID_CREDENTIALS = 0, 32, 34, 49
# The account, not the server, is the reason: constraintViolation (389 DS: too many wrong passwords),
# inappropriateAuthentication (an entry without a password), insufficientAccessRights, unwillingToPerform (inactive).
_CONSTRAINT, _UNWILLING = 19, 53
_NOT_PERMITTED = {_CONSTRAINT, 48, 50, _UNWILLING}

# The whole of what Active Directory says; the number is a Windows error code ([MS-ERREF] 2.2), in hexadecimal.
_ACTIVE_DIRECTORY = re.compile(
    r"[0-9A-F]{8}: LdapErr: DSID-[0-9A-F]{8}, comment: AcceptSecurityContext error, data ([0-9a-f]{1,8}), v[0-9a-f]+\0?"
)
_WINDOWS = {
    "525": Reason.NO_SUCH_USER,
    "52e": Reason.WRONG_PASSWORD,
    "52f": Reason.NOT_PERMITTED,  # a restriction of the account that has no number of its own
    "530": Reason.NOT_AT_THIS_TIME,
    "531": Reason.NOT_FROM_HERE,
    "532": Reason.PASSWORD_EXPIRED,
    "533": Reason.DISABLED,
    "568": Reason.NOT_PERMITTED,  # a member of too many groups
    "569": Reason.NOT_PERMITTED,  # a kind of login that the account may not use
    "701": Reason.ACCOUNT_EXPIRED,
    "773": Reason.MUST_CHANGE,
    "775": Reason.LOCKED,
}

# Where 389 DS and FreeIPA refuse an account whatever the password, and no control says why.
_TEXTS = {
    "Account inactivity limit exceeded. Contact system administrator to reset.": Reason.ACCOUNT_EXPIRED,
    "Account (Kerberos principal) is expired": Reason.ACCOUNT_EXPIRED,
    "Too many failed logins.": Reason.LOCKED,
    "Entry permanently locked.": Reason.LOCKED,
}

_ERRORS = {
    Error.PASSWORD_EXPIRED: Reason.PASSWORD_EXPIRED,
    Error.ACCOUNT_LOCKED: Reason.LOCKED,
    Error.CHANGE_AFTER_RESET: Reason.MUST_CHANGE,
}


def verdict(result: wire.Result, *, accept_must_change: bool) -> Verdict | None:
    """What the answer to a user's bind means; None when it is no answer to the question.

    Args:
        result: The answer.
        accept_must_change: Whether an account whose password is right, and must be changed before anything else is
            done, may log in.
    """
    if result.code == _SUCCESS and not result.controls:  # nearly always
        return ACCEPTED
    try:
        said = Said.of(result.controls)
    except wire.ProtocolError:
        if result.code == _SUCCESS:
            return None  # a yes of which half can't be read is none
        said = Said()
    if result.code == _SUCCESS:
        return _accepted(said, accept_must_change=accept_must_change)
    if result.code == _INVALID_CREDENTIALS:
        return _not_accepted(result.message, said, accept_must_change=accept_must_change)
    if result.code in (_NO_SUCH_OBJECT, _INVALID_DN):
        return Verdict(Reason.NO_SUCH_USER)
    return Verdict(_not_permitted(result, said)) if result.code in _NOT_PERMITTED else None


def detail(result: wire.Result) -> str:
    """An answer that is none, for the log: without the server's words, since some quote what they were sent."""
    number = _ACTIVE_DIRECTORY.fullmatch(result.message)
    return f"result {result.code}, data {number[1]}" if number else f"result {result.code}"


def _accepted(said: Said, *, accept_must_change: bool) -> Verdict:
    """A bind that succeeded, which some servers let an account do that may do nothing but change its password."""
    reason = _ERRORS.get(said.error) if said.error is not None else None
    if said.expired:
        reason = Reason.MUST_CHANGE
    if reason is Reason.MUST_CHANGE and accept_must_change:
        return Verdict(notice="the password must be changed")
    if reason:
        return Verdict(reason)
    if said.graces_left is not None:
        return Verdict(notice=f"the password has expired, and this many more logins are left: {said.graces_left}")
    if said.seconds_left is not None:
        return Verdict(notice=f"the password expires in {said.seconds_left / 3600:.1f} hours")
    return ACCEPTED


def _not_accepted(message: str, said: Said, *, accept_must_change: bool) -> Verdict | None:
    """Invalid credentials."""
    number = _ACTIVE_DIRECTORY.fullmatch(message)
    if number:
        reason = _WINDOWS.get(number[1])
        if reason is None:
            return None  # such as 51f, no domain controller at hand: not a word about the password
        if reason is Reason.MUST_CHANGE and accept_must_change:
            return Verdict(notice="the password must be changed")  # said only to whoever has the right one
        return Verdict(reason)
    if said.expired:
        return Verdict(Reason.PASSWORD_EXPIRED)
    return Verdict(_ERRORS.get(said.error, Reason.WRONG_PASSWORD) if said.error is not None else Reason.WRONG_PASSWORD)


def _not_permitted(result: wire.Result, said: Said) -> Reason:
    """An account that is refused whatever the password."""
    if said.error is Error.ACCOUNT_LOCKED:  # 389 DS says so of accounts that are switched off too
        return Reason.DISABLED if result.code == _UNWILLING else Reason.LOCKED
    return _TEXTS.get(result.message.rstrip("\n"), Reason.NOT_PERMITTED)
