"""gunicorn's settings for the app: `gunicorn -c deploy/gunicorn.conf.py 'ldapauth.frontends.http:create_app()'`.

What `GUNICORN_CMD_ARGS` or the command line says wins over what is here: `--bind 127.0.0.1:8080`, say. Under systemd
the socket is that of deploy/ldapauth.socket instead, and systemd is told by gunicorn itself that it is ready.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

# A Unix socket can be opened by those alone whom its mode lets, and no password crosses a network on it.
bind = "unix:/run/ldapauth/http.sock"
# The socket's mode: for its owner and its group, which the XMPP server or the reverse proxy is in, and for nobody else.
umask = 0o007

# Threads, as an answer is waited for and not computed; and sync workers would close the connections of XMPP servers.
worker_class = "gthread"
# How many questions may wait for a slow directory at a time, in each worker, before the next one has to queue.
threads = 16
# Python computes on one processor in each of them, and while one is replaced the other answers.
workers = 2

# XMPP servers keep pools of connections, and one that is idle takes no thread: the client is to close it first.
keepalive = 75
# A stopped worker has the time of a question under way (at most `http.deadline`, 4 s) and a little more.
graceful_timeout = 6
# For a worker that stands still as a whole. A slow directory is not what this ends, but the deadline of each question.
timeout = 30

# The most that gunicorn allows: a password of 1,000 bytes, percent-encoded in an URL, is one of 3,000.
limit_request_line = 8190

# On by default since gunicorn 25.1, in the home directory: one more way in, which nobody needs.
control_socket_disable = True

# Standard error, which is the journal under systemd. The app strips URLs' queries from it, as they have passwords.
errorlog = "-"
# Off: the app's own log has a line for each question, and says more.
accesslog = None
# For those who turn it on: the path, %(U)s, without the query, as that has the password in it; so have %(r)s and %(q)s.
access_log_format = '%(h)s %(t)s "%(m)s %(U)s %(H)s" %(s)s %(M)s'

_COUNTS = "PROMETHEUS_MULTIPROC_DIR"


def on_starting(server: Any) -> None:  # noqa: ARG001 - as gunicorn calls it
    """Gives the workers an empty directory to count in together, where there is Prometheus's client to do it."""
    if importlib.util.find_spec("prometheus_client"):
        os.environ[_COUNTS] = tempfile.mkdtemp(prefix="ldapauth-metrics-")


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001 - likewise
    """Has a worker that is gone count for what it has answered, and no more for the connections that it had."""
    if _COUNTS in os.environ:
        from prometheus_client import multiprocess  # noqa: PLC0415 - once the directory is known

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call] # of theirs


def on_exit(server: Any) -> None:  # noqa: ARG001 - likewise
    """Leaves nothing behind."""
    if _COUNTS in os.environ:
        shutil.rmtree(os.environ[_COUNTS], ignore_errors=True)


# gunicorn takes some exit statuses of any child for those of a worker that could not start.
_TRY = """
import sys
from gunicorn.util import import_app
try:
    import_app(sys.argv[1])
    print("can be used")
except SystemExit:
    pass
"""


def on_reload(server: Any) -> None:
    """Has the workers go on after SIGHUP if the configuration can't be used by now: gunicorn would end for good."""
    environment = {name: value for name, value in os.environ.items() if name != _COUNTS}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", _TRY, server.app.app_uri]
    tried = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)  # noqa: S603 - what it serves
    if "can be used" not in tried.stdout:
        server.log.error("the configuration can't be used: the workers go on with the one that they have")
        server.cfg.set("workers", 0)  # as many new ones
