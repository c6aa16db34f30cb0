"""Records the cases: `record.py [CASE...]`, a file of `recordings/` for each, and `labels.csv`.

Starts PostgreSQL in a temporary folder, an upstream in this process, and for each case the service
anew under `opentelemetry-instrument`, which loads `timesink-otel` by its entry point. Needs a
Python with `requirements.txt`; as root also `setpriv`, since PostgreSQL refuses root.
"""

import contextlib
import csv
import http.client
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "e2e" / "python"))

from cases import CASES  # noqa: E402
from sink import Sink, write_lines  # noqa: E402

SERVICES = HERE / "services"
RECORDINGS = HERE / "recordings"
BIN = Path(sys.executable).parent
POSTGRES_BINS = ["/usr/local/bin", "/usr/lib/postgresql/15/bin"]
DEADLINE_SECONDS = 60
PAUSE_SECONDS = 0.02
MARKS = ("BLOCKS", "SERIALIZES", "WAITS")
LABEL_COLUMNS = ["file", "case", "route", "clients", "requests", "expected", "may"]
LABEL_COLUMNS += ["code_file", "code_lines", "operation"]

TABLES = """
CREATE TABLE customers AS SELECT n AS id, 'name ' || n AS name, 'city ' || n % 9 AS city
    FROM generate_series(1, 99) n;
CREATE TABLE stock AS SELECT n AS id, 'item ' || n AS item, n % 7 AS left_over
    FROM generate_series(1, 99) n;
CREATE TABLE lines AS
    SELECT n AS id, 'item ' || n % 50 AS item, n % 900 AS amount, repeat('x', 30) AS note
    FROM generate_series(1, 40000) n;
ALTER TABLE customers ADD PRIMARY KEY (id);
ALTER TABLE stock ADD PRIMARY KEY (id);
ALTER TABLE lines ADD PRIMARY KEY (id);
ANALYZE;
"""


def main(names):
    chosen = [case for case in CASES if not names or case.name in names]
    RECORDINGS.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="companion-") as folder,
        contextlib.ExitStack() as stack,
    ):
        neighbours = {
            "UPSTREAM": stack.enter_context(upstream()),
            "POSTGRES": stack.enter_context(postgres(Path(folder))),
            # Relative to the service's working directory: no path of this machine in a span.
            "SQLITE": os.path.relpath(sqlite(Path(folder)), SERVICES),
        }
        for case in chosen:
            spans = record(case, neighbours)
            print(case.name, spans, "spans", size(case), "bytes", flush=True)
    write_labels()


def record(case, neighbours):
    sink = Sink()
    port = free_port()
    with service(case, port, sink, neighbours):
        ask(case, port)
        settle(sink)
    messages = sink.take()
    sink.close()
    write_lines(recording(case), messages)
    return count(messages)


def ask(case, port):
    """Sends the requests, each client one after the other; the clients share the order ids."""

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
        for order_id in range(1 + number, 1 + case.requests, case.clients):
            connection.request("GET", "/%s/%d" % (case.route, order_id))
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, (case.name, response.status, body[:500])
            if case.clients == 1:
                time.sleep(PAUSE_SECONDS)
        connection.close()

    with ThreadPoolExecutor(case.clients) as clients:
        list(clients.map(client, range(case.clients)))


def command(case, port):
    server = {
        "fastapi": [
            "uvicorn",
            "fastapi_app:app",
            "--loop",
            case.environment.get("LOOP", "asyncio"),
        ],
        "pool": ["uvicorn", "pool_app:app", "--loop", "asyncio"],
        "aiohttp": ["python", "aiohttp_app.py", str(port)],
        "flask": ["gunicorn", "flask_app:app"],
        "django": ["gunicorn", "django_app:application"],
    }[case.service]
    if server[0] == "uvicorn":
        server += ["--port", str(port), "--log-level", "warning"]
    if server[0] == "gunicorn":
        server += ["--bind", "127.0.0.1:%d" % port, "--worker-class", "gthread", "--threads", "4"]
        server += ["--log-level", "warning", "--worker-tmp-dir", "/dev/shm"]
    return [str(BIN / "opentelemetry-instrument"), str(BIN / server[0]), *server[1:]]


@contextlib.contextmanager
def service(case, port, sink, neighbours):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "TIMESINK_"))}
    environment = (
        clean
        | neighbours
        | case.environment
        | {
            "OTEL_SERVICE_NAME": case.service,
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.http,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "500",
            "DJANGO_SETTINGS_MODULE": "shop.django_settings",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    )
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command(case, port), cwd=SERVICES, env=environment, stdout=output, stderr=output
        )
        try:
            wait_until_up(process, port)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(DEADLINE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            output.seek(0)
            said = output.read().decode()
            if "Error" in said or "timesink-otel" in said:
                print(said, file=sys.stderr)


def wait_until_up(process, port):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise AssertionError("the service did not come up")


def settle(sink):
    """Waits until nothing has come for three exports' time: not every server flushes at its end."""
    seen, since = -1, time.monotonic()
    while time.monotonic() < since + 1.5:
        if seen != len(sink.messages):
            seen, since = len(sink.messages), time.monotonic()
        time.sleep(0.1)


@contextlib.contextmanager
def upstream():
    """Answers `/rates/MILLIS` after so many milliseconds."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self):
            time.sleep(int(self.path.rsplit("/", 1)[1]) / 1000)
            body = b'{"EUR":1.1}'
            head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self.wfile.write((head % len(body)).encode() + body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield "http://127.0.0.1:%d" % server.server_port
    server.shutdown()


@contextlib.contextmanager
def postgres(folder):
    programs = next(path for path in POSTGRES_BINS if os.path.exists(path + "/initdb"))
    data, port = folder / "postgres", free_port()
    data.mkdir()
    prefix = []
    if os.getuid() == 0:
        folder.chmod(0o755)
        shutil.chown(data, "postgres", "postgres")
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def run(program, *arguments):
        full = [*prefix, "%s/%s" % (programs, program), *arguments]
        subprocess.run(full, check=True, cwd=data, stdout=subprocess.DEVNULL)

    run("initdb", "-D", str(data), "-U", "shop", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = "-p %d -h 127.0.0.1 -k '' -c fsync=off" % port
    run("pg_ctl", "-D", str(data), "-w", "-l", str(data / "log"), "-o", options, "start")
    try:
        import psycopg2

        url = "postgresql://shop@127.0.0.1:%d/postgres" % port
        connection = psycopg2.connect(url)
        connection.autocommit = True
        connection.cursor().execute(TABLES)
        connection.close()
        yield url
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")


def sqlite(folder):
    path = folder / "shop.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE lines (id INTEGER PRIMARY KEY, customer, amount, note)")
        rows = ((n, n % 500, n % 900, "order %d of the shop" % n) for n in range(800_000))
        connection.executemany("INSERT INTO lines VALUES (?, ?, ?, ?)", rows)
        connection.commit()
    return path


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def recording(case):
    return RECORDINGS / (case.name + ".jsonl.gz")


def size(case):
    return recording(case).stat().st_size


def count(messages):
    return sum(
        len(scope["spans"])
        for message in messages
        for resource in message["resourceSpans"]
        for scope in resource["scopeSpans"]
    )


def write_labels():
    with open(HERE / "labels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, LABEL_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for case in CASES:
            if recording(case).exists():
                where, lines = location(case)
                values = (recording(case).name, case.name, "GET /%s/{order_id}" % case.route)
                values += (case.clients, case.requests, case.expected, case.may)
                values += (where, lines, case.operation)
                writer.writerow(dict(zip(LABEL_COLUMNS, values)))


def location(case):
    """Returns the file and the lines, with spaces, that carry the case's marker."""
    if not case.marker:
        return "", ""
    ends = tuple("  # %s %s" % (mark, case.marker) for mark in MARKS)
    sources = [SERVICES / (case.service + "_app.py"), *sorted((SERVICES / "shop").glob("*.py"))]
    for source in sources:
        lines = enumerate(source.read_text().splitlines(), 1)
        marked = [str(number) for number, line in lines if line.endswith(ends)]
        if marked:
            return str(source.relative_to(SERVICES)), " ".join(marked)
    raise AssertionError("no line is marked `%s`" % case.marker)


if __name__ == "__main__":
    main(sys.argv[1:])
