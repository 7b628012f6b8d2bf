"""The demo's directory: a real LDAP server on loopback, over a tree in memory that begins as LDIF.

Owns the server, its thread, and the work-arounds for what ldaptor 21.2 does wrong. Knows nothing of who asks, or why.

For trying out and nothing else: ldaptor has no access control, so whoever can connect reads every entry, userPassword
included, and changes it. That is why it listens on 127.0.0.1 and nowhere else.
"""

import functools
import re
import threading
import warnings
from types import TracebackType
from typing import Any, NoReturn, Self

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import ServerFactory
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import globalLogBeginner

with warnings.catch_warnings():  # ldaptor calls pyparsing by names that are deprecated by now
    warnings.simplefilter("ignore")
    from ldaptor.entry import sshaDigest
    from ldaptor.inmemory import ReadOnlyInMemoryLDAPEntry
    from ldaptor.protocols import pureber, pureldap
    from ldaptor.protocols.ldap import distinguishedname, ldaperrors
    from ldaptor.protocols.ldap.ldapserver import LDAPServer
    from ldaptor.protocols.ldap.ldifprotocol import LDIF

HOST = "127.0.0.1"

MAX_MESSAGE = 1 << 20
"""Bytes of a request; what says that it is longer is not waited for."""

_MESSAGE_TAG = 0x30  # RFC 4511 4.1.1: every message is a SEQUENCE
_STOP_SECONDS = 5.0

_ROOT_DSE_FILTER = pureldap.LDAPFilter_present("objectClass")


class Directory:
    """A server that has its port once made, answers inside its `with`, and is gone after it.

    Args:
        ldif: The entries, parents first, each with an empty line behind it.
        port: Where to listen; any free port if it is 0 or can't be had.

    Attributes:
        port: Where it does listen.

    Raises:
        KeyError: An entry's parent is not among the entries before it.
    """

    def __init__(self, ldif: bytes, port: int = 0) -> None:
        _silence_twisted()
        # A reactor of its own: the process's could run only once, and would want the main thread and its signals.
        self._reactor = SelectReactor()
        factory = _Factory(_tree(ldif))
        try:
            self.port = self._listen(port, factory)
        except CannotListenError:
            self.port = self._listen(0, factory)
        self._thread = threading.Thread(target=self._reactor.run, args=(False,), name="demo directory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._reactor.callFromThread(self._reactor.stop)
        self._thread.join(_STOP_SECONDS)
        self._reactor.waker.connectionLost(None)  # closes its pipe, which a reactor never does by itself

    def _listen(self, port: int, factory: ServerFactory) -> int:
        """Listens, and returns on which port."""
        listening = self._reactor.listenTCP(port, factory, interface=HOST)  # type: ignore[no-untyped-call]
        return int(listening.getHost().port)


@functools.cache
def _silence_twisted() -> None:
    """Has Twisted log to nowhere: until it is told where, it prints on standard error what breaks a connection."""
    show = warnings.showwarning
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    warnings.showwarning = show  # Twisted takes this over too, for the whole process


class _Factory(ServerFactory):
    """Makes a `_Server` for each connection, and tells it which tree to serve."""

    def __init__(self, root: "_Entry") -> None:
        self.protocol = _Server
        self.root = root

    def __conform__(self, _interface: object) -> "_Entry":
        """What ldaptor's server gets when it adapts its factory to the tree's interface."""
        return self.root


class _LdifReader(LDIF):  # type: ignore[misc] # ldaptor has no types
    """Collects the entries of an LDIF text."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def gotEntry(self, obj: Any) -> None:  # noqa: N802 - ldaptor's name, as all below
        """Takes one entry."""
        self.entries.append(obj)


def _tree(ldif: bytes) -> "_Entry":
    """The entries as a tree; its root."""
    reader = _LdifReader()
    reader.dataReceived(ldif)
    first, *others = reader.entries
    tree = {first.dn: _Entry(first.dn, first)}
    for entry in others:
        tree[entry.dn] = tree[entry.dn.up()].addChild(entry.dn.split()[0], entry)
    return tree[first.dn]


class _Entry(ReadOnlyInMemoryLDAPEntry):  # type: ignore[misc] # ldaptor has no types
    """An entry; despite the name of its class, it can be written."""

    def addChild(self, rdn: Any, attributes: Any) -> "_Entry":  # noqa: N802
        """Adds an entry below this one. ldaptor lets one be added whose name differs from another's only in case."""
        name = distinguishedname.RelativeDistinguishedName(rdn)
        if any(child.dn.split()[0] == name for child in self._children.values()):
            raise ldaperrors.LDAPEntryAlreadyExists(name.getText())
        child: _Entry = super().addChild(name, attributes)
        return child

    def setPassword(self, newPasswd: bytes, salt: bytes | None = None) -> None:  # noqa: N802, N803
        """Stores a new password, hashed.

        ldaptor stores it twice, under the attribute's name as str and as bytes; a modify replaces but one of the two,
        and the password stays good.
        """
        self[b"userPassword"] = [sshaDigest(newPasswd, salt)]


class _Server(LDAPServer):  # type: ignore[misc] # ldaptor has no types
    """One connection."""

    buffer: bytes

    def dataReceived(self, recd: bytes) -> None:  # noqa: N802
        """Handles every request that is complete; an exception here closes the connection.

        ldaptor takes bytes that are no LDAP, or elements cut short, for the beginning of something, and waits for ever.
        """
        self.buffer += recd
        while (size := _message_size(self.buffer)) is not None and size <= len(self.buffer):
            message, self.buffer = self.buffer[:size], self.buffer[size:]
            try:
                request, _ = pureber.berDecodeObject(self.berdecoder, message)
            except pureber.BERExceptionInsufficientData:
                raise ValueError("an element is longer than its message") from None
            self.handle(request)

    def handle_LDAPBindRequest(self, request: Any, controls: Any, reply: Any) -> "Deferred[Any]":  # noqa: N802
        """Binds. ldaptor stays bound as before after a bind that fails, against RFC 4513 4.

        And it answers success with a matched DN, which RFC 4511 4.1.9 has for errors, and ldapsearch warns about.
        """

        def without_dn(response: Any) -> Any:
            response.matchedDN = ""
            return response

        self.boundUser = None
        return maybeDeferred(super().handle_LDAPBindRequest, request, controls, reply).addCallback(without_dn)

    def handle_LDAPSearchRequest(self, request: Any, controls: Any, reply: Any) -> Any:  # noqa: N802
        """Searches. ldaptor knows a question for the root DSE only by a filter that is spelled `objectClass`."""
        if isinstance(request.filter, pureldap.LDAPFilter_present) and request.filter.value.lower() == b"objectclass":
            request.filter = _ROOT_DSE_FILTER
        return super().handle_LDAPSearchRequest(request, controls, reply)

    def _cbSearchGotBase(self, base: Any, dn: Any, request: Any, reply: Any) -> Any:  # noqa: N802
        """Searches below an entry that is there. ldaptor has no size limit."""
        found: list[Any] = []

        def within_limit(entry: Any) -> None:
            found.append(entry)
            if not request.sizeLimit or len(found) <= request.sizeLimit:
                reply(entry)

        def done(response: Any) -> Any:
            if request.sizeLimit and len(found) > request.sizeLimit:
                response.resultCode = ldaperrors.LDAPSizeLimitExceeded.resultCode
            return response

        return super()._cbSearchGotBase(base, dn, request, within_limit).addCallback(done)

    def handle_LDAPAbandonRequest(self, request: Any, controls: Any, reply: Any) -> None:  # noqa: N802
        """Does nothing: what could be abandoned is answered already. ldaptor answers, where nothing may (4.11)."""

    def extendedRequest_LDAPPasswordModifyRequest(self, data: Any, reply: Any) -> "Deferred[Any]":  # noqa: ARG002, N802
        """Sets a password (RFC 3062). ldaptor lets nobody change another's, and takes no old password."""
        if self.boundUser is None:
            raise ldaperrors.LDAPStrongAuthRequired
        fields = {type(field): field.value for field in data}
        password = fields.get(pureldap.LDAPPasswordModifyRequest_newPasswd)
        if not password:
            raise ldaperrors.LDAPUnwillingToPerform(b"a new password is needed")
        old = fields.get(pureldap.LDAPPasswordModifyRequest_oldPasswd)
        dn = fields.get(pureldap.LDAPPasswordModifyRequest_userIdentity, self.boundUser.dn)

        def verify(entry: Any) -> Any:
            return entry if old is None else entry.bind(old)

        def change(entry: Any) -> Any:
            entry.setPassword(password)
            return pureldap.LDAPExtendedResponse(resultCode=ldaperrors.Success.resultCode)

        return self.factory.root.lookup(dn).addCallback(verify).addCallback(change)

    extendedRequest_LDAPPasswordModifyRequest.oid = pureldap.LDAPPasswordModifyRequest.oid  # type: ignore[attr-defined]
    extendedRequest_LDAPPasswordModifyRequest.berdecoder = (  # type: ignore[attr-defined]
        LDAPServer.extendedRequest_LDAPPasswordModifyRequest.berdecoder
    )

    def _callErrorHandler(self, name: str, resultCode: int, errorMessage: Any) -> Any:  # noqa: N802, N803
        """The answer to a request that failed. ldaptor has an error whose text it can't encode, and never answers."""
        if isinstance(errorMessage, distinguishedname.DistinguishedName):
            errorMessage = errorMessage.getText()  # noqa: N806
        return super()._callErrorHandler(name, resultCode, errorMessage)

    def _cbOtherError(self, reason: Any, name: str) -> Any:  # noqa: N802
        """The answer to a request that failed in no foreseen way. ldaptor has not foreseen a DN that is none."""
        if reason.check(distinguishedname.InvalidRelativeDistinguishedName, UnicodeDecodeError):
            return self._callErrorHandler(name, ldaperrors.LDAPInvalidDNSyntax.resultCode, "not a DN")
        return super()._cbOtherError(reason, name)


def _message_size(data: bytes) -> int | None:
    """The length of the message that the data begins with; None if too little of it is there to say.

    Raises:
        ValueError: It is no LDAP message, or one that is too long.
    """
    if data and data[0] != _MESSAGE_TAG:
        raise ValueError("not LDAP")
    if len(data) < 2:
        return None
    octets = data[1] - 0x80 if data[1] > 0x80 else 0  # of a length that is not in the first
    if data[1] == 0x80 or octets > 4:
        raise ValueError("not a length that LDAP knows (RFC 4511 5.1)")
    if len(data) < 2 + octets:
        return None
    size = 2 + octets + (int.from_bytes(data[2 : 2 + octets]) if octets else data[1])
    if size > MAX_MESSAGE:
        raise ValueError("too long")
    return size


def _unescape(text: str) -> str:
    r"""The text that is written so in a DN (RFC 4514 2.4), where `\c3\a9` is two octets of one character.

    ldaptor takes each for a character, and knows no escape that begins with an upper-case letter.
    """
    octets = re.sub(rb"\\(?:([0-9a-fA-F]{2})|(.))", _octet, text.encode(), flags=re.DOTALL)
    return octets.decode()


def _octet(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode()) if escape[1] else escape[2]


def _refuse_tag(text: str) -> NoReturn:
    """Breaks off decoding, in place of ldaptor's way: it prints what tag it doesn't know, and goes on without."""
    raise ValueError(text)


distinguishedname.unescape = _unescape
pureber.print = _refuse_tag
