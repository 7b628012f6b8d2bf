"""A domain's servers, and connections to them.

Owns the order of the servers, the TLS context and the service account's bind. Knows nothing of users. A connection is
made for each use and closed after it.
"""

import contextlib
import logging
import ssl
from collections.abc import Callable, Iterator

from ldapauth import log
from ldapauth.config import Domain
from ldapauth.deadline import Deadline
from ldapauth.errors import ConfigurationError, DeadlineExceeded, DirectoryUnavailable

from .connection import Connection

_log = logging.getLogger(__name__)

_INVALID_CREDENTIALS = 49


class _ServiceRefused(DirectoryUnavailable):
    """The service account's password is wrong."""


class Pool:
    """Connections to whichever of a domain's servers answers first, in the order given.

    Args:
        path: The path of the domain's table, for messages.
        settings: The domain's settings.

    Raises:
        ConfigurationError: A certificate or key can't be used.
    """

    def __init__(self, path: str, settings: Domain) -> None:
        self._settings = settings
        self._servers = settings.addresses()
        self._tls = _tls_context(path, settings)

    @contextlib.contextmanager
    def searching(self, deadline: Deadline) -> Iterator[Connection]:
        """A connection bound as the service account, or anonymous where there is none.

        Raises:
            DirectoryUnavailable: No server can be asked.
        """
        with contextlib.closing(self._first(self._bind_service, deadline)) as connection:
            yield connection

    @contextlib.contextmanager
    def verifying(self, deadline: Deadline) -> Iterator[Connection]:
        """A connection on which a user's bind can be tried.

        Raises:
            DirectoryUnavailable: No server can be asked.
        """
        with contextlib.closing(self._first(None, deadline)) as connection:
            yield connection

    def _first(self, prepare: Callable[[Connection, Deadline], None] | None, deadline: Deadline) -> Connection:
        """A prepared connection to the first server that gives one."""
        failures = []
        for server in self._servers:
            connection = None
            try:
                connection = Connection.open(server, self._settings, self._tls, deadline)
                if prepare:
                    prepare(connection, deadline)
            except _ServiceRefused:
                raise  # the next server would say the same, and count one more wrong password against the account
            except DirectoryUnavailable as error:
                failures.append(str(error))
                if connection:
                    connection.close()
                if deadline.expired:
                    raise DeadlineExceeded("; ".join(failures)) from None
                log.event(_log, logging.WARNING, "server-failed", server=str(server), error=str(error))
            else:
                return connection
        raise DirectoryUnavailable("; ".join(failures))

    def _bind_service(self, connection: Connection, deadline: Deadline) -> None:
        dn, password = self._settings.bind_dn, self._settings.bind_password
        if dn is None or password is None:
            return  # RFC 4511 4.2.1: a connection on which nothing was bound is anonymous
        result = connection.bind(dn, password.reveal(), deadline)
        if result.code == _INVALID_CREDENTIALS:
            connection.close()
            raise _ServiceRefused(f"{connection.server}: the service account's DN or password is wrong (result 49)")
        if result.code != 0:
            raise DirectoryUnavailable(
                f"{connection.server}: the service account may not bind (result {result.code}): {result.message}"
            )


def _tls_context(path: str, settings: Domain) -> ssl.SSLContext:
    """Verifies certificates and their names, against the system's CAs or `ca_file`."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (ssl.SSLError, OSError):
        raise ConfigurationError(
            f"{path}.ca_file: {settings.ca_file}: holds no usable certificate in PEM form"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_cert:
        try:
            # An encrypted key would make OpenSSL ask on the terminal; an empty password makes that an error.
            context.load_cert_chain(settings.client_cert, settings.client_key, password="")
        except (ssl.SSLError, OSError):
            raise ConfigurationError(
                f"{path}.client_cert: {settings.client_cert}: holds no usable certificate, or client_key no key to it"
            ) from None
    return context
