"""What the guard answers from memory, and when it asks: with a directory that does as told, and a clock as well."""

import os
import threading
from pathlib import Path

import pytest

from ldapauth.config import Guard as Settings
from ldapauth.deadline import Deadline
from ldapauth.errors import DeadlineExceeded, UnclearAnswer
from ldapauth.guard import Guard, make, memory, record
from ldapauth.guard.digest import Digest, FastHash, SlowHash
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests.guard.conftest import Clock
from tests.guard.directory import JULIET, ROMEO, Directory

STALE = 900.0


@pytest.fixture
def directory() -> Directory:
    """The directory."""
    return Directory()


def test_nothing_wanted_is_no_guard() -> None:
    """With everything off there is no guard that could cost anything."""
    assert make(Settings(stale_ttl=0)) is None


# A wrong password is not asked about twice.


def test_wrong_password_is_refused_again_without_asking(directory: Directory, clock: Clock) -> None:
    """A password that was wrong is refused from memory for its time, counted from the directory's answer."""
    guard = Guard(Settings())
    assert directory.login(guard, JULIET, "old") == "wrong-password"
    for _ in range(1000):
        assert directory.login(guard, JULIET, "old") == "stale"
    clock.forward(STALE - 1)
    assert directory.login(guard, JULIET, "old") == "stale"
    clock.forward(1)
    assert directory.login(guard, JULIET, "old") == "wrong-password"
    assert len(directory.asked) == 2


def test_another_password_is_asked_about(directory: Directory) -> None:
    """What is remembered of one password, or of one user, says nothing of another."""
    guard = Guard(Settings())
    assert directory.login(guard, JULIET, "old") == "wrong-password"
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, ROMEO, "old") == "wrong-password"
    assert directory.login(guard, ("juliet", "example.org"), "old") == "no-such-user"
    assert directory.login(guard, ("julietexample", ".com"), "old") == "no-such-user"


def test_login_with_another_password_ends_the_memory(directory: Directory) -> None:
    """Once the user has logged in, what was wrong before is asked about again: the directory counts anew as well."""
    guard = Guard(Settings())
    assert directory.login(guard, JULIET, "old") == "wrong-password"
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, JULIET, "old") == "wrong-password"


def test_name_in_another_case_is_the_same_user(directory: Directory) -> None:
    """What counts for a user counts however the name is written."""
    guard = Guard(Settings())
    directory.passwords["JULIET", "example.com"] = "right"
    assert directory.login(guard, JULIET, "old") == "wrong-password"
    assert directory.login(guard, ("JULIET", "example.com"), "old") == "stale"


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.WRONG_PASSWORD])
def test_only_wrong_is_remembered(directory: Directory, reason: Reason) -> None:
    """A refusal for another reason than the password is asked about each time: it may be over any moment."""
    guard = Guard(Settings())
    directory.refuses[JULIET] = reason
    assert directory.login(guard, JULIET, "right") == reason.value
    del directory.refuses[JULIET]
    assert directory.login(guard, JULIET, "right") == "accepted"


def test_changed_password_may_be_one_that_was_wrong(directory: Directory, clock: Clock) -> None:
    """When a password that was right is wrong, it was changed: to one, maybe, that was tried before."""
    guard = Guard(Settings(cache_ttl=1.0, stale_if_error=86_400.0))
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, JULIET, "new") == "wrong-password"
    directory.passwords[JULIET] = "new"
    assert directory.login(guard, JULIET, "new") == "stale"
    clock.forward(2)
    assert directory.login(guard, JULIET, "right") == "wrong-password"
    assert directory.login(guard, JULIET, "new") == "accepted"


def test_ten_wrong_passwords_are_remembered_of_a_user(directory: Directory) -> None:
    """Of more, the first is forgotten: nobody fills a memory with guesses."""
    guard = Guard(Settings())
    for number in range(record.MOST_STALE + 1):
        assert directory.login(guard, JULIET, str(number)) == "wrong-password"
    assert directory.login(guard, JULIET, "1") == "stale"
    assert directory.login(guard, JULIET, "0") == "wrong-password"


def test_same_question_at_once_is_asked_once(directory: Directory) -> None:
    """A device that opens many connections at once is counted once."""
    guard = Guard(Settings())
    asked = threading.Event()
    go_on = threading.Event()
    verdicts: list[Verdict] = []

    def ask() -> Verdict:
        asked.set()
        go_on.wait(10)
        return directory.answer(JULIET, "old")

    def log_in() -> None:
        verdicts.append(guard.check(JULIET, "old", Deadline.after(10), ask))

    threads = [threading.Thread(target=log_in) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert asked.wait(10)
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(directory.asked) == 1
    assert sorted(verdict.reason.value for verdict in verdicts if verdict.reason) == ["stale"] * 19 + ["wrong-password"]
    assert len(guard._flights) == 0


def test_who_waits_for_the_same_question_waits_until_the_deadline(directory: Directory) -> None:
    """The answer to a question that is already under way is waited for as long as any other, and not longer."""
    guard = Guard(Settings())
    asked = threading.Event()
    go_on = threading.Event()

    def ask() -> Verdict:
        asked.set()
        go_on.wait(10)
        return ACCEPTED

    thread = threading.Thread(target=guard.check, args=(JULIET, "right", Deadline.after(10), ask))
    thread.start()
    assert asked.wait(10)
    with pytest.raises(DeadlineExceeded):
        guard.check(JULIET, "right", Deadline.after(0.05), ask)
    go_on.set()
    thread.join()
    assert directory.login(guard, JULIET, "right") == "accepted"


# The budget.


def test_guesses_beyond_the_budget_are_not_asked_about(directory: Directory, clock: Clock) -> None:
    """Of ten guesses two reach the directory, and more not before the window has moved on."""
    guard = Guard(Settings(failures=2))
    answers = [directory.login(guard, JULIET, f"guess {number}") for number in range(10)]
    assert answers == ["wrong-password"] * 2 + ["budget"] * 8
    assert directory.login(guard, ROMEO, "guess") == "wrong-password"
    clock.forward(900)
    assert directory.login(guard, JULIET, "another guess") == "wrong-password"


def test_known_password_passes_when_the_budget_is_used_up(directory: Directory, clock: Clock) -> None:
    """Who has logged in within a day is no guesser, and is asked about; then the directory counts anew."""
    guard = Guard(Settings(failures=2))
    assert directory.login(guard, JULIET, "right") == "accepted"
    clock.forward(record.KNOWN - 10)
    for number in range(10):
        directory.login(guard, JULIET, f"guess {number}")
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, JULIET, "guess") == "wrong-password"


def test_known_password_does_not_pass_for_ever(directory: Directory, clock: Clock) -> None:
    """After a hundred refused guesses the known password does not pass either: the next guess could be it."""
    guard = Guard(Settings(failures=2, cache_ttl=60.0))
    assert directory.login(guard, JULIET, "right") == "accepted"
    for number in range(2 + record.MOST_GUESSES):
        directory.login(guard, JULIET, f"guess {number}")
    assert directory.login(guard, JULIET, "right") == "budget"
    clock.forward(900)
    assert directory.login(guard, JULIET, "right") == "accepted"


@pytest.mark.parametrize("failures", [1, 2, 5])
def test_simultaneous_guesses_are_counted_before_they_are_asked(directory: Directory, failures: int) -> None:
    """However many guesses are made at once, no more of them reach the directory."""
    guard = Guard(Settings(failures=failures))
    barrier = threading.Barrier(20)

    def guess(number: int) -> None:
        barrier.wait(10)
        directory.login(guard, JULIET, f"guess {number}")

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(directory.asked) == failures


@pytest.mark.parametrize("reason", [Reason.LOCKED, Reason.DISABLED, Reason.MUST_CHANGE, Reason.NO_SUCH_USER])
def test_what_is_no_wrong_password_is_not_counted(directory: Directory, reason: Reason) -> None:
    """A refusal that is not about the password costs nothing of the budget."""
    guard = Guard(Settings(failures=2))
    directory.refuses[JULIET] = reason
    assert {directory.login(guard, JULIET, "right") for _ in range(5)} == {reason.value}
    del directory.refuses[JULIET]
    assert directory.login(guard, JULIET, "right") == "accepted"


def test_outage_costs_nobody_the_budget(directory: Directory) -> None:
    """Whoever has tried again and again while the directory was away may log in as soon as it is back."""
    guard = Guard(Settings(failures=2, stale_if_error=60.0))
    directory.away = True
    assert {directory.login(guard, JULIET, "right") for _ in range(5)} == {"unavailable"}
    directory.away = False
    assert directory.login(guard, JULIET, "right") == "accepted"


def test_ceiling_of_a_domain(directory: Directory) -> None:
    """Wrong passwords of many users of one domain are too many at some time; who is known still passes."""
    guard = Guard(Settings(domain_failures=3))
    directory.passwords |= {(f"user{number}", "example.com"): "right" for number in range(10)}
    directory.passwords["juliet", "example.org"] = "right"
    assert directory.login(guard, ROMEO, "right") == "accepted"
    answers = [directory.login(guard, (f"user{number}", "example.com"), "Summer2026") for number in range(5)]
    assert answers == ["wrong-password"] * 3 + ["budget"] * 2
    assert directory.login(guard, JULIET, "right") == "budget"
    assert directory.login(guard, ROMEO, "right") == "accepted"
    assert directory.login(guard, ("juliet", "example.org"), "right") == "accepted"


def test_full_domain_remembers_no_made_up_names(directory: Directory) -> None:
    """Beyond the ceiling of a domain nobody fills the memory with names that he makes up: who is known stays known."""
    guard = Guard(Settings(domain_failures=1))
    assert directory.login(guard, ROMEO, "right") == "accepted"
    assert directory.login(guard, JULIET, "wrong") == "wrong-password"
    before = len(guard._own)
    for number in range(100):
        assert directory.login(guard, (f"made-up-{number}", "example.com"), "x") == "budget"
    assert len(guard._own) == before


# Right passwords.


def test_right_password_is_remembered_for_its_time_only(directory: Directory, clock: Clock) -> None:
    """With `cache_ttl` a right password is right for that time without asking; by itself that does not go on."""
    guard = Guard(Settings(cache_ttl=30.0))
    assert directory.login(guard, JULIET, "right") == "accepted"
    clock.forward(29)
    assert directory.login(guard, JULIET, "right") == "cached"
    assert directory.login(guard, JULIET, "wrong") == "wrong-password"
    assert directory.login(guard, ROMEO, "right") == "accepted"
    clock.forward(1)
    assert directory.login(guard, JULIET, "right") == "accepted"


def test_by_itself_no_right_password_is_remembered(directory: Directory) -> None:
    """Without being told to, nothing of a right password is kept."""
    guard = Guard(Settings())
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert len(guard._own) == 0


OTHER_REASONS = [reason for reason in Reason if reason not in (Reason.WRONG_PASSWORD, Reason.STALE, Reason.BUDGET)]


@pytest.mark.parametrize("reason", OTHER_REASONS)
def test_refusal_of_an_account_ends_the_memory(directory: Directory, reason: Reason) -> None:
    """Once the directory has said that an account is disabled, locked or the like, its password is right no more."""
    guard = Guard(Settings(cache_ttl=30.0, stale_if_error=60.0))
    assert directory.login(guard, JULIET, "right") == "accepted"
    directory.refuses[JULIET] = reason
    assert directory.login(guard, JULIET, "another") == reason.value
    assert directory.login(guard, JULIET, "right") == reason.value
    directory.away = True
    assert directory.login(guard, JULIET, "right") == "unavailable"


def test_guess_of_a_stranger_does_not_end_the_memory(directory: Directory) -> None:
    """A wrong password says nothing about the right one."""
    guard = Guard(Settings(cache_ttl=30.0))
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, JULIET, "guess") == "wrong-password"
    assert directory.login(guard, JULIET, "right") == "cached"


def test_forgotten_user_is_asked_about(directory: Directory) -> None:
    """After a change of the password nothing is remembered, neither of the old one nor of the new one."""
    guard = Guard(Settings(cache_ttl=30.0, failures=1))
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, JULIET, "new") == "wrong-password"
    directory.passwords[JULIET] = "new"
    guard.forget(JULIET)
    assert directory.login(guard, JULIET, "new") == "accepted"
    assert directory.login(guard, JULIET, "right") == "wrong-password"


@pytest.mark.parametrize("password", ["right", "new"])
def test_answer_from_before_a_change_is_not_learnt(directory: Directory, password: str) -> None:
    """A login that was under way while the password changed leaves nothing behind, be it yes or no."""
    guard = Guard(Settings(cache_ttl=30.0))

    def ask() -> Verdict:
        verdict = directory.answer(JULIET, password)
        directory.passwords[JULIET] = "new"
        guard.forget(JULIET)
        return verdict

    guard.check(JULIET, password, Deadline.after(10), ask)
    assert directory.login(guard, JULIET, "right") == "wrong-password"
    assert directory.login(guard, JULIET, "new") == "accepted"


def test_forgetting_everybody(directory: Directory) -> None:
    """Nothing is remembered of anybody afterwards."""
    guard = Guard(Settings(cache_ttl=30.0))
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, ROMEO, "wrong") == "wrong-password"
    guard.forget_everybody()
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, ROMEO, "wrong") == "wrong-password"


def test_what_can_not_be_undone_is_not_done_from_memory(directory: Directory) -> None:
    """A removal is confirmed by the directory alone; a wrong password for it counts as any other."""
    guard = Guard(Settings(cache_ttl=30.0, stale_if_error=60.0, failures=2))
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, JULIET, "right", from_memory=False) == "accepted"
    assert len(directory.asked) == 2
    directory.away = True
    assert directory.login(guard, JULIET, "right", from_memory=False) == "unavailable"
    directory.away = False
    guesses = [directory.login(guard, JULIET, str(number), from_memory=False) for number in range(4)]
    assert guesses == ["wrong-password"] * 2 + ["budget"] * 2


# Outages.


def test_known_password_is_right_in_an_outage_only(directory: Directory) -> None:
    """With `stale_if_error` who was right is let in while the directory is away; nobody else is, and not longer."""
    guard = Guard(Settings(stale_if_error=3600.0))
    assert directory.login(guard, JULIET, "right") == "accepted"
    directory.away = True
    assert directory.login(guard, JULIET, "right") == "outage"
    assert directory.login(guard, JULIET, "wrong") == "unavailable"
    assert directory.login(guard, ROMEO, "right") == "unavailable"
    directory.away = False
    directory.passwords[JULIET] = "new"
    assert directory.login(guard, JULIET, "right") == "wrong-password"
    directory.away = True
    assert directory.login(guard, JULIET, "right") == "stale"
    assert directory.login(guard, JULIET, "new") == "unavailable"


def test_time_of_an_outage_counts_from_the_directory(directory: Directory, clock: Clock) -> None:
    """A login from memory does not make the memory last longer."""
    guard = Guard(Settings(stale_if_error=3600.0))
    assert directory.login(guard, JULIET, "right") == "accepted"
    directory.away = True
    for _ in range(3):
        clock.forward(1199)
        assert directory.login(guard, JULIET, "right") == "outage"
    clock.forward(10)
    assert directory.login(guard, JULIET, "right") == "unavailable"


def test_answer_that_makes_no_sense_is_no_outage(directory: Directory) -> None:
    """Where the directory was asked about this login and said neither yes nor no, memory does not say yes."""
    guard = Guard(Settings(stale_if_error=3600.0, failures=1))
    assert directory.login(guard, JULIET, "right") == "accepted"

    def ask() -> Verdict:
        raise UnclearAnswer("result 49, data 51f")

    for password in ("right", "guess", "another"):
        with pytest.raises(UnclearAnswer):
            guard.check(JULIET, password, Deadline.after(10), ask)


def test_guesses_in_an_outage_are_counted(directory: Directory) -> None:
    """While no directory counts guesses at a password that is remembered, the budget does."""
    guard = Guard(Settings(stale_if_error=3600.0, failures=2))
    assert directory.login(guard, JULIET, "right") == "accepted"
    directory.away = True
    guesses = [directory.login(guard, JULIET, str(number)) for number in range(4)]
    assert guesses == ["unavailable"] * 2 + ["budget"] * 2
    assert directory.login(guard, JULIET, "right") == "outage"
    for number in range(record.MOST_GUESSES):
        directory.login(guard, JULIET, str(number))
    assert directory.login(guard, JULIET, "right") == "budget"


# Limits.


def test_memory_is_bounded() -> None:
    """A million distinct names leave behind the records of fifty thousand, and no more."""
    guard = Guard(Settings(failures=2, cache_ttl=60.0))
    kept, sizes = guard._own, []
    for number in range(1_000_000):
        kept.change(
            f"example.com\0user{number}",
            memory.Seen(record.EMPTY, 0.0),
            lambda known, now: guard._rules.wrong(known, Digest(os.urandom(16), os.urandom(16)), now, None),
            memory.Patience(0),
        )
        if number in (4 * memory.MOST_USERS, 999_999):
            sizes.append(resident())
    assert len(kept) == memory.MOST_USERS
    assert sizes[1] - sizes[0] < 10_000


def resident() -> int:
    """The memory that this process has, in kilobytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_forked_child_knows_nothing_of_its_parent(directory: Directory) -> None:
    """A worker that was forked starts with an empty memory, another key, and no lock that is held."""
    guard = Guard(Settings(cache_ttl=60.0))
    assert directory.login(guard, JULIET, "right") == "accepted"
    digest = guard._own.digest("user", "password")
    with guard._own._lock, guard._lock:
        child = os.fork()
        if not child:
            fresh = guard._own.digest("user", "password") != digest
            os._exit(0 if fresh and directory.login(guard, JULIET, "right") == "accepted" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert directory.login(guard, JULIET, "right") == "cached"


@pytest.mark.parametrize("hashed", [FastHash(), SlowHash("a secret")])
def test_wrong_password_does_not_look_like_a_right_one(hashed: FastHash | SlowHash) -> None:
    """What stands for a password where it was wrong says nothing of what stands for it where it was right."""
    digest = hashed.password("user", "password")
    assert digest == hashed.password("user", "password")
    assert digest.wrong != digest.right


def test_moment_that_is_yet_to_come_is_not_believed(directory: Directory, clock: Clock) -> None:
    """After a clock was put back by more than a little, what was remembered is asked about again."""
    guard = Guard(Settings(cache_ttl=60.0))
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, ROMEO, "old") == "wrong-password"
    clock.forward(-record.SLACK)
    assert directory.login(guard, JULIET, "right") == "cached"
    assert directory.login(guard, ROMEO, "old") == "stale"
    clock.forward(-1)
    assert directory.login(guard, JULIET, "right") == "accepted"
    assert directory.login(guard, ROMEO, "old") == "wrong-password"


def test_no_password_is_in_memory() -> None:
    """What is kept has neither a password in it nor a hash that could be made without the key."""
    directory, guard = Directory(), Guard(Settings(cache_ttl=60.0))
    directory.login(guard, JULIET, "right")
    directory.login(guard, JULIET, "old-password")
    known = guard._own._records["example.com\0juliet"]
    assert known.good is not None
    assert len(known.good[0]) == 16
    assert "password" not in repr(known)
    assert Guard(Settings())._own.digest("example.com\0juliet", "right").right != known.good[0]
