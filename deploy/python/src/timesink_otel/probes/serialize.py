"""What the serialization probes share: one span for the outermost serializer only.

FastAPI's response serialization calls pydantic's, DRF's lists call those of their items: inner
ones inside an outer one would count the same time twice.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from time import monotonic_ns

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
            start = monotonic_ns()
            try:
                return original(*args, **kwargs)
            finally:
                end = monotonic_ns()
                _inside.reset(token)
                if floor <= end - start:
                    probe.report(NAME, start, end, _describe, name)

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
            start = monotonic_ns()
            try:
                return await original(*args, **kwargs)
            finally:
                end = monotonic_ns()
                _inside.reset(token)
                if floor <= end - start:
                    probe.report(NAME, start, end, _describe, name)

        return call

    return wrap


def _describe(name):
    return {"timesink.serializer": name}
