"""Pauses of the garbage collector: told where they keep a request waiting, and without a lock."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import pytest

import timesink_otel
from timesink_otel.probes.gc import UNTOLD_MAX

PAUSE = "timesink.gc.pause"

# Processors, exporters and the SDK itself hold locks like this one while they allocate.
LOCKED = """
import faulthandler, gc, os, sys, threading
faulthandler.dump_traceback_later(20, exit=True)
sys.path.insert(0, %r)
os.environ["TIMESINK_GC_MILLIS_MIN"] = "0.001"
from conftest import Recorded
from opentelemetry.sdk.trace import SpanProcessor
import timesink_otel
kept = [[number] for number in range(300_000)]
recorded = Recorded()
lock, pending = threading.Lock(), []

class Locking(SpanProcessor):
    def on_start(self, span, parent_context=None):
        with lock:
            while pending:
                pending.pop()()

recorded.provider.add_span_processor(Locking())
timesink_otel.install(recorded.provider)
with recorded.tracer.start_as_current_span("request") as request:
    pending.append(gc.collect)
    recorded.tracer.start_span("inner").end()
    with getattr(recorded.provider, "_tracers_lock", lock):
        gc.collect()
own = recorded.named("timesink.gc.pause")
print([span.parent.span_id == request.context.span_id for span in own])
""" % os.path.dirname(__file__)

# One thread for all calls of processors: what a span in it waits for never comes.
CONCURRENT = """
import faulthandler, gc, os, sys
faulthandler.dump_traceback_later(20, exit=True)
sys.path.insert(0, %r)
os.environ["TIMESINK_GC_MILLIS_MIN"] = "0.001"
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, TracerProvider
import timesink_otel
kept = [[number] for number in range(300_000)]
processors = ConcurrentMultiSpanProcessor(1)
provider = TracerProvider(active_span_processor=processors, shutdown_on_exit=False)
timesink_otel.install(provider)
with provider.get_tracer("test").start_as_current_span("request"):
    gc.collect()
print("ended")
""" % os.path.dirname(__file__)


def output_of(script):
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not output.stderr, output.stderr
    return output.stdout.strip()


@pytest.fixture
def sensitive(recorded, monkeypatch):
    monkeypatch.setenv("TIMESINK_GC_MILLIS_MIN", "0.001")
    timesink_otel.install(recorded.provider)
    yield recorded
    timesink_otel.uninstall()


@pytest.fixture
def many_objects():
    """So many that a collection of them takes more than the millisecond from which on it counts."""
    kept = [[number] for number in range(300_000)]
    yield
    assert kept


def test_pause_while_the_sdk_holds_its_locks_waits_for_none_and_is_told():
    assert output_of(LOCKED) == "[True, True]"


def test_pause_is_not_told_where_processors_wait_for_a_thread():
    assert output_of(CONCURRENT) == "ended"


def test_pause_on_a_thread_without_a_span_is_told_while_a_request_runs(sensitive, many_objects):
    """*Scenario*: a WSGI service with a thread of its own for what it does in the background."""
    thread = threading.Thread(target=gc.collect, name="background")
    with sensitive.tracer.start_as_current_span("request"):
        thread.start()
        thread.join()
        assert not sensitive.named(PAUSE)
    pauses = sensitive.named(PAUSE)
    (pause,) = [p for p in pauses if p.attributes["thread.name"] == "background"]
    assert pause.parent is None
    (request,) = sensitive.named("request")
    assert request.start_time <= pause.start_time <= pause.end_time <= request.end_time


def pause(probe):
    """Has the probe see a pause of two milliseconds."""
    probe._seen("start", {})
    probe._started -= 2_000_000
    probe._seen("stop", {})


def test_forked_process_does_not_tell_its_parents_pauses(sensitive):
    with sensitive.tracer.start_as_current_span("request"):
        pause(timesink_otel._companion.probes["gc"])
        timesink_otel._companion.forked()
    assert not sensitive.named(PAUSE)


def test_pauses_that_wait_for_the_end_of_a_span_are_bounded(sensitive):
    probe = timesink_otel._companion.probes["gc"]
    with sensitive.tracer.start_as_current_span("request"):
        for _ in range(UNTOLD_MAX + 10):
            pause(probe)
        assert len(probe.untold) == UNTOLD_MAX == 64
    assert not probe.untold
