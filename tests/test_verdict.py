"""Verdicts: every reason can be said in words, and a refusal can't be mistaken for a yes."""

import dataclasses

import pytest

from ldapauth.verdict import ACCEPTED, Reason, Verdict

REASONS = pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)


@REASONS
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    """A reason has a sentence for the operator: one line, not ended, and no other reason's."""
    assert reason.sentence == reason.sentence.strip(" .\n")
    assert " " in reason.sentence
    assert [other for other in Reason if other.sentence == reason.sentence] == [reason]


@REASONS
def test_the_word_of_a_reason_needs_no_quotes(reason: Reason) -> None:
    """A reason's value is a word of lower-case letters and hyphens, as the log writes it."""
    assert reason.value.replace("-", "").isalpha()
    assert reason.value == reason.value.lower()


@REASONS
def test_a_verdict_with_a_reason_is_no(reason: Reason) -> None:
    """A verdict with any reason at all is not accepted."""
    assert not Verdict(reason).accepted


def test_a_verdict_without_a_reason_is_yes() -> None:
    """Accepted is the verdict without a reason."""
    assert ACCEPTED.accepted
    assert Verdict() == ACCEPTED


@pytest.mark.parametrize("verdict", [ACCEPTED, Verdict(Reason.WRONG_PASSWORD)], ids=["accepted", "refused"])
def test_a_verdict_has_no_truth_value(verdict: Verdict) -> None:
    """A verdict used as a condition raises, since a refusal would be true."""
    with pytest.raises(TypeError, match="accepted"):
        bool(verdict)


def test_a_verdict_does_not_change() -> None:
    """A verdict can't be turned into another one after it was given."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Verdict(Reason.AMBIGUOUS).reason = None  # type: ignore[misc] # that is the point
