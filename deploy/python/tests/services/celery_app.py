"""Tasks for a prefork worker; broker and results are folders, so no server is needed.

Run as a program it sends some of each and prints what they return, a line each.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from celery import Celery
from celery.signals import worker_ready
from opentelemetry import trace

FOLDER = Path(os.environ["TESTED_FOLDER"])
(FOLDER / "results").mkdir(exist_ok=True)
(FOLDER / "queue").mkdir(exist_ok=True)

app = Celery("tested", broker="filesystem://", backend=(FOLDER / "results").as_uri())
app.conf.broker_transport_options = {
    "polling_interval": 0.05,
    "data_folder_in": str(FOLDER / "queue"),
    "data_folder_out": str(FOLDER / "queue"),
    "control_folder": str(FOLDER / "control"),
}


@worker_ready.connect
def tell(**ignored):
    (FOLDER / "ready").touch()


@app.task(name="encode")
def encode(number):
    json.dumps([{"id": i} for i in range(60_000)])  # encode
    return [os.getpid(), number]


@app.task(name="block")
def block(number):
    """A loop in a worker: it needs the watchdog of the forked process."""

    async def blocking():
        with trace.get_tracer("app").start_as_current_span("on loop"):
            time.sleep(0.06)  # block

    asyncio.run(blocking())
    return [os.getpid(), number]


@app.task(name="fail")
def fail(number):
    raise ValueError(os.getpid(), number)


def send(count):
    tasks = [(encode, n) for n in range(count)] + [(block, n) for n in range(count)]
    sent = [task.delay(number) for task, number in tasks]  # send
    lost = fail.delay(0)
    for result in sent:
        print(json.dumps(result.get(timeout=60, interval=0.02)))
    print(json.dumps(lost.get(timeout=60, interval=0.02, propagate=False).args))


if __name__ == "__main__":
    send(int(sys.argv[1]))
