"""What the serialization probes share: one span for the outermost serializer only.

FastAPI's response serialization calls pydantic's, DRF's lists call those of their items: inner
ones inside an outer one would count the same time twice.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from time import monotonic_ns

from opentelemetry import trace

NAME = "timesink.serialize"

_inside = ContextVar("timesink_serializing", default=False)


def serializer(probe, name):
    """Returns a wrapper for a function that serializes."""
    floor = probe.settings.serialize_nanos_min

    def wrap(original):
        @functools.wraps(original)
        def call(*args, **kwargs):
            if not probe.on or _inside.get():
                return original(*args, **kwargs)
            token = _inside.set(True)
            start = _start(probe)
            try:
                return original(*args, **kwargs)
            finally:
                end = monotonic_ns()
                _inside.reset(token)
                if floor <= end - start:
                    _report(probe, start, end, name, blocks_loop=True)

        return call

    return wrap


def async_serializer(probe, name):
    """Like `serializer`, for a coroutine function."""
    floor = probe.settings.serialize_nanos_min

    def wrap(original):
        @functools.wraps(original)
        async def call(*args, **kwargs):
            if not probe.on or _inside.get():
                return await original(*args, **kwargs)
            token = _inside.set(True)
            start = _start(probe)
            try:
                return await original(*args, **kwargs)
            finally:
                end = monotonic_ns()
                _inside.reset(token)
                if floor <= end - start:
                    _report(probe, start, end, name)

        return call

    return wrap


def _start(probe):
    """Returns the time, and lets the loop that runs here know that it may be busy for long."""
    try:
        probe.companion.probes["event_loop"].mark()
    except Exception as error:
        probe.fail(error)
    return monotonic_ns()


def _report(probe, start, end, name, blocks_loop=False):
    """Emits the span, unless it would be a root: an exporter serializes too, on its own thread.

    A coroutine may have waited, while the loop did something else.
    """
    try:
        current = trace.get_current_span()
        if current.is_recording():
            attributes = probe.user_code.attributes_of_caller()
            attributes["timesink.callee"] = name
            probe.emitter.emit(NAME, start, end, dict(attributes))
            if blocks_loop:
                event_loop = probe.companion.probes["event_loop"]
                event_loop.serialized(start, end, attributes, current.get_span_context())
    except Exception as error:
        probe.fail(error)
