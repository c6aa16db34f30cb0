"""What the serialization probes share: one span for the outermost serializer only.

FastAPI's response serialization calls pydantic's, DRF's lists call those of their items: inner
ones inside an outer one would count the same time twice.

What is short is most of it, and not the service's alone: the SDK encodes the resource as JSON for
each span that its exporter sends, while requests wait for the interpreter.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import types
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
        if isinstance(original, types.BuiltinFunctionType):
            return _unbound(probe, floor, name, original)

        @functools.wraps(original)
        def call(*args, **kwargs):
            if _get_running_loop() is not None:
                _mark(probe)
            start = monotonic_ns()
            try:
                return original(*args, **kwargs)
            finally:
                if floor <= monotonic_ns() - start:
                    _report(probe, start, name)

        _wrappers.add(call.__code__)
        return call

    return wrap


def _unbound(probe, floor, name, original):
    """Returns a wrapper that is no method, as a builtin is none where it is a class's attribute.

    It is one already, of an object that nobody knows, so it takes no other.
    """

    # `call` of `serializer` once more: to call that from here would cost each call a frame.
    @functools.wraps(original)
    def call(_, /, *args, **kwargs):
        if _get_running_loop() is not None:
            _mark(probe)
        start = monotonic_ns()
        try:
            return original(*args, **kwargs)
        finally:
            if floor <= monotonic_ns() - start:
                _report(probe, start, name)

    _wrappers.add(call.__code__)
    _keep_signature(call, original)
    return types.MethodType(call, _Module(original.__module__))


class _Module:
    """Stands for a module, as whose attribute a method is copied and pickled."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        return getattr(importlib.import_module(self._name), name)

    def __reduce__(self):
        return importlib.import_module, (self._name,)


def _keep_signature(call, original):
    """Whoever asks for the signature of a method leaves its first parameter out."""
    try:
        signature = inspect.signature(original)
    except ValueError:
        # Not all builtins have one.
        return
    first = inspect.Parameter("_", inspect.Parameter.POSITIONAL_ONLY)
    call.__signature__ = signature.replace(parameters=[first, *signature.parameters.values()])


def async_serializer(probe, name):
    """Like `serializer`, for a coroutine function; what it waits for is not counted."""
    floor = probe.settings.serialize_nanos_min

    def wrap(original):
        @functools.wraps(original)
        async def call(*args, **kwargs):
            if not probe.on:
                return await original(*args, **kwargs)
            return await _timed_steps(original(*args, **kwargs), probe, floor, name)

        return call

    return wrap


@types.coroutine
def _timed_steps(coroutine, probe, floor, name):
    """Runs a coroutine as `await` does, and tells its last step: all of it, if it did not wait.

    A step before a wait hands work to whom it waits for.
    """
    resume, value = coroutine.send, None
    start = monotonic_ns()
    try:
        while True:
            _mark(probe)
            start = monotonic_ns()
            awaited = resume(value)
            try:
                resume, value = coroutine.send, (yield awaited)
            except BaseException as error:
                # Also when the coroutine is closed.
                resume, value = coroutine.throw, error
    except StopIteration as returned:
        return returned.value
    finally:
        # An exception that holds this frame would hold itself.
        value = None
        if floor <= monotonic_ns() - start:
            _report(probe, start, name)


_wrappers.add(_timed_steps.__code__)


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


def _report(probe, start, name):
    """Emits the span, unless it would be a root: an exporter serializes too, on its own thread."""
    end = monotonic_ns()
    try:
        current = trace.get_current_span()
        if probe.on and current.is_recording() and not _is_inside_another():
            attributes = probe.user_code.attributes_of_caller()
            attributes["timesink.callee"] = name
            probe.emitter.emit(NAME, start, end, dict(attributes))
            event_loop = probe.companion.probes["event_loop"]
            event_loop.serialized(start, end, attributes, current.get_span_context())
    except Exception as error:
        probe.fail(error)
