"""What a helper does about its descriptors before anything else, because Prosody runs it on a pseudo-terminal.

Owns descriptors 0 to 2 and the terminal's mode. Imports nothing but the standard library's smallest: until `isolate`
has run, whatever is printed is read as an answer, and a signal ends the process with another status than 0. The facts
are in docs/clients.md, "Prosody's terminal".
"""

import contextlib
import os
import select
import signal
import termios
import tty
from collections.abc import Callable

STDIN, STDOUT, STDERR = 0, 1, 2

_ENDING = {signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM}
_KEYBOARD = (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


def isolate() -> bool:
    """Lets go of what was inherited; on a terminal, makes it a plain channel. Returns whether there is a terminal.

    Every other descriptor is closed: Prosody's listening sockets come along, and would stay taken after it is gone.
    No signal may end the process with another status than 0, for then Prosody never starts it again. On a terminal,
    raw mode keeps bytes such as 0x03 and 0x13 from being eaten, what a keyboard can send is ignored, and standard error
    goes nowhere, for whatever is written there is an answer to Prosody.
    """
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: whatever is opened next would be taken for it, and get the answers
            os.open(os.devnull, os.O_RDWR)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    on_terminal = os.isatty(STDIN)
    if not on_terminal:  # there it means that the configuration is to be read again, and it has not been read yet
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in _ENDING if on_terminal else _ENDING - {signal.SIGHUP}:
        signal.signal(number, lambda *_: os._exit(0))
    for number in _KEYBOARD if on_terminal else ():
        signal.signal(number, signal.SIG_IGN)
    if on_terminal:
        if os.isatty(STDERR):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, STDERR)
            os.close(nowhere)
        with contextlib.suppress(termios.error):  # the other end may be gone already; the first read will tell
            tty.setraw(STDIN, termios.TCSAFLUSH)  # what was typed while there was an echo is thrown away with it
    return on_terminal


def discard_input() -> None:
    """Throws away what was typed before this moment: it may have been echoed, and its answer would be one too many."""
    with contextlib.suppress(termios.error):
        termios.tcflush(STDIN, termios.TCIFLUSH)


_input = select.poll()
_input.register(STDIN, select.POLLIN)


def more_waits(seconds: float = 0) -> bool:
    """Whether there is something to read, or the end, at once or within so many seconds."""
    return bool(_input.poll(seconds * 1000))


def when_nobody_reads(act: Callable[[], object]) -> None:
    """Calls a function, in a thread of its own, when the other end of standard output is closed.

    An XMPP server that gives up a helper closes its end, and so does one that ends. The helper may be waiting for the
    directory just then, and would be one more of those that pile up behind a restarted server.
    """
    import threading  # noqa: PLC0415 - until `isolate` has run a signal kills, so what is not needed by then is put off

    def watch() -> None:
        output = select.poll()
        output.register(STDOUT, 0)  # errors and hang-ups are always told
        output.poll()
        act()

    threading.Thread(target=watch, name="output", daemon=True).start()
