"""What a helper does about its descriptors before anything else, because Prosody runs it on a pseudo-terminal.

Owns descriptors 0 to 2 and the terminal's mode. Imports nothing but the standard library's smallest: until `isolate`
has run, whatever is printed is read as an answer. The facts are in docs/clients.md, "Prosody's terminal".
"""

import contextlib
import os
import select
import signal
import termios
import tty

STDIN, STDOUT, STDERR = 0, 1, 2

_SETTLE = 0.005
"""Seconds that are waited for the rest of a burst. A terminal may hand over in pieces what was written at once, and
what follows a line break must not be taken for a question of its own."""


def isolate() -> bool:
    """Lets go of what was inherited; on a terminal, makes it a plain channel. Returns whether there is a terminal.

    Every other descriptor is closed: Prosody's listening sockets come along, and would stay taken after it is gone.
    On a terminal, raw mode keeps bytes such as 0x03 and 0x13 from being eaten, and standard error goes nowhere, for
    whatever is written there is an answer to Prosody.
    """
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    if not os.isatty(STDIN):
        return False
    for keyboard in (signal.SIGINT, signal.SIGTSTP, signal.SIGQUIT, signal.SIGTTOU):
        signal.signal(keyboard, signal.SIG_IGN)
    if os.isatty(STDERR):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, STDERR)
        os.close(nowhere)
    with contextlib.suppress(termios.error):  # the other end may be gone already; the first read will tell
        tty.setraw(STDIN)
    return True


def discard_input() -> None:
    """Throws away what was typed before this moment: it may have been echoed, and its answer would be one too many."""
    with contextlib.suppress(termios.error):
        termios.tcflush(STDIN, termios.TCIFLUSH)


def more_waits(*, settle: bool = False) -> bool:
    """Whether there is more to read at once, or after the moment in which the rest of a burst arrives."""
    return bool(select.select([STDIN], [], [], _SETTLE if settle else 0)[0])
