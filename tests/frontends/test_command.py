"""What a line or frame says, and which call of the provider it is."""

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from ldapauth.deadline import Deadline
from ldapauth.errors import (
    ChangeRefused,
    DeadlineExceeded,
    DirectoryUnavailable,
    NoSuchUser,
    NotAllowed,
    OperationOff,
    PolicyRefusal,
    UserExists,
    WrongPassword,
)
from ldapauth.frontends.command import Command, Malformed, answer, parse
from ldapauth.provider import Provider
from ldapauth.verdict import ACCEPTED, Reason, Verdict

SECRET = "juliet-secret"
USER = ("juliet", "example.com")
WITH_SECRET = ["auth", "setpass", "tryregister", "removeuser3", "certauth"]
WITHOUT_SECRET = ["isuser", "removeuser"]

DEADLINE = Deadline.after(3600)

# The one call of the provider that each command is.
CALLS = {
    "auth": mock.call.check_password(*USER, SECRET, DEADLINE),
    "isuser": mock.call.user_exists(*USER, DEADLINE),
    "certauth": mock.call.check_certificate(*USER, SECRET, DEADLINE),
    "setpass": mock.call.set_password(*USER, SECRET, DEADLINE),
    "tryregister": mock.call.register(*USER, SECRET, DEADLINE),
    "removeuser": mock.call.remove_user(*USER, DEADLINE),
    "removeuser3": mock.call.remove_user(*USER, DEADLINE, password=SECRET),
}
NAMES = list(CALLS)
VERDICTS = ["auth", "isuser", "certauth"]


@pytest.fixture
def provider(mocker: MockerFixture) -> mock.Mock:
    """A provider whose answers a test chooses."""
    made: mock.Mock = mocker.create_autospec(Provider, instance=True)
    return made


def question(name: str) -> Command:
    """A command about juliet."""
    return Command(name, *USER, SECRET if name in WITH_SECRET else "")


def method(provider: mock.Mock, name: str) -> mock.Mock:
    """The method of the provider that a command calls."""
    found: mock.Mock = getattr(provider, CALLS[name][0])
    return found


@pytest.mark.parametrize("name", WITH_SECRET)
@pytest.mark.parametrize(
    "secret",
    ["", " ", ":", "pass:with:colons ", " spaced ", "\t\r\n", "\0\x03\x7f", "пароль-密码-🔑", "x" * 65_000],
    ids=["empty", "space", "colon", "colons", "spaces", "whitespace", "control", "unicode", "long"],
)
def test_secret_is_kept_as_it_came(name: str, secret: str) -> None:
    """The last field of a command with a secret is the secret, with nothing split, stripped or changed."""
    assert parse(f"{name}:juliet:example.com:{secret}".encode()) == Command(name, *USER, secret)


@pytest.mark.parametrize("name", WITHOUT_SECRET)
def test_command_without_secret(name: str) -> None:
    """A command without a secret has a user and a domain, and what looks like more belongs to the domain."""
    assert parse(f"{name}:juliet:example.com".encode()) == Command(name, *USER)
    assert parse(f"{name}:juliet:example.com:x".encode()) == Command(name, "juliet", "example.com:x")


@pytest.mark.parametrize("name", NAMES)
def test_missing_field_is_malformed(name: str) -> None:
    """A command with fewer fields than it needs is malformed, however few they are."""
    whole = f"{name}:juliet:example.com" + (":x" if name in WITH_SECRET else "")
    fields = whole.split(":")
    for count in range(1, len(fields)):
        assert parse(":".join(fields[:count]).encode()) == Malformed("missing field")


@pytest.mark.parametrize(
    "text",
    [b"", b":", b"login:juliet:example.com:x", b"AUTH:juliet:example.com:x", b" auth:juliet:example.com:x", b"auth "],
    ids=["nothing", "colon", "other-name", "upper-case", "space-before", "space-behind"],
)
def test_unknown_command_is_malformed(text: bytes) -> None:
    """Only the seven names, exactly as they are written, are commands."""
    assert parse(text) == Malformed("unknown command")


@pytest.mark.parametrize("field", ["user", "domain", "secret"])
@pytest.mark.parametrize(
    "octets",
    [b"\xe4", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x94"],
    ids=["latin-1", "overlong", "surrogate", "beyond-unicode", "cut-off"],
)
def test_what_is_not_utf8_is_malformed(field: str, octets: bytes) -> None:
    """Bytes that are not UTF-8 make a command malformed, in whichever field they are."""
    fields = {"user": b"juliet", "domain": b"example.com", "secret": b"x"} | {field: octets}
    assert parse(b":".join([b"auth", *fields.values()])) == Malformed("not UTF-8")


@given(st.binary())
def test_any_bytes_are_a_command_or_malformed(text: bytes) -> None:
    """Whatever the bytes, parsing raises nothing, and a malformed text is not quoted."""
    parsed = parse(text)
    if isinstance(parsed, Malformed):
        assert parsed.why in {"unknown command", "not UTF-8", "missing field"}
    else:
        assert parsed.name in NAMES


@given(st.sampled_from(WITH_SECRET), st.text(min_size=1))
def test_repr_never_shows_the_secret(name: str, secret: str) -> None:
    """What a command looks like in a log or a traceback does not depend on its secret."""
    assert repr(Command(name, *USER, secret)) == f"Command(name='{name}', local_part='juliet', domain='example.com')"


@pytest.mark.parametrize("name", NAMES)
def test_command_is_one_call_of_the_provider(provider: mock.Mock, name: str) -> None:
    """Each command asks one thing of the provider, with the deadline it was given, and success means yes."""
    method(provider, name).return_value = ACCEPTED if name in VERDICTS else None
    assert answer(question(name), provider, DEADLINE) is True
    assert provider.mock_calls == [CALLS[name]]


@pytest.mark.parametrize("name", VERDICTS)
@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.value)
def test_refused_verdict_is_no(provider: mock.Mock, name: str, reason: Reason) -> None:
    """Whatever the reason of a refusal, the answer is no."""
    method(provider, name).return_value = Verdict(reason)
    assert answer(question(name), provider, DEADLINE) is False


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "error", [ChangeRefused, NoSuchUser, UserExists, WrongPassword, NotAllowed, PolicyRefusal, OperationOff]
)
def test_refusal_by_exception_is_no(provider: mock.Mock, name: str, error: type[Exception]) -> None:
    """A change that is refused and an operation that is off are answered with no."""
    method(provider, name).side_effect = error("why")
    assert answer(question(name), provider, DEADLINE) is False


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("error", [DirectoryUnavailable, DeadlineExceeded, RuntimeError])
def test_what_is_no_answer_is_raised(provider: mock.Mock, name: str, error: type[Exception]) -> None:
    """An outage is not turned into an answer here, nor is a bug."""
    method(provider, name).side_effect = error("why")
    with pytest.raises(error):
        answer(question(name), provider, DEADLINE)
