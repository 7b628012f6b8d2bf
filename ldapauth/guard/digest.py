"""What stands for a password where one is remembered; imports nothing of ours.

Owns the hashes. Both need a key. Where the key and what is kept are of one process, a fast hash does: whoever reads the
one reads the other, and the password of the next login. What others keep and outlives the process gets a slow one:
without the key it is worth nothing, and with a stolen key each guess costs what it costs here. docs/security.md has
what follows from that.
"""

import hashlib
import os

SIZE = 16  # bytes of a digest: two passwords of one user don't have the same by chance

# scrypt (RFC 7914): 4 MiB and some 7 ms for a password.
_COST, _BLOCK, _PARALLEL = 4096, 8, 1


class FastHash:
    """Digests that mean nothing outside of this process: the key is random."""

    def __init__(self) -> None:
        self._key = os.urandom(hashlib.blake2b.MAX_KEY_SIZE)

    def password(self, user: str, password: str) -> bytes:
        """The digest of a user's password."""
        return _keyed(self._key, user, password)


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

    def password(self, user: str, password: str) -> bytes:
        """The digest of a user's password."""
        salt = _keyed(self._key, "salt", user)
        slow = hashlib.scrypt(_octets(password), salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, dklen=32)
        return hashlib.blake2b(slow, key=self._key, digest_size=SIZE).digest()


def _keyed(key: bytes, first: str, second: str) -> bytes:
    """The keyed BLAKE2b (RFC 7693) of two texts; the length keeps apart where the one ends and the other begins."""
    one = _octets(first)
    return hashlib.blake2b(b"%d:%b%b" % (len(one), one, _octets(second)), key=key, digest_size=SIZE).digest()


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
