"""Measures what timesink-otel costs a request: the same service twice, loaded in alternation.

    python run.py fastapi|asyncio|django [--variants plain companion] ...

Both variants run all the time and are loaded in turns of seconds, each time in the other order. So
what else the machine does hits both. `README.md` says more.
"""

import argparse
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
UP_SECONDS_MAX = 60
WARM_UP_SECONDS = 6
# Of the batch processor: what is left of a turn goes out so long after it, on the core that the
# other variant is measured on next. So each turn waits for it.
SCHEDULE_MILLIS = 1000
QUIET_SECONDS = 1.2
COMMANDS = {
    "fastapi": "uvicorn fastapi_app:app --no-access-log --loop uvloop --http httptools --port {}",
    "asyncio": "uvicorn fastapi_app:app --no-access-log --loop asyncio --http h11 --port {}",
    "django": "gunicorn django_app:application() --threads 4 -b 127.0.0.1:{}",
}
# The value of TIMESINK_PROBES: without any probe nothing is patched and no span processor added.
VARIANTS = {"plain": "none", "companion": ""}
MEASURES = ("p50", "p99", "cpu")


class Service:
    def __init__(self, kind, variant, sink, core, folder):
        self.port = free_port()
        environment = dict(
            os.environ,
            OTEL_SERVICE_NAME="benchmark",
            OTEL_EXPORTER_OTLP_ENDPOINT=sink,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_TRACES_EXPORTER="otlp",
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
            OTEL_BSP_SCHEDULE_DELAY=str(SCHEDULE_MILLIS),
            TIMESINK_PROBES=VARIANTS[variant],
            DJANGO_SETTINGS_MODULE="django_app",
            DATABASE="%s/%d.db" % (folder, self.port),
        )
        server, *arguments = COMMANDS[kind].format(self.port).split()
        command = [BIN / "opentelemetry-instrument", BIN / server, *arguments]
        self.process = start(command, core, environment)
        wait_until_up(self.process, self.port)

    def cpu_seconds(self):
        """Returns the processor time of the service and its workers so far."""
        return sum(cpu_seconds(pid) for pid in family(self.process.pid))

    def load(self, options):
        """Returns what each request took and the processor time of all, seconds."""
        before = self.cpu_seconds()
        times = load(self.port, options.connections, options.rate, options.seconds)
        time.sleep(QUIET_SECONDS)
        return times, self.cpu_seconds() - before


def start(command, core, environment=None):
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=HERE,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # At once, so before there is a second thread or process that would not inherit it.
    os.sched_setaffinity(process.pid, {core})
    return process


def wait_until_up(process, port):
    deadline = time.monotonic() + UP_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("did not come up: %s" % " ".join(process.args))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def family(pid):
    children = Path("/proc/%d/task/%d/children" % (pid, pid)).read_text().split()
    return [pid] + [member for child in children for member in family(int(child))]


def cpu_seconds(pid):
    tasks = Path("/proc/%d/task" % pid).glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def load(port, connections, rate, seconds):
    """Sends `rate` requests a second over kept connections, each with one at a time.

    Returns what each took, in seconds.
    """
    times = []
    threads = [
        threading.Thread(target=send, args=(port, connections / rate, seconds, seed, times))
        for seed in range(connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def send(port, interval, seconds, seed, times):
    chance = random.Random(seed)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        due = time.perf_counter()
        end = due + seconds
        while due < end:
            # Scattered, so that connections march in step neither with each other nor with a timer.
            due = max(due + interval * (0.5 + chance.random()), time.perf_counter())
            time.sleep(max(due - time.perf_counter(), 0))
            times.append(request(client, chance.randrange(100)))


def request(client, number):
    start = time.perf_counter()
    client.sendall(b"GET /orders/%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % number)
    answer = client.recv(65536)
    while not answer.endswith(b"}"):
        more = client.recv(65536)
        if not more:
            raise ConnectionError("no answer: %r" % answer)
        answer += more
    return time.perf_counter() - start


def tell_spans(sink, variant):
    """Prints what a request of the last load sent, so that one sees that all is switched on."""
    with urllib.request.urlopen(sink + "/seen") as answer:
        seen = json.load(answer)
    requests = seen["requests"]
    print(
        "%-9s  %.1f spans, %.1f attributes a request"
        % (variant, seen["spans"] / requests, seen["attributes"] / requests)
    )


def compare(options, services, sink):
    for variant, service in zip(options.variants, services):
        load(service.port, options.connections, options.rate, WARM_UP_SECONDS)
        time.sleep(QUIET_SECONDS)
        tell_spans(sink, variant)
    print("\nround " + "".join("%12s%10s%8s" % (m + " A, ms", "B, ms", "B/A") for m in MEASURES))
    rounds = []
    for number in range(options.rounds):
        turns = [[], []]
        for turn in range(options.turns):
            for variant in ((0, 1), (1, 0))[(number + turn) % 2]:
                turns[variant].append(services[variant].load(options))
        rounds.append([summary(of_variant) for of_variant in turns])
        print("%5d " % (number + 1) + row(rounds[-1:]), flush=True)
    print("median" + row(rounds))
    for measure in MEASURES:
        ratios = sorted(b[measure] / a[measure] for a, b in rounds)
        low, _, high = statistics.quantiles(ratios, n=4)
        print(
            "%s: median of ratios %+.1f %%, quartiles %+.1f to %+.1f %%"
            % ((measure,) + tuple((r - 1) * 100 for r in (statistics.median(ratios), low, high)))
        )


def summary(turns):
    """Returns the measures of one variant in one round, milliseconds."""
    times = sorted(time for times, _ in turns for time in times)
    p50, p99 = (times[int(len(times) * part)] for part in (0.5, 0.99))
    cpu = sum(cpu for _, cpu in turns) / len(times)
    return {"p50": p50 * 1e3, "p99": p99 * 1e3, "cpu": cpu * 1e3}


def row(rounds):
    cells = []
    for measure in MEASURES:
        values = [(a[measure], b[measure], b[measure] / a[measure]) for a, b in rounds]
        cells.append("%12.3f%10.3f%8.3f" % tuple(map(statistics.median, zip(*values))))
    return "".join(cells)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("service", choices=COMMANDS)
    parser.add_argument("--variants", nargs=2, choices=VARIANTS, default=["plain", "companion"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--turns", type=int, default=6, help="of each variant in a round")
    parser.add_argument("--seconds", type=float, default=4, help="of a turn")
    parser.add_argument("--rate", type=float, default=100, help="requests a second")
    parser.add_argument("--connections", type=int, default=2)
    options = parser.parse_args()

    # The client and the sink have one core, the services the other.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    port = free_port()
    sink = "http://127.0.0.1:%d" % port
    started = [start([sys.executable, "sink.py", port], cores[0])]
    with tempfile.TemporaryDirectory() as folder:
        try:
            wait_until_up(started[0], port)
            services = []
            for variant in options.variants:
                services.append(Service(options.service, variant, sink, cores[-1], folder))
                started.append(services[-1].process)
            compare(options, services, sink)
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
                process.wait()


if __name__ == "__main__":
    main()
