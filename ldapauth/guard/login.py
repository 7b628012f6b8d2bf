"""One login and what is remembered of its user: what that says, and what is learnt from the directory's answer.

Owns which memory it is: Redis where there is one, and this process's own once Redis is away, to the end of the login.
Knows no directory.
"""

from collections.abc import Callable
from typing import TypeVar

from ldapauth.deadline import now
from ldapauth.verdict import Reason, Verdict

from .digest import Digest
from .line import Away
from .memory import NOTHING, Change, Keeper, Patience, Seen
from .record import Judgement, Record, Rules

_T = TypeVar("_T")

PATIENCE = 0.05
"""Seconds that a question waits for Redis, all in all."""

_ATTEMPTS = 3  # to count a guess, where others change the same record
_NONE = Digest(b"", b"")  # for a record that has none to compare with


User = tuple[str, str]
"""The name, unescaped, and the virtual host, in lower case."""


def key(user: User) -> str:
    """What stands for a user: the same text for each way to write a name that logs in the same person."""
    return f"{user[1]}\0{user[0].lower()}"


class Login:
    """A password, and the record of its user.

    Args:
        rules: How records are read and changed.
        keepers: Who keeps records: the first is asked first, and the last is always there.
        user: Whose it is said to be, as `key` has it.
        domain: The user's virtual host.
        password: Not empty.
    """

    def __init__(self, rules: Rules, keepers: list[Keeper], user: str, domain: str, password: str) -> None:
        self._rules = rules
        self._keepers = keepers
        self._user = user
        self._domain = domain
        self._password = password
        self._patience = Patience(PATIENCE)
        self._guessed: float | None = None
        self._known_digest: Digest | None = None
        self._seen, self._looked = NOTHING, now()

    def judge(self) -> Judgement:
        """What is to be done about the password; a guess that is to be asked about is counted by this.

        Without this look at the record nothing is known of the user.
        """
        self._look()
        for _ in range(_ATTEMPTS):
            judgement = self._judgement()
            if judgement is not Judgement.UNKNOWN:
                break
            if self._rules.domain_failures and self._asked(lambda keeper: keeper.is_full(self._domain, self._patience)):
                return Judgement.TOO_MANY  # nothing is learnt of the user, of whom there may be no such
            if not self._rules.failures or self._count_guess():
                return judgement
        else:
            judgement = Judgement.TOO_MANY  # others are guessing at this very moment
        if judgement is Judgement.TOO_MANY:
            self._change_blindly(self._rules.refused_unasked)
        return judgement

    def age(self) -> float | None:
        """How many seconds ago the directory said that the password is right; None if that is not known."""
        if self._seen.record.good is None:
            return None
        return self._rules.age(self._seen.record, self._digest(), self._seen.now + now() - self._looked)

    @property
    def of_known_user(self) -> bool:
        """Whether the user's right password is known, be it this one or another."""
        return self._seen.record.good is not None

    def learn(self, verdict: Verdict) -> None:
        """Learns what the directory answered."""
        rules, record = self._rules, self._seen.record
        known = not record.bare
        if verdict.reason is Reason.WRONG_PASSWORD:
            self._change(lambda record, digest, moment: rules.wrong(record, digest, moment, self._guessed))
            if rules.domain_failures:
                self._asked(lambda keeper: keeper.count(self._domain, self._patience))
        elif verdict.accepted:
            if known or rules.keeps_good:
                self._change(rules.accepted)
        elif known or (rules.keeps_good and verdict.reason is not Reason.NO_SUCH_USER):
            self._change_blindly(lambda record, _: rules.refused(record, self._guessed))

    def take_back(self) -> None:
        """Has the guess not count, because the directory was not asked, or did not say whether it is one."""
        if self._guessed is not None:
            self._change_blindly(lambda record, _: self._rules.undone(record, self._guessed))

    def _judgement(self) -> Judgement:
        record = self._seen.record
        if record.bare:
            return Judgement.UNKNOWN
        return self._rules.judge(record, self._digest(), self._seen.now + now() - self._looked)

    def _count_guess(self) -> bool:
        """Counts it, unless others have used up the budget, or learnt something of the password, meanwhile."""
        counted: list[float] = []  # when, at the last try

        def ask(keeper: Keeper) -> Seen:
            # No slow hash for whoever is unknown; if somebody is not any more, that is seen at the next try.
            digest = _NONE if self._seen.record.bare else self._digest()

            def count(record: Record, moment: float) -> Record:
                comparable = digest is not _NONE or record.bare
                unknown = comparable and self._rules.judge(record, digest, moment) is Judgement.UNKNOWN
                counted[:] = [moment] if unknown else []
                return self._rules.guessed(record, moment) if unknown else record

            return keeper.change(self._user, self._seen, count, self._patience)

        self._seen, self._looked = self._asked(ask), now()
        self._guessed = next((moment for moment in counted if moment in self._seen.record.wrong), None)
        return self._guessed is not None

    def _change(self, change: Callable[[Record, Digest, float], Record]) -> None:
        """Changes the record; what stands for the password is made before, and not where others wait for Redis."""

        def ask(keeper: Keeper) -> Seen:
            digest = self._digest()
            return keeper.change(
                self._user, self._seen, lambda record, moment: change(record, digest, moment), self._patience
            )

        self._seen, self._looked = self._asked(ask), now()

    def _change_blindly(self, change: Change) -> None:
        """Changes the record by what has nothing to do with the password."""
        self._seen = self._asked(lambda keeper: keeper.change(self._user, self._seen, change, self._patience))
        self._looked = now()

    def _look(self) -> None:
        self._known_digest = None
        self._seen = self._asked(lambda keeper: keeper.look(self._user, self._patience))
        self._looked = now()

    def _asked(self, ask: Callable[[Keeper], _T]) -> _T:
        """What a keeper says: the first, or else the one that is always there."""
        try:
            return ask(self._keepers[0])
        except Away:
            self._keepers = self._keepers[1:]
            self._look()
            return ask(self._keepers[0])

    def _digest(self) -> Digest:
        """What stands for the password where the record is kept; it may take some milliseconds."""
        if self._known_digest is None:
            self._known_digest = self._keepers[0].digest(self._user, self._password)
        return self._known_digest
