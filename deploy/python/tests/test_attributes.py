"""What every span gets when it starts."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
import timesink_otel
from opentelemetry.trace import SpanKind
from support import line_of
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
    on_loop = {span.name: span.attributes["timesink.event_loop"] for span in companion.spans}
    assert on_loop == {"loop": True, "pool": False}


def test_only_the_first_entry_of_a_process_is_marked(companion):
    for kind in (SpanKind.CLIENT, SpanKind.SERVER, SpanKind.CONSUMER):
        companion.tracer.start_span(kind.name, kind=kind).end()
    marked = [s.name for s in companion.spans if s.attributes.get("timesink.process.first_request")]
    assert marked == ["SERVER"]


class Repository:
    def load(self, tracer):
        tracer.start_span("query", kind=SpanKind.CLIENT).end()  # load


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no qualified names before")
def test_client_span_names_method_with_its_class(companion):
    Repository().load(companion.tracer)
    attributes = companion.spans[0].attributes
    assert attributes["code.function.name"] == __name__ + ".Repository.load"


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


def test_installed_package_counts_when_named():
    path = "/usr/lib/python3/site-packages/shop/views.py"
    assert not UserCode()._is_user_file(path)
    assert UserCode(("shop",))._is_user_file(path)


def test_places_are_bounded_however_many_code_objects_there_are():
    user_code = UserCode()
    for number in range(CODES_MAX + 10):
        exec(compile("frame = sys._getframe()", "made-%d.py" % number, "exec"), found := {"sys": sys})
        user_code.find(found["frame"])
    assert len(user_code._places) <= CODES_MAX


def test_greenlet_of_sqlalchemy_leads_to_the_caller(companion):
    concurrency = pytest.importorskip("sqlalchemy.util.concurrency")

    async def main():
        await concurrency.greenlet_spawn(query)  # spawn

    # The function that opens the span is a library's here: compiled under a library's path.
    source = "def query():\n tracer.start_span('q', kind=kind).end()\n"
    space = {"tracer": companion.tracer, "kind": SpanKind.CLIENT}
    exec(compile(source, "/x/site-packages/driver.py", "exec"), space)
    query = space["query"]
    asyncio.run(main())
    assert companion.spans[0].attributes["code.line.number"] == line_of(__file__, "spawn")
