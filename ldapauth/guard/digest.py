"""What stands for a password where one is remembered; imports nothing of ours.

Owns the hashes. Both need a key. Where the key and what is kept are of one process, a fast hash does: whoever reads the
one reads the other, and the password of the next login. What others keep and outlives the process gets a slow one:
without the key it is worth nothing, and with a stolen key each guess costs what it costs here. docs/security.md has
what follows from that.
"""

import hashlib
import hmac
import os
from typing import NamedTuple

_SIZE = 16  # bytes of a digest: two passwords of one user don't have the same by chance

# scrypt (RFC 7914): 1 MiB and some 2 ms for a password. A helper has everybody wait meanwhile, in a storm of logins
# too; and it is the second line, behind the key.
_COST, _BLOCK, _PARALLEL = 1024, 8, 1


class Digest(NamedTuple):
    """What stands for a password: something else where it was wrong and where it was right.

    Nobody can turn the one into the other, so a record with a wrong password can't be made into one with a right one.
    """

    wrong: bytes
    right: bytes


class FastHash:
    """Digests that mean nothing outside of this process: the key is random."""

    def __init__(self) -> None:
        self._key = os.urandom(hashlib.blake2b.MAX_KEY_SIZE)

    def password(self, user: str, password: str) -> Digest:
        """The digest of a user's password."""
        return _digest(_keyed(self._key, user, password, 2 * _SIZE))


class SlowHash:
    """Digests for what is shared.

    Args:
        secret: What all who share have in common.
    """

    def __init__(self, secret: str) -> None:
        self._key = hashlib.blake2b(secret.encode(), person=b"ldapauth guard").digest()

    def user(self, user: str) -> str:
        """What stands for a user, as hexadecimal digits."""
        return _keyed(self._key, "user", user).hex()

    def password(self, user: str, password: str) -> Digest:
        """The digest of a user's password."""
        salt = _keyed(self._key, "salt", user)
        slow = hashlib.scrypt(_octets(password), salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, dklen=32)
        return _digest(hashlib.blake2b(slow, key=self._key, digest_size=2 * _SIZE).digest())

    def sealed(self, place: str, record: bytes) -> bytes:
        """A record with a mark that nobody makes without the secret, and that is good in this place alone."""
        return self._mark(place, record) + record

    def opened(self, place: str, sealed: bytes) -> bytes | None:
        """The record that was sealed for this place; None if it was not, or not by somebody with the secret."""
        mark, record = sealed[: 2 * _SIZE], sealed[2 * _SIZE :]
        return record if hmac.compare_digest(mark, self._mark(place, record)) else None

    def _mark(self, place: str, record: bytes) -> bytes:
        """As hexadecimal digits; a place has no NUL in it."""
        text = b"%b\0%b" % (place.encode(), record)
        mac = hashlib.blake2b(text, key=self._key, digest_size=_SIZE, person=b"guard record")
        return mac.hexdigest().encode()


def _digest(octets: bytes) -> Digest:
    return Digest(octets[:_SIZE], octets[_SIZE:])


def _keyed(key: bytes, first: str, second: str, size: int = _SIZE) -> bytes:
    """The keyed BLAKE2b (RFC 7693) of two texts; the length keeps apart where the one ends and the other begins."""
    one = _octets(first)
    return hashlib.blake2b(b"%d:%b%b" % (len(one), one, _octets(second)), key=key, digest_size=size).digest()


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
