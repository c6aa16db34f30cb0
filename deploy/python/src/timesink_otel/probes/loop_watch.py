"""Says since when an event loop is busy. Two ways, by what the loop lets us see.

`_SelectorWatch`: asyncio's own loops wait in `loop._selector.select`. Busy is the time between its
return and its next call: exact at both ends, for two clock readings a turn of the loop.

`_BeatWatch`: uvloop and others wait in C. A callback is given to the loop, by the watchdog every few
milliseconds while spans are open, and by the loop's own thread when a span starts or ends there.
Busy is the time from then until the loop runs it. The start is exact for a block in the same
callback as a span's start or end; otherwise it may lie up to one look of the watchdog earlier. It
is never told too early.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import weakref
from time import monotonic_ns

# More spans than this open on one loop: the oldest are no longer looked up for a block's parent.
SPANS_MAX = 1000


def watch_of(loop, ended):
    """Returns a new watch for the loop that runs in this thread; blocks go to `ended` at their end."""
    if hasattr(getattr(loop, "_selector", None), "select"):
        try:
            return _SelectorWatch(loop, ended)
        except AttributeError:
            # A selector without a dictionary of its own; it gets the other kind.
            pass
    return _BeatWatch(loop, ended)


class _Watch:
    """Written by the loop's thread: `busy_since`; by the watchdog's: the rest."""

    def __init__(self, loop, ended):
        thread = threading.current_thread()
        self.loop = loop
        self.thread_id = thread.ident
        self.thread_name = thread.name
        self.busy_since = 0
        # The code of the frame that runs the loop's callbacks.
        self.loop_code = None
        # Set by the watchdog once it has a sample; taken by the loop's thread when it is free.
        self.block = None
        self.spans = {}
        self._ended = ended
        self._clock = _cpu_clock(self.thread_id)
        self._mine = self._everyones = 0
        self.cpu_since_last_look()

    def open(self, span):
        if SPANS_MAX <= len(self.spans):
            self.spans.pop(next(iter(self.spans)), None)
        task = asyncio.current_task()
        self.spans[span.context.span_id] = (span.context, task and weakref.ref(task))
        self.mark()

    def close(self, span_id):
        """Forgets a span; returns whether it was one of this loop's."""
        if self.spans.pop(span_id, None) is None:
            return False
        if threading.get_ident() == self.thread_id:
            self.mark()
        return True

    def mark(self):
        """Runs on the loop's thread: the loop is busy now."""

    def cpu_since_last_look(self):
        """Returns the processor time of the loop's thread and of all others, nanoseconds."""
        if self._clock is None:
            return 0, 0
        try:
            mine, everyones = time.clock_gettime_ns(self._clock), time.process_time_ns()
        except OSError:
            # The thread is gone, and its clock with it.
            self._clock = None
            return 0, 0
        used, others = mine - self._mine, everyones - self._everyones - (mine - self._mine)
        self._mine, self._everyones = mine, everyones
        return used, max(others, 0)

    def look(self, now):
        """Returns since when the loop is busy, in `time.monotonic_ns`, 0 when it is not."""
        return self.busy_since

    def is_idle(self, frame):
        """Tells whether this innermost frame is the loop waiting, as far as frames can tell."""
        return False

    def release(self):
        """Leaves the loop as it was found."""

    def _free(self, end):
        block, self.block = self.block, None
        block.end = end
        self._ended.append(block)


class _SelectorWatch(_Watch):
    def __init__(self, loop, ended):
        super().__init__(loop, ended)
        self.busy_since = monotonic_ns()
        self.loop_code = getattr(asyncio.BaseEventLoop._run_once, "__code__", None)
        self._selector = loop._selector
        self._selector.select = self._timed(self._selector.select)

    def _timed(self, select):
        # Called once a turn of the loop: it does as little as it can.
        def timed_select(timeout=None):
            if self.block is not None:
                self._free(monotonic_ns())
            self.busy_since = 0
            try:
                return select(timeout)
            finally:
                self.busy_since = monotonic_ns()

        return timed_select

    def release(self):
        self._selector.__dict__.pop("select", None)


class _BeatWatch(_Watch):
    def mark(self):
        if not self.busy_since:
            self.busy_since = monotonic_ns()
            self.loop.call_soon(self._answer)

    def look(self, now):
        if self.busy_since or not self.spans or self.loop.is_closed():
            return self.busy_since
        self.busy_since = now
        try:
            self.loop.call_soon_threadsafe(self._answer)
        except RuntimeError:
            # Closed between the question and the beat.
            self.busy_since = 0
        return 0

    def _answer(self):
        """Runs on the loop. The frame below is Python's last one before the loop's own C code."""
        self.loop_code = sys._getframe(1).f_code
        if self.block is not None:
            self._free(monotonic_ns())
        self.busy_since = 0

    def is_idle(self, frame):
        return frame.f_code is self.loop_code


def _cpu_clock(thread_id):
    """Windows and macOS have no clock of another thread's processor time: None there.

    Without it C code that keeps the interpreter in the loop's thread cannot be told from such code
    elsewhere, and is not reported.
    """
    get_clock = getattr(time, "pthread_getcpuclockid", None)
    return get_clock(thread_id) if get_clock else None
