"""What every span gets when it starts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading

import opentelemetry
import pytest
import uvloop
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
)
from sqlalchemy.util.concurrency import greenlet_spawn

import timesink_otel
from support import line_of
from timesink_otel import processor
from timesink_otel.settings import DETAIL_PER_SECOND_MAX
from timesink_otel.user_code import CODES_MAX, UserCode


def test_span_names_its_thread_and_says_that_no_loop_runs(companion):
    def work():
        companion.tracer.start_span("work").end()

    thread = threading.Thread(target=work, name="worker-7")
    thread.start()
    ident = thread.ident
    thread.join()
    (span,) = companion.spans
    assert span.attributes["thread.id"] == ident
    assert span.attributes["thread.name"] == "worker-7"
    assert span.attributes["timesink.event_loop"] is False


def test_span_on_a_loop_says_so_and_one_in_its_thread_pool_does_not(companion):
    async def main():
        companion.tracer.start_span("loop").end()
        await asyncio.get_running_loop().run_in_executor(
            None, lambda: companion.tracer.start_span("pool").end()
        )

    asyncio.run(main())
    for name, on_loop in (("loop", True), ("pool", False)):
        (span,) = companion.named(name)
        assert span.attributes["timesink.event_loop"] is on_loop


def test_span_that_starts_where_its_parent_does_repeats_neither_thread_nor_loop(companion):
    def beside():
        with companion.tracer.start_as_current_span("moved"):
            companion.tracer.start_span("stays").end()

    async def main():
        with companion.tracer.start_as_current_span("first"):
            companion.tracer.start_span("stays").end()
            await asyncio.to_thread(beside)
            # The context may be given by hand, and the parent be of another process.
            remote = SpanContext(1, 2, True, TraceFlags(TraceFlags.SAMPLED))
            context = set_span_in_context(NonRecordingSpan(remote))
            companion.tracer.start_span("called", context).end()

    asyncio.run(main())
    told = {"thread.id", "timesink.event_loop"}
    for name, expected in (("first", told), ("moved", told), ("stays", set()), ("called", told)):
        for span in companion.named(name):
            assert set(span.attributes) - {"thread.name"} == expected, name
    assert len(companion.named("stays")) == 2
    assert companion.named("moved")[0].attributes["timesink.event_loop"] is False


@pytest.mark.parametrize("keeps_fields", [True, False])
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_requests_that_are_not_told_in_detail_say_what_differs(
    companion, monkeypatch, keeps_fields, new_loop
):
    monkeypatch.setattr(processor, "KEEPS_FIELDS", keeps_fields)
    seen = []

    def start(name, *context):
        return companion.tracer.start_span(name, *context, kind=SpanKind.CLIENT, start_time=10**9)

    def spans_of_watch():
        (watch,) = timesink_otel._companion.probes["event_loop"]._watches.values()
        return set(watch.spans)

    async def main():
        for _ in range(DETAIL_PER_SECOND_MAX + 2):
            with companion.tracer.start_as_current_span("request", start_time=10**9) as request:
                query = start("query")
                below = start("below", set_span_in_context(query))
                opened = {span.context.span_id for span in (request, query, below)}
                seen.append(spans_of_watch() == opened)
                query.end()
                # It is open longer than what is above it.
                start("late", set_span_in_context(below)).end()
                below.end()
                await asyncio.to_thread(lambda: start("in thread").end())
                seen.append(spans_of_watch() == {request.context.span_id})
            start("after", set_span_in_context(request)).end()
            seen.append(not spans_of_watch())

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()
    place, line = {"thread.id", "timesink.event_loop"}, {"code.line.number"}
    expected = {
        "request": set(),
        "query": set(),
        "below": set(),
        "late": set(),
        "in thread": place,
        "after": set(),
    }
    for name, told in expected.items():
        spans = companion.named(name)
        assert set(spans[-1].attributes) - {"thread.name"} == told, name
        assert name == "request" or line <= set(spans[0].attributes), name
    assert all(seen) and len(seen) == 3 * (DETAIL_PER_SECOND_MAX + 2)
    assert not timesink_otel._companion.processor._open


def test_what_is_called_in_the_same_thread_as_from_elsewhere_says_where_it_is(companion):
    """A service that calls itself, or an event bus in memory: the parent is said to be remote."""
    told = []

    def call():
        with companion.tracer.start_as_current_span("job", start_time=10**9) as job:
            own = job.get_span_context()
            remote = SpanContext(own.trace_id, own.span_id, True, own.trace_flags)
            context = set_span_in_context(NonRecordingSpan(remote))
            for _ in range(DETAIL_PER_SECOND_MAX + 1):
                kind = SpanKind.CONSUMER
                span = companion.tracer.start_span("take", context, kind=kind, start_time=10**9)
                told.append("thread.id" in span.attributes)
                span.end()

    async def main():
        companion.tracer.start_span("loop").end()
        for _ in range(DETAIL_PER_SECOND_MAX + 1):
            await asyncio.to_thread(call)

    asyncio.run(main())
    assert all(told) and len(told) == (DETAIL_PER_SECOND_MAX + 1) ** 2


def test_loops_that_were_closed_are_not_kept(companion):
    async def main():
        companion.tracer.start_span("never ends")

    inside = timesink_otel._companion
    for _ in range(3):
        asyncio.run(main())
    assert len(inside.processor._open) == 3
    inside.probes["event_loop"]._drop_closed()
    assert not inside.processor._open


def test_closed_loops_are_forgotten_while_other_threads_start_spans(companion):
    """*Scenario*: to walk over the open spans allocates, so the collector runs, and other threads.

    Since Python 3.12 it runs between steps of Python alone.
    """
    inside = timesink_otel._companion.processor
    spans = [companion.tracer.start_span("s") for _ in range(10)]

    def start_another(phase, info):
        inside._open[len(inside._open)] = next(iter(inside._open.values()))

    # Which empties the interpreter's lists of free tuples.
    gc.collect()
    threshold = gc.get_threshold()
    gc.callbacks.append(start_another)
    gc.set_threshold(1)
    try:
        inside.forget_closed_loops()
    finally:
        gc.callbacks.remove(start_another)
        gc.set_threshold(*threshold)
    for span in spans:
        span.end()


def test_span_may_end_once_its_loop_is_closed(companion):
    async def main():
        return companion.tracer.start_span("s")

    loop = uvloop.new_event_loop()
    span = loop.run_until_complete(main())
    loop.close()
    span.end()
    assert timesink_otel._companion.probes["event_loop"].on
    assert timesink_otel._companion.processor.on


def test_spans_that_never_end_are_bounded(companion, monkeypatch):
    assert processor.OPEN_MAX == 2048
    monkeypatch.setattr(processor, "OPEN_MAX", 10)
    inside = timesink_otel._companion.processor

    async def main():
        with companion.tracer.start_as_current_span("request"):
            for _ in range(100):
                companion.tracer.start_span("never ends")
                assert len(inside._open) <= 10
            companion.tracer.start_span("query").end()

    asyncio.run(main())
    assert len(companion.named("query")) == 1


def test_thread_without_a_loop_tells_its_name_and_that_once_a_second(companion):
    told = []
    for second in (1, 1, 2):
        span = companion.tracer.start_span("s", start_time=second * 10**9)
        told.append(set(span.attributes))
        span.end()
    always, once = {"thread.id"}, {"thread.name", "timesink.event_loop"}
    assert told == [always | once, always, always | once]


def test_forked_process_tells_its_thread_anew(companion):
    for _ in range(2):
        companion.tracer.start_span("s", start_time=10**9).end()
        timesink_otel._companion.forked()
    assert all("thread.name" in span.attributes for span in companion.named("s"))


def test_request_in_a_thread_beside_a_loop_says_each_time_that_it_has_none(companion):
    async def main():
        companion.tracer.start_span("on loop").end()
        for _ in range(DETAIL_PER_SECOND_MAX + 2):
            await asyncio.to_thread(lambda: companion.tracer.start_span("beside").end())

    asyncio.run(main())
    told = [span.attributes["timesink.event_loop"] for span in companion.named("beside")]
    assert told == (DETAIL_PER_SECOND_MAX + 2) * [False]


def test_request_on_the_only_loop_says_so_in_detail_alone(companion):
    async def main():
        for _ in range(DETAIL_PER_SECOND_MAX + 2):
            companion.tracer.start_span("s", start_time=10**9).end()

    asyncio.run(main())
    told = ["timesink.event_loop" in span.attributes for span in companion.named("s")]
    assert told == DETAIL_PER_SECOND_MAX * [True] + 2 * [False]


def test_request_on_one_of_several_loops_says_its_thread_each_time(companion):
    async def main(requests):
        for _ in range(requests):
            companion.tracer.start_span("s", start_time=10**9).end()

    loops = [asyncio.new_event_loop() for _ in range(2)]
    for loop in loops:
        loop.run_until_complete(main(1))
    loops[0].run_until_complete(main(DETAIL_PER_SECOND_MAX))
    assert all("thread.id" in span.attributes for span in companion.named("s"))
    for loop in loops:
        loop.close()


def test_forked_process_says_its_loop_below_its_parents_span(companion):
    async def main():
        for _ in range(DETAIL_PER_SECOND_MAX + 2):
            companion.tracer.start_span("s", start_time=10**9).end()

    with companion.tracer.start_as_current_span("request", start_time=10**9):
        timesink_otel._companion.forked()
        asyncio.run(main())
    told = [span.attributes.get("timesink.event_loop") for span in companion.named("s")]
    assert told == (DETAIL_PER_SECOND_MAX + 2) * [True]


def test_request_in_a_process_without_a_loop_says_its_thread_in_detail_alone(companion):
    for _ in range(DETAIL_PER_SECOND_MAX + 2):
        companion.tracer.start_span("s", start_time=10**9).end()
    told = ["thread.id" in span.attributes for span in companion.named("s")]
    assert told == DETAIL_PER_SECOND_MAX * [True] + 2 * [False]


def test_lines_are_told_by_all_spans_of_the_first_requests_of_each_name_in_a_second(companion):
    told = []
    for second in (1, 2, 1):
        for name, requests in (("a", DETAIL_PER_SECOND_MAX + 5), ("b", 1)):
            for _ in range(requests):
                at = second * 10**9
                with companion.tracer.start_as_current_span(name, start_time=at):
                    for _ in range(DETAIL_PER_SECOND_MAX + 1):
                        companion.tracer.start_span("q", kind=SpanKind.CLIENT).end()
                tells = {"code.line.number" in s.attributes for s in companion.named("q")}
                companion.exporter.clear()
                told.append(tells)
    of_second = [{True}] * DETAIL_PER_SECOND_MAX + [{False}] * 5 + [{True}]
    assert told == of_second * 3


def test_what_has_a_parent_of_another_process_is_a_request(companion):
    """Also a forked one's, which has the parent's span as its current one."""
    for _ in range(DETAIL_PER_SECOND_MAX):
        companion.tracer.start_span("request", start_time=10**9).end()
    with companion.tracer.start_as_current_span("request", start_time=10**9):
        timesink_otel._companion.forked()
        companion.tracer.start_span("q", kind=SpanKind.CLIENT, start_time=10**9).end()
    (span,) = companion.named("q")
    assert {"thread.id", "thread.name", "code.line.number"} <= set(span.attributes)


def test_process_forked_from_one_with_loops_says_each_time_that_it_runs_none(companion):
    async def main():
        companion.tracer.start_span("on loop").end()
        timesink_otel._companion.forked()

    asyncio.run(main())
    for _ in range(2):
        companion.tracer.start_span("s", start_time=10**9).end()
    told = [span.attributes.get("timesink.event_loop") for span in companion.named("s")]
    assert told == [False, False]


def test_spans_that_are_not_exported_use_up_nothing(recorded):
    class Rare(Sampler):
        def should_sample(self, parent_context, trace_id, name, *args, **kwargs):
            decision = Decision.RECORD_AND_SAMPLE if name == "kept" else Decision.RECORD_ONLY
            return SamplingResult(decision)

        def get_description(self):
            return "Rare"

    provider = TracerProvider(sampler=Rare())
    timesink_otel.install(provider)
    try:
        tracer = provider.get_tracer("test")
        for _ in range(DETAIL_PER_SECOND_MAX):
            tracer.start_span("lost", kind=SpanKind.CLIENT, start_time=10**9).end()
        parent = tracer.start_span("lost", start_time=10**9)
        context = set_span_in_context(parent)
        kept = tracer.start_span("kept", context, SpanKind.CLIENT, start_time=10**9)
    finally:
        timesink_otel.uninstall()
    assert {"thread.id", "thread.name", "code.line.number"} <= set(kept.attributes)


def test_first_span_of_a_second_says_all_whatever_its_parent_said(companion):
    with companion.tracer.start_as_current_span("long", start_time=10**9):
        for second in (1, 2, 2):
            companion.tracer.start_span("s", start_time=second * 10**9).end()
    told = ["thread.id" in span.attributes for span in companion.named("s")]
    assert told == [False, True, False]


def test_child_says_that_there_is_no_loop_here_once_there_is_one_elsewhere(companion):
    def loop_elsewhere():
        async def main():
            companion.tracer.start_span("on loop").end()

        asyncio.run(main())

    companion.tracer.start_span("first of the second", start_time=10**9).end()
    with companion.tracer.start_as_current_span("request", start_time=10**9) as request:
        thread = threading.Thread(target=loop_elsewhere)
        thread.start()
        thread.join()
        for _ in range(2):
            companion.tracer.start_span("q", start_time=10**9).end()
    assert "timesink.event_loop" not in request.attributes
    told = [span.attributes.get("timesink.event_loop") for span in companion.named("q")]
    assert told == [False, False]


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_client_span_of_the_users_task_names_its_line_on_either_loop(companion, new_loop):
    async def main():
        companion.tracer.start_span("q", kind=SpanKind.CLIENT).end()  # in task

    with contextlib.closing(new_loop()) as loop:
        loop.run_until_complete(main())
    (span,) = companion.named("q")
    assert span.attributes["code.line.number"] == line_of(__file__, "in task")


def on_and_beside_a_loop(recorded):
    """Returns the attributes of a span on a loop and of one in a thread."""

    async def main():
        recorded.tracer.start_span("s").end()
        await asyncio.to_thread(lambda: recorded.tracer.start_span("s").end())

    asyncio.run(main())
    return [span.attributes for span in recorded.named("s")]


@pytest.mark.parametrize("probes, watched", [("-event_loop", False), ("-thread", True)])
def test_loops_are_told_by_the_probe_that_watches_them(recorded, monkeypatch, probes, watched):
    monkeypatch.setenv("TIMESINK_PROBES", probes)
    timesink_otel.install(recorded.provider)
    try:
        told = on_and_beside_a_loop(recorded)
    finally:
        timesink_otel.uninstall()
    assert ["timesink.event_loop" in attributes for attributes in told] == [watched] * 2
    assert ["thread.id" in attributes for attributes in told] == [not watched] * 2


def test_loops_of_which_short_blocks_are_not_told_are_not_told(recorded, monkeypatch):
    monkeypatch.setenv("TIMESINK_BLOCKED_MILLIS_MIN", "21")
    timesink_otel.install(recorded.provider)
    try:
        told = on_and_beside_a_loop(recorded)
    finally:
        timesink_otel.uninstall()
    assert not any("timesink.event_loop" in attributes for attributes in told)


def test_loops_are_not_told_once_their_probe_has_failed(companion):
    timesink_otel._companion.probes["event_loop"].fail(RuntimeError("broken on purpose"))
    assert not any("timesink.event_loop" in found for found in on_and_beside_a_loop(companion))


def test_only_the_first_entry_of_a_process_is_marked(companion):
    for kind in (SpanKind.CLIENT, SpanKind.SERVER, SpanKind.CONSUMER):
        companion.tracer.start_span(kind.name, kind=kind).end()
    marked = [s.name for s in companion.spans if s.attributes.get("timesink.process.first_request")]
    assert marked == ["SERVER"]


class Repository:
    def load(self, tracer):
        tracer.start_span("query", kind=SpanKind.CLIENT).end()  # load


def test_client_span_names_method_and_from_python_3_11_on_its_class(companion):
    Repository().load(companion.tracer)
    function = ".Repository.load" if (3, 11) <= sys.version_info else ".load"
    assert companion.spans[0].attributes["code.function.name"] == __name__ + function


def test_client_span_names_file_and_line(companion):
    Repository().load(companion.tracer)
    attributes = companion.spans[0].attributes
    assert attributes["code.line.number"] == line_of(__file__, "load")
    assert __file__.endswith("/" + attributes["code.file.path"])
    assert not attributes["code.file.path"].startswith("/")


def test_internal_and_server_spans_have_no_code_location(companion):
    for kind in (SpanKind.INTERNAL, SpanKind.SERVER):
        companion.tracer.start_span("span", kind=kind).end()
    assert not any("code.line.number" in span.attributes for span in companion.spans)


def test_attributes_that_the_instrumentation_set_itself_stay_beside_ours(companion):
    companion.tracer.start_span("span", attributes={"db.query.text": "SELECT 1"}).end()
    assert companion.spans[0].attributes["db.query.text"] == "SELECT 1"


def test_installed_and_standard_code_is_not_the_users(tmp_path):
    user_code = UserCode()
    for path in (asyncio.__file__, pytest.__file__, timesink_otel.__file__, "<string>"):
        assert not user_code._is_user_file(path), path
    assert user_code._is_user_file(str(tmp_path / "app" / "views.py"))


RECORD = """requests/__init__.py,sha256=x,1
requests/api.py,sha256=x,1
six.py,sha256=x,1
google/auth/__init__.py,sha256=x,1
google/auth/jwt/key.py,sha256=x,1
../../bin/tool.py,sha256=x,1
requests-2.32.dist-info/RECORD,,
"""


@pytest.mark.parametrize("known_at_start", [True, False])
def test_what_was_installed_beside_the_users_code_is_not_the_users(
    tmp_path, monkeypatch, known_at_start
):
    """*Scenario*: `pip install --target` into the folder of a function in the cloud."""
    early = UserCode()
    (tmp_path / "requests-2.32.dist-info").mkdir()
    (tmp_path / "requests-2.32.dist-info" / "RECORD").write_text(RECORD)
    # Without what it lists.
    (tmp_path / "empty-1.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    user_code = UserCode() if known_at_start else early
    installed = ("requests/api.py", "requests/made/later.py", "six.py", "google/auth/jwt/key.py")
    for path in installed:
        assert not user_code._is_user_file(str(tmp_path / path)), path
    for path in ("handler.py", "google/shop/views.py", "shop/six.py", "requests2/api.py"):
        assert user_code._is_user_file(str(tmp_path / path)), path
    assert UserCode(("requests",))._is_user_file(str(tmp_path / "requests" / "api.py"))


def test_system_is_not_asked_for_each_file_whether_it_is_a_librarys(tmp_path, monkeypatch):
    """The watchdog would give up the interpreter in the middle of a look."""
    user_code = UserCode()

    def fail(*args):
        raise AssertionError("asked")

    for name in ("getcwd", "listdir", "stat"):
        monkeypatch.setattr(os, name, fail)
    assert user_code._is_user_file("/app/views.py")


def test_working_folder_may_be_gone(tmp_path, monkeypatch):
    """*Scenario*: a worker starts in the folder of a release that was removed meanwhile."""
    gone = tmp_path / "release"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.syspath_prepend("relative")
    monkeypatch.syspath_prepend(tmp_path / "app")
    user_code = UserCode()
    assert user_code._relative(str(tmp_path / "app" / "views.py")) == "views.py"
    assert user_code._is_user_file(str(tmp_path / "app" / "views.py"))


def test_sdk_is_a_library_wherever_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(opentelemetry, "__path__", [str(tmp_path / "opentelemetry")])
    user_code = UserCode()
    assert not user_code._is_user_file(str(tmp_path / "opentelemetry" / "sdk" / "trace.py"))
    assert user_code._is_user_file(str(tmp_path / "opentelemetry_own" / "views.py"))


def test_path_is_relative_to_the_working_folder_or_to_the_folder_of_imports(tmp_path, monkeypatch):
    user_code = UserCode()

    def relative(path):
        user_code.look_around()
        return user_code._relative(path)

    monkeypatch.chdir(tmp_path)
    assert relative(str(tmp_path / "app" / "views.py")) == "app/views.py"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(tmp_path / "app")
    assert relative(str(tmp_path / "app" / "views.py")) == "views.py"


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_client_span_of_a_librarys_own_task_has_no_code_location(companion, new_loop):
    """*Scenario*: asyncpg resets a connection in a task of its own; users ran the loop."""
    source = "async def work():\n tracer.start_span('q', kind=kind).end()\n"
    space = {"tracer": companion.tracer, "kind": SpanKind.CLIENT}
    exec(compile(source, "/x/site-packages/driver.py", "exec"), space)

    async def main():
        await asyncio.ensure_future(space["work"]())

    # This line is on the stack of all the loop's tasks.
    with contextlib.closing(new_loop()) as loop:
        loop.run_until_complete(main())
    (span,) = companion.named("q")
    assert "thread.id" in span.attributes
    assert "code.line.number" not in span.attributes


def test_installed_package_counts_when_named():
    path = "/usr/lib/python3/site-packages/shop/views.py"
    assert not UserCode()._is_user_file(path)
    assert UserCode(("shop",))._is_user_file(path)


def test_places_are_bounded_however_many_code_objects_there_are():
    user_code = UserCode()
    for number in range(CODES_MAX + 10):
        exec(
            compile("frame = sys._getframe()", "made-%d.py" % number, "exec"), found := {"sys": sys}
        )
        user_code.find(found["frame"])
    assert len(user_code._places) <= CODES_MAX


def test_greenlet_of_sqlalchemy_leads_to_the_caller(companion):
    async def main():
        await greenlet_spawn(query)  # spawn

    # The function that opens the span is a library's here: compiled under a library's path.
    source = "def query():\n tracer.start_span('q', kind=kind).end()\n"
    space = {"tracer": companion.tracer, "kind": SpanKind.CLIENT}
    exec(compile(source, "/x/site-packages/driver.py", "exec"), space)
    query = space["query"]
    asyncio.run(main())
    (span,) = companion.named("q")
    assert span.attributes["code.line.number"] == line_of(__file__, "spawn")
