"""A PostgreSQL server of the tests' own: a new cluster in a temporary folder, on a free port."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2

from support import DEADLINE_SECONDS, free_port

# Debian keeps the server's programs off the path.
DEBIAN = Path("/usr/lib/postgresql")


@contextlib.contextmanager
def running_postgres():
    """Yields a `libpq` connection string of a server that lives as long as the block."""
    folder = tempfile.mkdtemp(prefix="timesink-postgres-")
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _owner())
        data = os.path.join(folder, "data")
        _run("initdb", "-D", data, "-U", "tested", "-A", "trust", "-E", "UTF8", "--no-sync")
        with _served(data) as dsn:
            yield dsn
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _served(data):
    port = free_port()
    options = ["-F", "-h", "127.0.0.1", "-p", str(port), "-c", "unix_socket_directories="]
    log = open(data + ".log", "w+")
    process = subprocess.Popen(
        [*_as_its_owner(), _program("postgres"), "-D", data, *options], stdout=log, stderr=log
    )
    try:
        dsn = "host=127.0.0.1 port=%d user=tested dbname=postgres" % port
        _wait_until_up(process, dsn, log)
        yield dsn
    finally:
        # SIGTERM waits for clients to leave, SIGINT does not.
        process.send_signal(2)
        process.wait(timeout=DEADLINE_SECONDS)
        log.close()


def _wait_until_up(process, dsn, log):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(psycopg2.OperationalError):
            psycopg2.connect(dsn).close()
            return
        time.sleep(0.05)
    log.seek(0)
    raise AssertionError("PostgreSQL did not come up: " + log.read()[-3000:])


def _run(name, *arguments):
    done = subprocess.run(
        [*_as_its_owner(), _program(name), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stdout


def _program(name):
    found = shutil.which(name) or max(map(str, DEBIAN.glob("*/bin/" + name)), default=None)
    assert found, "the tests need PostgreSQL's `%s` (Debian: `apt install postgresql`)" % name
    return found


def _as_its_owner():
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    owner = _owner()
    return ["setpriv", "--reuid=" + owner, "--regid=" + owner, "--clear-groups"]


def _owner():
    """`nobody` where no package made the user `postgres`."""
    users = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in users else "nobody"
