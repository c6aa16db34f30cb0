"""What is bounded stays so, and what is private stays out."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import timesink_otel
from support import BLOCKED
from timesink_otel import detail, processor
from timesink_otel.libraries import FOLDERS_MAX, Libraries
from timesink_otel.probes import event_loop, loop_watch
from timesink_otel.probes.block import SAMPLES_MAX, Block, Seen, Times
from timesink_otel.user_code import FRAMES_MAX, UserCode

SECRET = "s3cr3t"


def watches():
    return timesink_otel._companion.probes["event_loop"]._watches


def test_open_spans_of_a_loop_are_bounded_and_the_oldest_goes(companion):
    async def main():
        spans = [companion.tracer.start_span("s") for _ in range(loop_watch.SPANS_MAX + 1)]
        (watch,) = watches().values()
        assert len(watch.spans) == loop_watch.SPANS_MAX == 1000
        assert spans[0].context.span_id not in watch.spans
        assert spans[-1].context.span_id in watch.spans
        for span in spans:
            span.end()
        assert not watch.spans

    asyncio.run(main())


def test_loops_are_bounded_and_closed_ones_make_room(companion):
    async def main():
        companion.tracer.start_span("s").end()

    loops = [asyncio.new_event_loop() for _ in range(event_loop.WATCHES_MAX + 1)]
    for loop in loops:
        loop.run_until_complete(main())
    assert len(watches()) == event_loop.WATCHES_MAX == 32
    assert id(loops[-1]) not in watches()
    for loop in loops:
        loop.close()
    late = asyncio.new_event_loop()
    late.run_until_complete(main())
    assert id(late) in watches()
    late.close()
    assert len(companion.named("s")) == len(loops) + 1


def test_threads_and_names_that_were_told_of_are_bounded(companion, monkeypatch):
    inside = timesink_otel._companion
    monkeypatch.setattr(processor, "get_ident", iter(range(10**6)).__next__)
    for number in range(processor.THREADS_MAX + detail.NAMES_MAX):
        companion.tracer.start_span(str(number)).end()
        assert len(inside.processor._seconds) <= processor.THREADS_MAX == 4096
        assert len(inside.processor._detail._told) <= detail.NAMES_MAX == 4096
    assert all(isinstance(name, int) for name in inside.processor._detail._told)


def test_samples_of_a_block_are_bounded():
    block, now = Block(0, Times(0, 0, 0), None, None), 0
    while block.wants_sample(now):
        block.sample(Seen(0, now, True, False, ((), None), None), now)
        now += 10**9
    assert block.samples == SAMPLES_MAX == 64


def test_frames_of_a_walk_are_bounded():
    source = "def down(n, find):\n return down(n - 1, find) if n else find(sys._getframe())[0]\n"
    space = {"sys": sys}
    exec(compile(source, "/x/site-packages/deep.py", "exec"), space)
    find = UserCode().find
    assert FRAMES_MAX == 200
    assert space["down"](FRAMES_MAX - 2, find)["code.file.path"].endswith("test_bounds.py")
    assert space["down"](FRAMES_MAX, find) is None


def test_folders_of_imports_are_bounded(monkeypatch, tmp_path):
    known = Libraries()
    for number in range(FOLDERS_MAX + 10):
        monkeypatch.setattr(sys, "path", [str(tmp_path / str(number))])
        assert not known.hold(str(tmp_path / str(number) / "views.py"))
        assert len(known._installed) <= FOLDERS_MAX == 256


def test_nothing_of_arguments_locals_and_bodies_is_recorded(companion):
    async def work(argument):
        local = SECRET + argument
        with companion.tracer.start_as_current_span("request"):
            json.dumps([local] * 200_000)
            await asyncio.sleep(0)
            time.sleep(0.1)
        await asyncio.sleep(0.2)

    asyncio.run(work(SECRET))
    own = [s for s in companion.spans if s.instrumentation_scope.name == "timesink_otel"]
    assert {BLOCKED, "timesink.serialize"} <= {span.name for span in own}
    assert not [span for span in companion.spans if SECRET in span.to_json()]


def test_systems_that_hide_a_threads_processor_time_lose_only_that(companion, monkeypatch):
    monkeypatch.delattr(time, "pthread_getcpuclockid")

    async def main():
        with companion.tracer.start_as_current_span("request"):
            time.sleep(0.1)
        await asyncio.sleep(0.2)

    asyncio.run(main())
    (block,) = companion.named(BLOCKED)
    assert block.attributes["code.file.path"].endswith("test_bounds.py")
