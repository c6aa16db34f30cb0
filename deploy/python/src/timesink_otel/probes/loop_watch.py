"""Says since when an event loop is busy. Two ways, by what the loop lets us see.

`_SelectorWatch`: asyncio's own loops wait in `loop._selector.select`. Busy is the time between its
return and its next call: exact at both ends, for two clock readings a turn of the loop.

`_BeatWatch`: uvloop and others wait in C. A callback is given to the loop, by the watchdog when a
glance does not find it free while spans are open, and by its own thread when a span starts or ends
there. Busy is the time from then until the loop runs it. The start is exact for a block in the same
callback as a span's start or end; otherwise it may lie up to one look of the watchdog earlier. It
is never told too early. C code that keeps the interpreter lets the watchdog give its callback only
when it is over: it tells by the clocks for how long the loop's thread has kept it.

A loop that was stopped and runs again, in `run_until_complete` after `run_until_complete`, was not
busy in between. Nothing says when it stops; but each run has marks of its own, so the next one is
found out when it would end a block, or when a span starts in it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import namedtuple
from time import monotonic_ns, thread_time_ns

from timesink_otel.probes.block import Times
from timesink_otel.probes.thread_times import ThreadTimes

# More spans than this open on one loop: the oldest are forgotten, as if they had ended.
SPANS_MAX = 1000

_MISSING = object()

# A `timesink.serialize` on the loop's thread: it knows its line for certain.
Serialization = namedtuple("Serialization", "start end attributes parent")


def watch_of(loop, probe):
    """Returns a new watch for the loop that runs here; `probe` makes its blocks and takes them."""
    if hasattr(getattr(loop, "_selector", None), "select"):
        try:
            return _SelectorWatch(loop, probe)
        except AttributeError:
            # A selector without a dictionary of its own; it gets the other kind.
            pass
    return _BeatWatch(loop, probe)


def run_here():
    """Returns what stands for this run of the loop that runs here, and for no other run of it.

    asyncio's and uvloop's loops hand the interpreter methods bound anew each time they start to
    run. It is held, so that none comes again.
    """
    return sys.get_asyncgen_hooks().firstiter


class _Watch:
    """`busy_since`, `busy_cpu` and the end of a block are told by the loop's thread."""

    def __init__(self, loop, probe):
        thread = threading.current_thread()
        self.loop = loop
        self.thread_id = thread.ident
        self.thread_name = thread.name
        # The run of the loop that was noticed last, on its thread.
        self.run = run_here()
        self.busy_since = 0
        # The processor time of the loop's thread at that moment; 0 when it is not known.
        self.busy_cpu = 0
        # The code of the frame that runs the loop's callbacks.
        self.loop_code = None
        # Set by the watchdog once it is suspicious; taken by the loop's thread when it is free.
        self.block = None
        # The last one.
        self.serialization = None
        # The ids of the open ones, in the order of their starts.
        self.spans = {}
        self._probe = probe
        self._floor = probe.settings.blocked_nanos_min
        self._clocks = ThreadTimes()
        # At the watchdog's last look.
        self.times = Times(0, 0, 0)
        self.times = self.times_now()

    def open(self, span_id):
        if SPANS_MAX <= len(self.spans):
            try:
                self.spans.pop(next(iter(self.spans)), None)
            except (RuntimeError, StopIteration):
                # Another thread ended one meanwhile.
                pass
        self.spans[span_id] = True
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

    def is_in_another_run(self):
        """Tells, on the loop's thread, whether that is in another run than it was known to be in.

        Some loops run without hooks (nest_asyncio's): of these the thread alone tells.
        """
        return self.run is not run_here() or self.thread_id != threading.get_ident()

    def starts_run(self):
        """Runs on the loop's thread when that is in another run than it was known to be in."""
        self.run = run_here()
        self.block = None

    def times_now(self):
        """Reads the clocks, except that of the run delay, which `with_delay` adds."""
        mine = self._clocks.processor_time()
        everyones = time.process_time_ns() if mine else 0
        return Times(mine, everyones, self.times.delay)

    def with_delay(self, times):
        return times._replace(delay=self._clocks.run_delay())

    def look(self, now, mine, kept):
        """Returns since when the loop is busy, in `time.monotonic_ns`, 0 when it is not.

        `mine` is its thread's processor time, `kept` for how long that has kept the interpreter.
        """
        return self.busy_since

    def times_at_start(self):
        """Returns the clocks when the loop became busy: those of the last look, or later ones."""
        return self.times._replace(mine=max(self.times.mine, self.busy_cpu))

    def is_quiet(self, elapsed):
        """Tells whether the loop is free, having computed for less than half of `elapsed`.

        If so, the clocks of the last look are those of this one.
        """
        if self.busy_since or not self._is_free():
            return False
        times = self.times_now()
        # C code that a loop calls has no frame: while a loop computes, its frame does not tell.
        if elapsed <= 2 * (times.mine - self.times.mine):
            return False
        self.times = times
        return True

    def _is_free(self):
        return True

    def is_idle(self, frame):
        """Tells whether this innermost frame is the loop waiting, as far as frames can tell."""
        return False

    def release(self):
        """Leaves the loop as it was found, and does nothing where it cannot be left."""
        self._clocks.close()
        self.spans = {}
        self.block = None
        self.busy_cpu = 0

    def _turned(self):
        """Runs on the loop's thread when it is free again: a long turn is judged by the watchdog.

        That has not seen every block. This thread knows how much of it was its processor time.
        """
        try:
            since, block, end = self.busy_since, self.block, monotonic_ns()
            self.block = None
            if self.is_in_another_run():
                # It was stopped meanwhile, so nobody knows until when it was busy. A watch that
                # takes over does not see the loop begin to wait now.
                self._probe.runs_again(self).busy_since = 0
                return
            if not since or end - since < self._floor:
                return
            if block is None or block.since != since:
                block = self._probe.new_block(self, since)
            self._finish(block, end)
        except Exception as error:
            self._probe.fail(error)

    def _finish(self, block, end):
        cpu = thread_time_ns() if self._clocks.processor_time() else 0
        block.processor = cpu - self.busy_cpu if cpu and self.busy_cpu else 0
        block.end_times = Times(cpu, 0, self._clocks.run_delay())
        told = self.serialization
        if told is not None:
            within = min(told.end, end) - max(told.start, block.since)
            if end - block.since <= 2 * within:
                block.serialization = told
        block.end = end
        self._probe.ended.append(block)


class _SelectorWatch(_Watch):
    def __init__(self, loop, probe):
        super().__init__(loop, probe)
        self.busy_since = monotonic_ns()
        self.loop_code = getattr(asyncio.BaseEventLoop._run_once, "__code__", None)
        self._selector = loop._selector
        # Somebody's that was here before us, or the class's.
        self._before = self._selector.__dict__.get("select", _MISSING)
        self._ours = self._timed(self._selector.select)
        self._selector.select = self._ours

    def _timed(self, select):
        # Called once a turn of the loop: it does as little as it can.
        def timed_select(timeout=None):
            if self.block is not None or (
                self.busy_cpu and self._floor <= monotonic_ns() - self.busy_since
            ):
                self._turned()
            self.busy_since = 0
            try:
                return select(timeout)
            finally:
                # A system call, so only for those who watch.
                self.busy_cpu = thread_time_ns() if self.spans else 0
                self.busy_since = monotonic_ns()

        return timed_select

    def mark(self):
        if not self.busy_cpu:
            self.busy_cpu = thread_time_ns()

    def release(self):
        super().release()
        own = self._selector.__dict__
        # Whoever wrapped ours in the meantime keeps theirs: ours hands on what it gets then.
        if own.get("select") is not self._ours:
            return
        if self._before is _MISSING:
            del own["select"]
        else:
            own["select"] = self._before


class _BeatWatch(_Watch):
    def mark(self):
        if not self.busy_since:
            self.busy_cpu = thread_time_ns()
            self.busy_since = monotonic_ns()
            try:
                self.loop.call_soon(self._answer)
            except RuntimeError:
                # Closed, and a span of it ends now.
                self.busy_since = 0

    def starts_run(self):
        super().starts_run()
        # The answer to a beat of another run is still to come: the next beat is of this one.
        self.busy_cpu = self.busy_since = 0

    def look(self, now, mine, kept):
        if self.busy_since or not self.spans or not self.loop.is_running():
            return self.busy_since
        # In one call, so in one callback.
        self.busy_cpu = mine - kept
        self.busy_since = now - kept
        try:
            self.loop.call_soon_threadsafe(self._answer)
        except RuntimeError:
            # Closed between the question and the beat.
            self.busy_since = 0
        return self.busy_since

    def _answer(self):
        """Runs on the loop. The frame below is Python's last one before the loop's own C code."""
        self.loop_code = sys._getframe(1).f_code
        if self.block is not None or self._floor <= monotonic_ns() - self.busy_since:
            self._turned()
        self.busy_cpu = self.busy_since = 0

    def _is_free(self):
        if not self.spans:
            return True
        frame = sys._current_frames().get(self.thread_id)
        return frame is not None and frame.f_code is self.loop_code

    def is_idle(self, frame):
        return frame.f_code is self.loop_code
