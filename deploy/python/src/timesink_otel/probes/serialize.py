"""What the serialization probes share: one span for the outermost serializer only.

FastAPI's response serialization calls pydantic's, DRF's lists call those of their items: inner
ones inside an outer one would count the same time twice.

What is short is most of it, and not the service's alone: the SDK encodes the resource as JSON for
each span that its exporter sends, while requests wait for the interpreter.
"""

from __future__ import annotations

import functools
import sys
from asyncio import _get_running_loop
from time import monotonic_ns

from opentelemetry import trace

NAME = "timesink.serialize"

# The code of the wrappers below.
_wrappers = set()


def serializer(probe, name):
    """Returns a wrapper for a function that serializes."""
    floor = probe.settings.serialize_nanos_min

    def wrap(original):
        @functools.wraps(original)
        def call(*args, **kwargs):
            if _get_running_loop() is not None:
                _mark(probe)
            start = monotonic_ns()
            try:
                return original(*args, **kwargs)
            finally:
                if floor <= monotonic_ns() - start:
                    _report(probe, start, name, blocks_loop=True)

        _wrappers.add(call.__code__)
        return call

    return wrap


def async_serializer(probe, name):
    """Like `serializer`, for a coroutine function."""
    floor = probe.settings.serialize_nanos_min

    def wrap(original):
        @functools.wraps(original)
        async def call(*args, **kwargs):
            _mark(probe)
            start = monotonic_ns()
            try:
                return await original(*args, **kwargs)
            finally:
                if floor <= monotonic_ns() - start:
                    _report(probe, start, name)

        _wrappers.add(call.__code__)
        return call

    return wrap


def _is_inside_another():
    """Tells whether the serializer that calls this was called by another one."""
    # This one, `_report`, and the wrapper.
    frame = sys._getframe(2).f_back
    while frame is not None:
        if frame.f_code in _wrappers:
            return True
        frame = frame.f_back
    return False


def _mark(probe):
    """Lets the loop that runs here know that it may be busy for long."""
    if not probe.on:
        return
    try:
        probe.companion.probes["event_loop"].mark()
    except Exception as error:
        probe.fail(error)


def _report(probe, start, name, blocks_loop=False):
    """Emits the span, unless it would be a root: an exporter serializes too, on its own thread.

    A coroutine may have waited, while the loop did something else.
    """
    end = monotonic_ns()
    try:
        current = trace.get_current_span()
        if probe.on and current.is_recording() and not _is_inside_another():
            attributes = probe.user_code.attributes_of_caller()
            attributes["timesink.callee"] = name
            probe.emitter.emit(NAME, start, end, dict(attributes))
            if blocks_loop:
                event_loop = probe.companion.probes["event_loop"]
                event_loop.serialized(start, end, attributes, current.get_span_context())
    except Exception as error:
        probe.fail(error)
