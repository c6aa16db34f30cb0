"""What is reported as a block, and above all what is not."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import timesink_otel
from support import wait_for
from timesink_otel.probes.block import Block

BLOCKED = "timesink.event_loop.blocked"
MILLI = 1_000_000


class Watch:
    """The least that a block asks of a loop's watch."""

    thread_id, thread_name, spans = 1, "MainThread", {}
    loop_code = None

    def __init__(self):
        self.loop = asyncio.new_event_loop()

    def is_idle(self, frame):
        return False


class NoGc:
    on = False


class Frame:
    """A frame at a place of its own; `f_lasti` is where in the code it is."""

    f_code = f_back = None

    def __init__(self, line):
        self.f_lasti = line


class Places:
    def find(self, frame, outermost):
        return {"code.line.number": frame.f_lasti}, None


def block_of(millis, samples=((7, 10),), foreign=0):
    block = Block(0, Watch(), NoGc())
    for line, at in samples:
        block.sample(Frame(line), Places(), at * MILLI)
    block.end, block.foreign = millis * MILLI, foreign * MILLI
    return block


@pytest.mark.parametrize(
    "millis, foreign, verdict",
    [(20, 0, True), (19, 0, False), (60, 30, True), (60, 31, False), (30, 11, False)],
)
def test_a_block_is_at_least_the_floor_and_half_the_loops_own(millis, foreign, verdict):
    assert block_of(millis, foreign=foreign).is_the_loops_fault(20 * MILLI) is verdict


def test_a_block_that_nobody_saw_is_not_told():
    assert not block_of(60, samples=()).is_the_loops_fault(20 * MILLI)


def test_the_place_with_most_time_is_named_not_the_one_with_most_samples():
    block = block_of(100, samples=((1, 10), (1, 14), (1, 20), (2, 90)))
    assert block.attributes()["code.line.number"] == 2


def contended(positions, used, others):
    """A block of 60 ms with a sample each 20 ms, at these positions, after so much computing."""
    block, frame = Block(0, Watch(), NoGc()), Frame(0)
    for number, position in enumerate(positions, 1):
        frame.f_lasti = position
        block.passed(0, used * MILLI, others * MILLI)
        block.sample(frame, Places(), number * 20 * MILLI)
    block.end = 60 * MILLI
    return not block.is_the_loops_fault(20 * MILLI)


def test_loop_that_moves_on_while_others_compute_is_contended_not_blocked():
    assert contended((1, 2, 3), used=1, others=19)


@pytest.mark.parametrize(
    "positions, used, others",
    [
        ((1, 1, 1), 0, 19),  # waits at one place, whatever others do
        ((1, 2, 3), 19, 1),  # computes itself
        ((1, 2, 3), 10, 10),  # computes as much as it gets
        ((1, 2, 3), 0, 0),  # waits at one place after the other
    ],
)
def test_loop_that_waits_or_computes_is_blocked(positions, used, others):
    assert not contended(positions, used, others)


def run_on_loop(recorded, work):
    async def main():
        with recorded.tracer.start_as_current_span("request"):
            await work()
        await asyncio.sleep(0.3)

    asyncio.run(main())


def test_block_is_child_of_the_span_that_runs_and_as_long_as_the_block(companion):
    async def work():
        with companion.tracer.start_as_current_span("inner"):
            time.sleep(0.1)

    run_on_loop(companion, work)
    (inner,) = companion.named("inner")
    (block,) = companion.named(BLOCKED)
    assert block.parent.span_id == inner.context.span_id
    assert inner.end_time - inner.start_time <= block.end_time - block.start_time + MILLI


def test_block_outside_of_any_task_is_a_root(companion):
    async def work():
        asyncio.get_running_loop().call_soon(time.sleep, 0.1)
        await asyncio.sleep(0.2)

    run_on_loop(companion, work)
    (block,) = companion.named(BLOCKED)
    assert block.parent is None


def test_suspended_process_is_no_block():
    """*Scenario*: the process is stopped in the middle of a callback of 10 ms for half a second."""
    script = """
import asyncio, os, sys, time
sys.path.insert(0, {tests!r})
from conftest import Recorded
import timesink_otel
recorded = Recorded()
timesink_otel.install(recorded.provider)
async def main():
    with recorded.tracer.start_as_current_span("request"):
        for _ in range(200):
            print("turn", flush=True)
            time.sleep(0.008)
            await asyncio.sleep(0)
    await asyncio.sleep(0.2)
asyncio.run(main())
print("blocks", len(recorded.named("timesink.event_loop.blocked")))
""".format(tests=os.path.dirname(__file__))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    for _ in range(20):
        assert process.stdout.readline() == "turn\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=60)[0].splitlines()[-1] == "blocks 0"


def test_thread_that_keeps_the_interpreter_is_not_the_loops_block(companion):
    """*Scenario*: C code in a thread holds the interpreter while the loop is in a short callback."""
    rows = [{"id": i, "name": "x" * 20} for i in range(100_000)]

    async def work():
        thread = threading.Thread(target=json.dumps, args=(rows,))
        thread.start()
        # Gives up the interpreter in a callback, and gets it back when the thread is done.
        time.sleep(0.001)
        await asyncio.sleep(0.2)

    run_on_loop(companion, work)
    assert companion.named("timesink.serialize"), "the thread was to be slow"
    assert not companion.named(BLOCKED)


def test_collectors_pause_is_a_pause_and_no_block(companion):
    kept = [[i] for i in range(1_500_000)]

    async def work():
        gc.collect()

    run_on_loop(companion, work)
    assert kept
    pauses = companion.named("timesink.gc.pause")
    assert 2 in [pause.attributes["timesink.gc.generation"] for pause in pauses]
    assert not companion.named(BLOCKED)


def test_loop_without_open_spans_is_not_watched(companion):
    async def main():
        companion.tracer.start_span("short").end()
        await asyncio.sleep(0.8)
        probe = timesink_otel._companion.probes["event_loop"]
        assert wait_for(lambda: not probe._awake.is_set())

    asyncio.run(main())


def test_spans_are_bounded_in_a_second_and_the_rest_is_counted(recorded, monkeypatch):
    monkeypatch.setenv("TIMESINK_SPANS_PER_SECOND_MAX", "2")
    timesink_otel.install(recorded.provider)
    try:
        emitter = timesink_otel._companion.emitter
        now = time.monotonic_ns()
        for _ in range(10):
            emitter.emit("x", now, now, {})
        assert wait_for(lambda: emitter.emit("last", now, now, {}) or recorded.named("last"))
        assert len(recorded.named("x")) <= 3
        assert 7 <= recorded.named("last")[0].attributes["timesink.rejected_spans"]
    finally:
        timesink_otel.uninstall()
