"""What is reported as a block, and above all what is not."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import uvloop
from opentelemetry import trace

import timesink_otel
from support import line_of, wait_for
from timesink_otel.probes.block import Block, Seen, Times, see
from timesink_otel.probes.event_loop import _kept
from timesink_otel.probes.loop_watch import Serialization, _Watch
from timesink_otel.probes.thread_times import ThreadTimes
from timesink_otel.user_code import UserCode

BLOCKED = "timesink.event_loop.blocked"
MILLI = 1_000_000


class Watch:
    """The least that a block asks of a loop's watch."""

    thread_id, thread_name = 1, "MainThread"


class NoGc:
    on = False


def millis(number):
    return int(number * MILLI)


def times(used=0, others=0, delayed=0):
    return Times(millis(used), millis(used + others), millis(delayed))


def new_block():
    return Block(0, times(), Watch(), NoGc())


def seen(line, position=None):
    """A sample of a function of its own for each line."""
    place = (("code.function.name", "f%d" % line), ("code.line.number", line))
    return Seen(0, position or line, False, False, (place, "library.call"), None)


def ended(block, at, late=0, processor=0, **clocks):
    block.end, block.end_times, block.processor = millis(at), times(**clocks), millis(processor)
    block.finish(millis(late))
    return block


def block_of(length, samples=((7, 10), (7, 14)), foreign=0, **end):
    block = new_block()
    for line, at in samples:
        block.passed(millis(at), 0, times())
        block.sample(seen(line), millis(at))
    block.foreign = millis(foreign)
    return ended(block, length, **end)


def is_told(block):
    return block.is_the_loops_fault(millis(20))


def line_told(block):
    return block.attributes().get("code.line.number")


@pytest.mark.parametrize(
    "length, foreign, verdict",
    [(20, 0, True), (19, 0, False), (60, 30, True), (60, 31, False), (30, 11, False)],
)
def test_a_block_is_at_least_the_floor_and_half_the_loops_own(length, foreign, verdict):
    assert is_told(block_of(length, foreign=foreign)) is verdict


def test_loop_that_the_machine_did_not_run_is_not_blocked():
    """*Scenario*: 469 ms of which the loop's thread queued for a processor nearly all."""
    assert is_told(block_of(469))
    assert not is_told(block_of(469, used=3, delayed=450))


def test_machines_share_counts_for_neither_side():
    """*Scenario*: C code keeps the interpreter; the machine gives it half of the time."""
    block = new_block()
    block.passed(millis(120), millis(105), times(used=60, delayed=60))
    block.sample(seen(7), millis(120))
    assert is_told(ended(block, 121, used=60, delayed=60))
    assert block.foreign == 0


def test_run_delay_that_shows_when_the_thread_runs_again_is_taken_back():
    """*Scenario*: at the first look the loop's thread still queues, which no clock tells yet."""
    block = new_block()
    block.passed(millis(30), millis(25), times(used=5))
    assert block.foreign == millis(20)
    block.passed(millis(40), 0, times(used=15, delayed=25))
    assert (block.foreign, block.machine) == (0, millis(25))


def test_who_kept_the_watchdog_away_until_the_loop_was_free_counts_too():
    """*Scenario*: one look at the start; a thread keeps the interpreter from both until the end."""
    samples = [(7, 9)]
    assert is_told(block_of(65, samples))
    assert not is_told(block_of(65, samples, late=52, used=1))


def test_block_without_a_sample_is_told_by_the_loops_own_processor_time():
    assert not is_told(block_of(60, samples=()))
    assert not is_told(block_of(60, samples=(), processor=19))
    assert not is_told(block_of(60, samples=(), processor=29))
    assert is_told(block_of(60, samples=(), processor=30))
    block = block_of(60, samples=(), processor=30, used=30, delayed=30)
    assert is_told(block) and line_told(block) is None
    assert "timesink.callee" not in block.attributes()
    assert not trace.get_current_span(block.parent_context()).get_span_context().is_valid


def test_block_without_a_sample_has_the_line_of_its_serialization():
    block = block_of(60, samples=(), processor=50)
    parent = trace.SpanContext(1, 2, False)
    attributes = {"code.file.path": "a.py", "code.line.number": 5, "timesink.callee": "json.dumps"}
    block.serialization = Serialization(0, 1, attributes, parent)
    assert line_told(block) == 5
    assert trace.get_current_span(block.parent_context()).get_span_context() == parent


def test_the_place_with_most_time_is_named_not_the_one_with_most_samples():
    samples = ((1, 10), (1, 14), (1, 20), (2, 30), (2, 90))
    assert line_told(block_of(100, samples)) == 2


def test_line_of_a_single_or_late_sample_is_not_named():
    assert line_told(block_of(52, samples=((46, 51),))) is None
    assert "timesink.callee" not in block_of(52, samples=((46, 51),)).attributes()
    block = new_block()
    for at, late in ((46, 40), (50, 0)):
        block.passed(millis(at), millis(late), times())
        block.sample(seen(46), millis(at))
    assert line_told(ended(block, 52)) is None


def test_time_between_two_places_is_half_of_each():
    """*Scenario*: 65 lasts from 0 to 52, the sample after it comes in the next line."""
    block = block_of(56, samples=((65, 8), (65, 12), (65, 40), (46, 54), (46, 55)))
    assert line_told(block) == 65
    weights = {place[0][1][1]: weight for place, weight in block._places.items()}
    assert weights == {65: millis(4 + 32 + 7), 46: millis(7 + 1 + 0.5)}


def test_sample_after_c_code_that_kept_the_interpreter_names_its_line():
    block = new_block()
    block.passed(millis(60), millis(45), times(used=60), kept=millis(40))
    block.sample(seen(7), millis(60))
    assert line_told(ended(block, 61, used=60)) == 7
    assert block.attributes()["timesink.callee"] == "library.call"


@pytest.mark.parametrize(
    "starved, clocks, kept",
    [
        (45, {"used": 60}, 40),
        (45, {"used": 20}, 15),
        (45, {"used": 30, "others": 15}, 0),  # others had it too
        (45, {"used": 20, "delayed": 25}, 15),  # the machine explains the rest
        (5, {"used": 20}, 0),  # Python code gives it up so late
        (0, {"used": 20}, -5),  # the machine let the watchdog come late
    ],
)
def test_time_for_which_c_code_kept_the_interpreter(starved, clocks, kept):
    assert _kept(times(), times(**clocks), millis(starved)) == millis(kept)


def contended(positions, used, others):
    """A block of 60 ms with a sample each 20 ms, at these positions, after so much computing."""
    block = new_block()
    for number, position in enumerate(positions, 1):
        block.passed(millis(number * 20), 0, times(number * used, number * others))
        block.sample(seen(1, position), millis(number * 20))
    return not is_told(ended(block, 60))


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


class Waiting:
    """A thread that waits in `wait`, as a loop's watch shows it."""

    busy_since, loop, loop_code = 1, None, object()

    def __init__(self, wait):
        self.thread = threading.Thread(target=wait)
        self.thread.start()
        self.thread_id = self.thread.ident

    def is_idle(self, frame):
        return False


@pytest.mark.parametrize("moves", [False, True])
def test_sample_of_a_thread_that_moves_on_while_its_stack_is_walked_is_none(monkeypatch, moves):
    monkeypatch.setattr(asyncio, "current_task", lambda loop: None)
    halt, go = threading.Event(), threading.Event()

    def wait():
        go.wait()
        halt.wait()

    watch = Waiting(wait)

    class Slow(UserCode):
        def find(self, *arguments):
            found = super().find(*arguments)
            if moves:
                go.set()
                time.sleep(0.2)
            return found

    time.sleep(0.1)
    sample = see(watch, Slow())
    halt.set()
    go.set()
    watch.thread.join()
    if moves:
        assert sample is None
    else:
        assert dict(sample.place[0])["code.function.name"].endswith("wait")
        assert sample.place[1].endswith("wait")


def test_callee_is_never_the_companions_own_wrapper(companion, monkeypatch):
    monkeypatch.setattr(asyncio, "current_task", lambda loop: None)
    halt = threading.Event()
    encoder = json.JSONEncoder(default=lambda value: halt.wait())
    watch = Waiting(lambda: encoder.encode(object()))
    time.sleep(0.1)
    # The lambda is user code, and what waits there: as a library's it is not on the way.
    user_code = UserCode()
    default = encoder.default.__code__
    find = user_code.find
    user_code.find = lambda frame, *limits: find(_past(frame, default), *limits)
    sample = see(watch, user_code)
    halt.set()
    watch.thread.join()
    assert sample.place[1].endswith("encode")


def _past(frame, code):
    while frame.f_code is not code:
        frame = frame.f_back
    return frame.f_back


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


def test_block_of_a_task_that_inherited_its_span_is_that_spans_child(companion):
    """*Scenario*: a middleware runs the handler in a task of its own, as Starlette's do."""

    async def handler():
        time.sleep(0.1)

    async def work():
        # Newer, and of another task: not to blame.
        other = companion.tracer.start_span("other")
        await asyncio.ensure_future(handler())
        other.end()

    run_on_loop(companion, work)
    (request,) = companion.named("request")
    (block,) = companion.named(BLOCKED)
    assert block.parent.span_id == request.context.span_id


def test_block_outside_of_any_task_is_a_root(companion):
    async def work():
        asyncio.get_running_loop().call_soon(time.sleep, 0.1)
        await asyncio.sleep(0.2)

    run_on_loop(companion, work)
    (block,) = companion.named(BLOCKED)
    assert block.parent is None


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_c_code_that_keeps_the_interpreter_is_found_on_either_loop(companion, new_loop):
    """Some 300 ms of processor time each, in one call."""
    rows = [{"id": i, "name": "x" * 20} for i in range(250_000)]

    async def main():
        with companion.tracer.start_as_current_span("request"):
            await asyncio.sleep(0.05)
            json.dumps(rows)  # dumps
            await asyncio.sleep(0.05)
            sum(range(20_000_000))  # sum
            await asyncio.sleep(0.3)

    with contextlib.closing(new_loop()) as loop:
        loop.run_until_complete(main())
    dumps, total = companion.named(BLOCKED)
    (request,) = companion.named("request")
    assert dumps.attributes["code.line.number"] == line_of(__file__, "dumps")
    assert dumps.parent.span_id == request.context.span_id
    # No serializer: a busy machine may hide the line, and none other is told.
    assert total.attributes.get("code.line.number") in (None, line_of(__file__, "sum"))


def test_c_code_is_found_where_no_thread_ever_queues(companion, monkeypatch):
    """*Scenario*: the machine is so quiet that the watchdog's run delay stays 0."""
    read = ThreadTimes.run_delay
    monkeypatch.setattr(ThreadTimes, "run_delay", lambda self: 0 * read(self))

    async def main():
        with companion.tracer.start_as_current_span("request"):
            await asyncio.sleep(0.05)
            sum(range(20_000_000))
            await asyncio.sleep(0.3)

    with contextlib.closing(uvloop.new_event_loop()) as loop:
        loop.run_until_complete(main())
    assert len(companion.named(BLOCKED)) == 1


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
blocks = recorded.named("timesink.event_loop.blocked")
print("blocks", [((b.end_time - b.start_time) / 1e6, dict(b.attributes)) for b in blocks])
""".format(tests=os.path.dirname(__file__))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    for _ in range(20):
        assert process.stdout.readline() == "turn\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=60)[0].splitlines()[-1] == "blocks []"


def test_thread_that_keeps_the_interpreter_is_not_the_loops_block(companion):
    """*Scenario*: C code in a thread keeps the interpreter while a callback is short."""
    rows = [{"id": i, "name": "x" * 20} for i in range(100_000)]

    async def work():
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(json.dumps, rows))
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
    (full,) = [p for p in pauses if p.attributes["timesink.gc.generation"] == 2]
    assert 0 <= full.attributes["timesink.gc.collected"]
    assert "thread.id" in full.attributes and "code.line.number" not in full.attributes
    assert not companion.named(BLOCKED)


def test_collectors_pause_outside_of_requests_is_not_told(companion):
    kept = [[i] for i in range(1_000_000)]
    gc.collect()
    assert kept
    assert not companion.named("timesink.gc.pause")


@pytest.mark.parametrize(
    "busy_since, is_free, used, is_quiet",
    [(0, True, 9, True), (0, True, 10, False), (0, False, 0, False), (1, True, 0, False)],
)
def test_glance_is_enough_for_a_free_loop_that_hardly_computes(
    monkeypatch, busy_since, is_free, used, is_quiet
):
    before, now = Times(0, 0, 0), Times(used, 0, 0)
    watch = object.__new__(_Watch)
    watch.busy_since, watch.times = busy_since, before
    monkeypatch.setattr(_Watch, "_is_free", lambda self: is_free)
    monkeypatch.setattr(_Watch, "times_now", lambda self: now)
    assert watch.is_quiet(20) == is_quiet
    # What needs a look is accounted for from the last one on.
    assert watch.times is (now if is_quiet else before)


def test_watchdog_that_comes_late_or_has_a_block_to_judge_looks(companion):
    event_loop = timesink_otel._companion.probes["event_loop"]
    assert event_loop._is_quiet(20_000_000)
    # A floor, what makes it suspicious, and what a thread that computes in Python may take.
    assert not event_loop._is_quiet(30_000_000)
    event_loop.ended.append(None)
    assert not event_loop._is_quiet(20_000_000)
    event_loop.ended.clear()


def test_free_uvloop_is_known_by_its_frame(companion):
    async def main():
        with companion.tracer.start_as_current_span("s"):
            await asyncio.sleep(0.01)
            (watch,) = timesink_otel._companion.probes["event_loop"]._watches.values()
            for pause in (asyncio.sleep, time.sleep):
                asker = threading.Timer(0.1, lambda: told.append(watch._is_free()))
                asker.start()
                waiting = pause(0.3)
                if waiting is not None:
                    await waiting
                asker.join()

    told, loop = [], uvloop.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    assert told == [True, False]


@pytest.mark.parametrize("pause", [0.1, 0.03])
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_loop_that_was_stopped_was_not_blocked_until_it_runs_again(companion, new_loop, pause):
    """*Scenario*: a synchronous view calls coroutines of a loop that it keeps, and works itself."""

    async def fetch():
        with companion.tracer.start_as_current_span("call"):
            await asyncio.sleep(0.005)

    async def stream():
        with companion.tracer.start_as_current_span("stream"):
            await asyncio.sleep(60)

    async def nothing():
        await asyncio.sleep(0.001)

    with contextlib.closing(new_loop()) as loop:
        streaming = loop.create_task(stream())
        for work in (fetch, nothing, fetch, nothing, nothing):
            loop.run_until_complete(work())
            time.sleep(pause)
        streaming.cancel()
        loop.run_until_complete(asyncio.wait([streaming]))
        assert not companion.named(BLOCKED)
        loop.run_until_complete(blocking(companion))  # and one that is
    (block,) = companion.named(BLOCKED)
    assert block.attributes["code.function.name"].endswith("blocking")


async def blocking(recorded):
    with recorded.tracer.start_as_current_span("request"):
        time.sleep(0.1)
    await asyncio.sleep(0.3)


class LoopWithoutHooks(asyncio.SelectorEventLoop):
    """Like those that nest others: nothing tells its runs apart."""

    _asyncgen_firstiter_hook = None


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop, LoopWithoutHooks]
)
def test_loop_that_runs_on_another_thread_than_before_is_watched_there(companion, new_loop):
    """*Scenario*: the main thread connects, then starts a thread in which the loop runs on."""

    async def connect():
        with companion.tracer.start_as_current_span("connect"):
            await asyncio.sleep(0)

    async def stream():
        with companion.tracer.start_as_current_span("stream"):
            await asyncio.sleep(60)

    with contextlib.closing(new_loop()) as loop:
        streaming = loop.create_task(stream())
        loop.run_until_complete(connect())
        thread = threading.Thread(target=loop.run_forever, name="loop")
        thread.start()
        asyncio.run_coroutine_threadsafe(blocking(companion), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        (watch,) = timesink_otel._companion.probes["event_loop"]._watches.values()
        assert len(watch.spans) == 1
        streaming.cancel()
        loop.run_until_complete(asyncio.wait([streaming]))
    (block,) = companion.named(BLOCKED)
    assert block.attributes["thread.id"] == thread.ident
    assert block.attributes["thread.name"] == "loop"
    assert block.attributes["code.function.name"].endswith("blocking")


def test_watch_that_finds_its_loop_on_another_thread_takes_no_wait_for_a_block(companion):
    """*Scenario*: no span starts there, but one of the thread before is still open."""

    async def stream():
        with companion.tracer.start_as_current_span("stream"):
            await asyncio.sleep(0.6)

    loop = asyncio.new_event_loop()
    streaming = loop.create_task(stream())
    loop.run_until_complete(asyncio.sleep(0.01))
    time.sleep(0.1)
    thread = threading.Thread(target=loop.run_until_complete, args=(streaming,))
    thread.start()
    thread.join()
    loop.close()
    time.sleep(0.1)
    (watch,) = timesink_otel._companion.probes["event_loop"]._watches.values()
    assert watch.thread_id == thread.ident
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
