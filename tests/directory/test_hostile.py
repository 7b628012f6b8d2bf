"""What a hostile or broken LDAP server may say, and what a user may have written into the own entry."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from ldapauth import config
from ldapauth.deadline import Deadline
from ldapauth.directory import Directory, User, wire
from ldapauth.directory.query import FilterTemplate, is_canonical, is_named
from ldapauth.errors import DeadlineExceeded, DirectoryUnavailable, PolicyRefusal, UnclearAnswer
from ldapauth.verdict import ACCEPTED, Reason, Verdict
from tests import configuration
from tests.servers.people import person
from tests.servers.slapd import Slapd

JULIET = User("juliet", configuration.DOMAIN)
NAMING = FilterTemplate("(uid={user})").naming
SECRET = "S3CRET-pass"

Answer = Callable[[int], Iterable[bytes]]


def result(message_id: int, tag: int, code: int, message: bytes = b"") -> bytes:
    """A message that ends an operation."""
    content = wire.tlv(0x0A, bytes((code,))) + wire.tlv(4, b"") + wire.tlv(4, message)
    return wire.tlv(0x30, wire.tlv(2, bytes((message_id,))) + wire.tlv(tag, content))


def entry(message_id: int, dn: bytes, *values: bytes) -> bytes:
    """A message with an entry that has these values of uid."""
    uid = wire.tlv(0x30, wire.tlv(4, b"uid") + wire.tlv(0x31, b"".join(wire.tlv(4, value) for value in values)))
    content = wire.tlv(4, dn) + wire.tlv(0x30, uid)
    return wire.tlv(0x30, wire.tlv(2, bytes((message_id,))) + wire.tlv(0x64, content))


class Server:
    """A server that answers searches and binds as it is told, one request a read.

    Attributes:
        connections: How many it was asked for.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.search: Answer = lambda number: [entry(number, b"uid=juliet", b"juliet"), result(number, 0x65, 0)]
        self.bind: Answer = lambda number: [result(number, 0x61, 0)]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ldap://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    _, _, operation = data.partition(b"\x02\x01")
                    answers = {0x60: self.bind, 0x63: self.search}.get(operation[1])
                    for answer in answers(operation[0]) if answers else ():
                        connection.sendall(answer)
            except OSError:
                return  # the other end has had enough


@pytest.fixture
def server() -> Iterator[Server]:
    """A server to be told what to say."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def directory(server: Server, tmp_path: Path) -> Directory:
    """A directory on it, searched anonymously."""
    file = configuration.write(tmp_path, {"servers": [server.url], "base_dn": "dc=x"})
    return Directory(configuration.DOMAIN, config.load(str(file)).domains[configuration.DOMAIN])


def soon() -> Deadline:
    """The deadline of a test's question."""
    return Deadline.after(10)


def test_entry_without_a_dn_lets_nobody_in(server: Server, directory: Directory) -> None:
    """An entry with an empty DN is an outage: a bind with it is anonymous, and would succeed."""
    server.search = lambda number: [entry(number, b"", b"juliet"), result(number, 0x65, 0)]
    with pytest.raises(DirectoryUnavailable, match="without a DN"):
        directory.check_password(JULIET, SECRET, soon())


@pytest.mark.parametrize("code", [1, 51, 52, 80])
def test_words_of_a_server_about_a_bind_are_not_repeated(server: Server, directory: Directory, code: int) -> None:
    """A server that quotes the password in its answer brings it into no exception, and so into no log."""
    server.bind = lambda number: [result(number, 0x61, code, b"bad credentials: " + SECRET.encode())]
    with pytest.raises(DirectoryUnavailable) as caught:
        directory.check_password(JULIET, SECRET, soon())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("pause", [0, 0.05])
def test_answer_in_pieces_is_put_together(server: Server, directory: Directory, pause: float) -> None:
    """An entry whose search ends in a message that comes on its own, or that is not the user's, is understood."""

    def pieces(number: int, *values: bytes) -> Iterator[bytes]:
        yield entry(number, b"uid=juliet", *values)
        time.sleep(pause)
        yield result(number, 0x65, 0)

    server.search = lambda number: pieces(number, b"juliet")
    assert directory.check_password(JULIET, SECRET, soon()) == ACCEPTED
    server.search = lambda number: pieces(number, b"juliet", b"montague")
    assert directory.check_password(JULIET, SECRET, soon()) == ACCEPTED
    server.search = lambda number: pieces(number, b"somebody")
    assert directory.check_password(JULIET, SECRET, soon()) == Verdict(Reason.OTHER_NAME)


def test_end_of_any_length_is_an_end(server: Server, directory: Directory) -> None:
    """A search that finds nothing and ends in words of any length is over with them, whatever its message id is."""
    # A message of 131 bytes with the id 100 has the tag of an entry where a short message has its own.
    server.search = lambda number: [result(number, 0x65, 0, b"x" * 116)]
    for _ in range(2 * wire.LAST_MESSAGE_ID):
        assert directory.find(JULIET, soon()) is Reason.NO_SUCH_USER
    assert server.connections == 1


@pytest.mark.parametrize("garbage", ["another id", "another name", "broken"])
def test_entry_that_is_no_answer_is_not_waited_for(server: Server, directory: Directory, garbage: str) -> None:
    """What can't be an answer ends the question at once, and is no outage, though nothing follows it."""
    entries: dict[str, Answer] = {
        "another id": lambda number: [entry(number + 1, b"uid=juliet", b"juliet")],
        "another name": lambda number: [entry(number, b"uid=juliet", b"juliet")[:-6] + b"romeo!", b"\x00"],
        "broken": lambda number: [b"\x30\x05\x02\x01" + bytes((number,)) + b"\x64\x7f"],
    }
    assert directory.check_password(JULIET, SECRET, soon()) == ACCEPTED
    server.search = entries[garbage]
    with pytest.raises(UnclearAnswer):
        directory.check_password(JULIET, SECRET, soon())


def test_entry_without_an_end_is_no_answer(server: Server, directory: Directory) -> None:
    """An entry after which the server falls silent lets nobody in, and is waited for no longer than there is time."""
    assert directory.check_password(JULIET, SECRET, soon()) == ACCEPTED
    server.search = lambda number: [entry(number, b"uid=juliet", b"juliet")]
    with pytest.raises(DeadlineExceeded):
        directory.check_password(JULIET, SECRET, Deadline.after(0.5))


def test_flood_of_entries_is_ambiguous_and_not_kept(server: Server, directory: Directory) -> None:
    """Of a server that ignores the size limit no more entries are kept than were asked for."""
    server.search = lambda number: [entry(number, b"uid=juliet", b"juliet")] * 5000 + [result(number, 0x65, 0)]
    assert directory.find(JULIET, soon()) is Reason.AMBIGUOUS
    assert directory.check_password(JULIET, SECRET, soon()) == Verdict(Reason.AMBIGUOUS)


def test_message_of_nothing_but_elements_is_refused(server: Server, directory: Directory) -> None:
    """A message with more elements than any answer has is refused before they cost time."""
    server.search = lambda number: [entry(number, b"uid=juliet", *[b""] * (wire.MAX_ELEMENTS + 1))]
    with pytest.raises(DirectoryUnavailable, match="more elements"):
        directory.find(JULIET, soon())


def test_long_value_in_the_own_entry_is_passed_over() -> None:
    """A value that is longer than any form of the name is not normalized, which could take minutes."""
    slow = ("m" + "\u0315\u0300" * 200_000).encode()
    assert is_named(JULIET, NAMING, wire.Entry(1, "uid=juliet", {"uid": [slow, b"juliet"]}))
    assert not is_named(JULIET, NAMING, wire.Entry(1, "uid=juliet", {"uid": [slow]}))


@pytest.mark.parametrize("name", ["ja\u212aob", "\u2126mega", "\uff4auliet"], ids=ascii)
def test_name_that_only_folds_to_another_is_not_it(name: str) -> None:
    """A name that is not in the form in which XMPP servers send names is nobody's."""
    import unicodedata

    stored = unicodedata.normalize("NFKC", name).lower().encode()
    assert not is_named(User(name, configuration.DOMAIN), NAMING, wire.Entry(1, "x", {"uid": [stored]}))


def test_dotted_capital_i_is_not_canonical() -> None:
    """A letter whose lower case a directory takes for two is not certain to be itself."""
    assert not is_canonical("v\u0130ctim")


@pytest.mark.parametrize("password", ["{SSHA}3kBBEE1cfPAhrdoAPq6Nl3PWhEnxCDvR", "{CLEARTEXT}x", "{}x"])
def test_hash_is_not_stored_as_a_password(slapd: Slapd, tmp_path: Path, password: str) -> None:
    """With `modify` a password that the directory would take for a hash is refused, and the old one stays."""
    file = configuration.write(tmp_path, configuration.domain_table(slapd, password_change="modify"))
    directory = Directory(configuration.DOMAIN, config.load(str(file)).domains[configuration.DOMAIN])
    with pytest.raises(PolicyRefusal, match="braces"):
        directory.set_password(person("juliet").dn, password, soon())
    with pytest.raises(PolicyRefusal, match="braces"):
        directory.add(User("benvolio", configuration.DOMAIN), password, soon())
    assert directory.check_password(JULIET, "juliet-secret", soon()) == ACCEPTED
    assert directory.find(User("benvolio", configuration.DOMAIN), soon()) is Reason.NO_SUCH_USER
