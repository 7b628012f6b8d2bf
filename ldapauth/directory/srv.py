"""Servers from DNS: the SRV records of `_ldap._tcp` at a domain, for `servers = "srv:example.com"`.

Owns the look-up, its order by priority and weight, and how long it is good for. The only module that imports dnspython,
and only when there is something to look up.
"""

import logging
import random
import threading
from collections.abc import Sequence

from ldapauth import log
from ldapauth.config import Server
from ldapauth.deadline import Deadline, now
from ldapauth.errors import DeadlineExceeded, DirectoryUnavailable

_log = logging.getLogger(__name__)

_LIFETIME = 1.5
"""Seconds for a look-up, all resolvers and their retries together; a third of what is left to the question, if that is
less, for dnspython may pause once more before it gives up, for as long again."""

_FAIR = 0.2
"""Seconds in which a resolver that is well answers; a look-up that had less says nothing when it fails."""

_TRIES = 3
"""Into how many parts that time is divided, so that a resolver that is dead leaves some to the next."""

_SHORTEST, _LONGEST = 5.0, 3600.0
"""Seconds between which a record's TTL is taken at its word."""

_NONE = "."
"""The target that says: there is no such service here. Source: RFC 2782."""

_RETRY = 5.0
"""Seconds until a look-up that failed is tried again; meanwhile the last list that was good serves on."""


class SrvList:
    """The servers of a domain as DNS lists them.

    Args:
        domain: Where the records are, `_ldap._tcp.` before it.
    """

    def __init__(self, domain: str) -> None:
        self._name = f"_ldap._tcp.{domain}"
        self._servers: Sequence[Server] = ()
        self._good_until = 0.0
        self._failed = False
        self.reset_lock()

    def reset_lock(self) -> None:
        """For a forked child, in which another thread may have held the lock."""
        self._lock = threading.Lock()

    @property
    def known(self) -> Sequence[Server]:
        """The servers that DNS has listed last."""
        return self._servers

    def __call__(self, deadline: Deadline) -> Sequence[Server]:
        """The servers, best first.

        Raises:
            DirectoryUnavailable: DNS does not say and never said.
        """
        if now() >= self._good_until:
            # One question asks DNS; those beside it take the last list, or if there is none wait for the answer.
            if self._lock.acquire(timeout=0 if self._servers else deadline.remaining()):
                try:
                    if now() >= self._good_until:
                        self._refresh(deadline)
                finally:
                    self._lock.release()
            elif not self._servers:
                raise DeadlineExceeded(f"the SRV records at {self._name} were not found in time")
        if not self._servers:
            raise DirectoryUnavailable(f"no SRV records at {self._name}")
        return self._servers

    def _refresh(self, deadline: Deadline) -> None:
        import dns.exception  # noqa: PLC0415 - 40 ms at the start of every helper, for a setting that few use
        import dns.resolver  # noqa: PLC0415 - likewise

        lifetime = min(_LIFETIME, deadline.remaining() / 3)
        try:
            resolver = dns.resolver.get_default_resolver()
            resolver.timeout = lifetime / _TRIES
            answer = resolver.resolve(self._name, "SRV", lifetime=lifetime, search=False)
        except dns.exception.DNSException as error:
            if not self._servers and lifetime < _FAIR:
                return
            self._good_until = now() + _RETRY
            if not self._failed:
                log.event(_log, logging.WARNING, "dns-failed", record=self._name, error=type(error).__name__)
            self._failed = True
            return
        records = [(r.priority, r.weight, r.target.to_text(omit_final_dot=True), r.port) for r in answer]
        self._servers = [Server("ldap", host.lower(), port) for _, _, host, port in ordered(records) if host != _NONE]
        self._good_until = now() + min(max(answer.rrset.ttl if answer.rrset else 0, _SHORTEST), _LONGEST)
        self._failed = False


def ordered(records: Sequence[tuple[int, int, str, int]]) -> list[tuple[int, int, str, int]]:
    """Records of priority, weight, host and port in the order in which they are to be tried. Source: RFC 2782."""
    result = []
    for priority in sorted({record[0] for record in records}):
        group = [record for record in records if record[0] == priority]
        while group:
            # A weight of nothing is not never.
            chosen = random.choices(group, [record[1] + 0.001 for record in group])[0]  # noqa: S311 - no secret
            group.remove(chosen)
            result.append(chosen)
    return result
