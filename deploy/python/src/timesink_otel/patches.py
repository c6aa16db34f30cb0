"""Replaces functions of other modules, remembers how to undo it, and times the calls.

Patches are version-tolerant by one rule: what is not there is left alone, silently.
"""

from __future__ import annotations

import functools
from time import monotonic_ns

_MISSING = object()


class Patches:
    """The replacements of one probe."""

    def __init__(self, imports, probe):
        self._imports = imports
        self._probe = probe
        self._undo = []
        self._wanted = []

    def when_imported(self, module, patch):
        """Calls `patch(module)` as soon as the module is there: now, or right after its import."""

        def guarded(loaded):
            if self._probe.on:
                try:
                    patch(loaded)
                except Exception as error:
                    self._probe.fail(error)

        self._wanted.append((module, guarded))
        self._imports.when_imported(module, guarded)

    def replace(self, owner, name, wrap):
        """Puts `wrap(original)` in the place of `owner.name`, if there is such a thing."""
        # Through `__dict__`, so that a static or class method is put back as it was.
        original = vars(owner).get(name, _MISSING)
        if original is _MISSING:
            return
        replacement = wrap(original)
        setattr(owner, name, replacement)
        self._undo.append((owner, name, original, replacement))

    def undo(self):
        for module, guarded in self._wanted:
            self._imports.forget(module, guarded)
        self._wanted.clear()
        while self._undo:
            owner, name, original, replacement = self._undo.pop()
            # Whoever wrapped ours in the meantime keeps theirs: ours is a plain pass-through then.
            if vars(owner).get(name) is replacement:
                setattr(owner, name, original)


def timed(probe, floor, name, describe):
    """Returns a wrapper that reports calls of `floor` nanoseconds or more as a span `name`.

    `describe(args, kwargs)` makes the attributes. Arguments, result and exceptions pass untouched.
    """

    def wrap(original):
        @functools.wraps(original)
        def call(*args, **kwargs):
            if not probe.on:
                return original(*args, **kwargs)
            start = monotonic_ns()
            try:
                return original(*args, **kwargs)
            finally:
                end = monotonic_ns()
                if floor <= end - start:
                    probe.report(name, start, end, describe, args, kwargs)

        return call

    return wrap


def timed_when(probe, floor, name, applies, describe):
    """Like `timed`, for calls of which `applies(args)`, asked before, says that they will wait."""

    def wrap(original):
        @functools.wraps(original)
        def call(*args, **kwargs):
            if not _holds(probe, applies, args):
                return original(*args, **kwargs)
            start = monotonic_ns()
            try:
                return original(*args, **kwargs)
            finally:
                end = monotonic_ns()
                if floor <= end - start:
                    probe.report(name, start, end, describe, args, kwargs)

        return call

    return wrap


def timed_async_when(probe, floor, name, applies, describe):
    """Like `timed_when`, for a coroutine function."""

    def wrap(original):
        @functools.wraps(original)
        async def call(*args, **kwargs):
            if not _holds(probe, applies, args):
                return await original(*args, **kwargs)
            start = monotonic_ns()
            try:
                return await original(*args, **kwargs)
            finally:
                end = monotonic_ns()
                if floor <= end - start:
                    probe.report(name, start, end, describe, args, kwargs)

        return call

    return wrap


def _holds(probe, applies, args):
    if not probe.on:
        return False
    try:
        return applies(args)
    except Exception as error:
        probe.fail(error)
        return False
