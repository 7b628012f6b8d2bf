"""How many wrong passwords a whole domain may have in a while, over the library limits.

Owns that library, which is loaded where there is such a limit. Knows no users.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import ConnectionPool


class Ceiling:
    """A moving window for each domain.

    Args:
        most: Wrong passwords within the window.
        window: Seconds, of which a part counts as one.
        url: The Redis that counts, with its connections; without one, it is this process.
        pool: The connections.
        prefix: What its keys there begin with.
    """

    def __init__(
        self, most: int, window: float, url: str | None = None, pool: "ConnectionPool | None" = None, prefix: str = ""
    ) -> None:
        from limits import RateLimitItemPerSecond  # noqa: PLC0415 - takes as long to load as half of a helper
        from limits.storage import MemoryStorage, RedisStorage  # noqa: PLC0415 - likewise
        from limits.strategies import MovingWindowRateLimiter  # noqa: PLC0415 - likewise

        storage = MemoryStorage() if url is None else RedisStorage(url, connection_pool=pool, key_prefix=prefix)
        self._limiter = MovingWindowRateLimiter(storage)
        self._item = RateLimitItemPerSecond(most, max(1, round(window)))

    def reached(self, domain: str) -> bool:
        """Whether the domain has had them all."""
        return not self._limiter.test(self._item, domain)

    def count(self, domain: str) -> None:
        """Counts one."""
        self._limiter.hit(self._item, domain)
