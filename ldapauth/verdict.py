"""The answer to "is this the password?" and "does the user exist?"; imports nothing of ours.

An accepted verdict has no reason. A refused one has: for the log and the operator, never for the wire, where every
refusal looks the same, so that a stranger can't learn which names exist.
"""

import dataclasses
import enum


class Reason(enum.Enum):
    """Why a question was answered with "no". The value is the word in the log."""

    WRONG_PASSWORD = "wrong-password"  # noqa: S105 - a word, not a password
    EMPTY_PASSWORD = "empty-password"  # noqa: S105 - likewise
    NO_SUCH_USER = "no-such-user"
    AMBIGUOUS = "ambiguous"
    OTHER_NAME = "other-name"
    NOT_IN_GROUP = "not-in-group"
    IMPOSSIBLE_NAME = "impossible-name"
    PASSWORD_EXPIRED = "password-expired"  # noqa: S105 - likewise
    MUST_CHANGE = "must-change"
    LOCKED = "locked"
    DISABLED = "disabled"
    ACCOUNT_EXPIRED = "account-expired"
    NOT_AT_THIS_TIME = "not-at-this-time"
    NOT_FROM_HERE = "not-from-here"
    NOT_PERMITTED = "not-permitted"
    NO_SUCH_CERTIFICATE = "no-such-certificate"
    UNKNOWN_DOMAIN = "unknown-domain"

    @property
    def sentence(self) -> str:
        """The reason in words, for an operator."""
        return _SENTENCES[self]


_SENTENCES = {
    Reason.WRONG_PASSWORD: "the directory says that the password is wrong",
    Reason.EMPTY_PASSWORD: "the password is empty, which no directory was asked about",
    Reason.NO_SUCH_USER: "no entry matches the name",
    Reason.AMBIGUOUS: "more than one entry matches the name",
    Reason.OTHER_NAME: "the entry that matches has another name, alike only to the directory's way of comparing",
    Reason.NOT_IN_GROUP: "the user is in none of the required groups",
    Reason.IMPOSSIBLE_NAME: "no user can have this name",
    Reason.PASSWORD_EXPIRED: "the password is right, and has expired",
    Reason.MUST_CHANGE: "the password is right, and must be changed before the account may do anything else",
    Reason.LOCKED: "the account is locked, as a rule because of wrong passwords, and so no password is right",
    Reason.DISABLED: "the account is switched off in the directory",
    Reason.ACCOUNT_EXPIRED: "the account has expired in the directory",
    Reason.NOT_AT_THIS_TIME: "the password is right, and the account may not log in at this time",
    Reason.NOT_FROM_HERE: "the password is right, and the account may log in from certain machines only",
    Reason.NOT_PERMITTED: "the directory does not let this account log in, whatever the password",
    Reason.NO_SUCH_CERTIFICATE: "the certificate is not one of the user's, or not valid today",
    Reason.UNKNOWN_DOMAIN: "no such domain is configured",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Accepted, or refused with a reason.

    There is no truth value: `if verdict:` would be true for a refusal too, so ask for `verdict.accepted`.

    Attributes:
        reason: Why it is refused.
        notice: What an operator may want to know of an accepted one, as a sentence: the password will soon expire.
    """

    reason: Reason | None = None
    notice: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the answer is yes."""
        return self.reason is None

    def __bool__(self) -> bool:
        raise TypeError("ask a verdict for .accepted")


ACCEPTED = Verdict()
