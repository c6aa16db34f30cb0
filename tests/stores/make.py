"""Makes a data directory as a server leaves it when it is killed: `make.py TIMESINK FOLDER`."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

# 2026-11-28T12:00:00Z
BEGIN = 1_795_867_200_000_000_000
FREE = "127.0.0.1:0"
QUERY = "SELECT a FROM item WHERE id = ?"


def serve(timesink, data):
    """Starts a server that flushes when it ends; returns it and its address."""
    addresses = ["--grpc-address", FREE, "--http-address", FREE, "--web-address", FREE]
    options = ["--data", data, "--store-flush-seconds", "3600", "--live-settle-seconds", "1"]
    server = subprocess.Popen(
        [timesink, "serve", *addresses, *options], stdout=subprocess.PIPE, text=True
    )
    return server, server.stdout.readline().split("http ")[1].split(",")[0]


def trace(number, spans=12, ends_first=False):
    """Returns a request with queries in a loop as OTLP JSON."""
    listed = []
    for span in range(1, spans + 1):
        start = BEGIN + number * 1_000_000_000 + span * 10_000_000
        times = [start, start + (8_000_000 if span > 1 else spans * 10_000_000)]
        if ends_first:
            times.reverse()
        system = {"key": "db.system.name", "value": {"stringValue": "mysql"}}
        text = {"key": "db.query.text", "value": {"stringValue": QUERY}}
        listed.append(
            {
                "traceId": f"{number:032x}",
                "spanId": f"{span:016x}",
                "parentSpanId": "" if span == 1 else f"{1:016x}",
                "name": "GET /cart" if span == 1 else "SELECT",
                "kind": 2 if span == 1 else 3,
                "startTimeUnixNano": str(times[0]),
                "endTimeUnixNano": str(times[1]),
                "attributes": [] if span == 1 else [system, text],
            }
        )
    name = {"key": "service.name", "value": {"stringValue": "shop"}}
    scope = {"spans": listed}
    return {"resourceSpans": [{"resource": {"attributes": [name]}, "scopeSpans": [scope]}]}


def post(address, message):
    request = urllib.request.Request(
        f"http://{address}/v1/traces",
        data=json.dumps(message).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def main(timesink, folder):
    with tempfile.TemporaryDirectory() as parent:
        data = str(pathlib.Path(parent) / "data")
        server, address = serve(timesink, data)
        for number in range(1, 6):
            post(address, trace(number))
        post(address, trace(6, spans=1, ends_first=True))
        # Findings of what settled go into their table as it ends.
        time.sleep(5)
        server.send_signal(signal.SIGTERM)
        server.wait()
        server, address = serve(timesink, data)
        post(address, trace(7))
        server.kill()
        server.wait()
        others = shutil.ignore_patterns("writer.lock", "audit.jsonl", "redaction.key")
        shutil.copytree(data, folder, ignore=others)


main(*sys.argv[1:])
