"""Free ports on the loopback interface, and free addresses of it for a server whose ports can't be chosen."""

import random
import socket

LOOPBACK = "127.0.0.1"

# Below Linux's ephemeral ports (32768 and up): while a server is stopped for a moment, no outgoing connection can be
# given its port, and a client that keeps trying to reach it cannot end up connected to itself.
_CANDIDATES = range(20000, 32768)
# Not seeded like the global generator is by some test tools: two test runs at a time must not try the same ports.
_random = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """Returns a TCP port of 127.0.0.1 that nothing listens on and that was not returned before.

    Raises:
        OSError: No free port was found.
    """
    for port in _random.sample(_CANDIDATES, 200):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    message = f"no free port between {_CANDIDATES.start} and {_CANDIDATES.stop - 1}"
    raise OSError(message)


def free_address(*ports: int) -> str:
    """Returns an address of the loopback network, other than 127.0.0.1, that has these TCP ports free.

    Raises:
        OSError: No such address was found, or the ports are not for this user to take.
    """
    for _ in range(200):
        address = f"127.{_random.randint(1, 254)}.{_random.randint(0, 255)}.{_random.randint(1, 254)}"
        if all(_is_free(port, address) for port in ports):
            return address
    message = f"no address of the loopback network has the ports {', '.join(map(str, ports))} free for this user"
    raise OSError(message)


def _is_free(port: int, address: str = LOOPBACK) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection of an earlier server that is not forgotten yet is no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
