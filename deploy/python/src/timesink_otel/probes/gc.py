"""`gc`: pauses of the garbage collector as spans; the watchdog asks here what was no block.

The collector runs at any allocation, also at one inside of the SDK or of an exporter, which hold
locks there that would wait for themselves. So what hears of a pause takes no lock: it notes it, and
the next span that ends, on whatever thread, tells it.
"""

from __future__ import annotations

import gc
import threading
from collections import deque
from contextvars import copy_context
from time import monotonic_ns

from timesink_otel.probe import Probe

NAME = "timesink.gc.pause"
# A block of interest is at most seconds ago, and only pauses of a millisecond or more are kept.
PAUSES_MAX = 64
PAUSE_NANOS_MIN = 1_000_000
# Pauses that wait until a span ends: every request has one that does.
UNTOLD_MAX = 64


class Gc(Probe):
    name = "gc"

    def __init__(self, companion):
        super().__init__(companion)
        # What `tell` is to call, with its arguments.
        self.untold = deque(maxlen=UNTOLD_MAX)
        # Not where a span that starts at the end of another one would wait for that.
        self.tells = True

    def install(self):
        self._started = 0
        self.pauses = deque(maxlen=PAUSES_MAX)
        gc.callbacks.append(self._seen)

    def stop(self):
        super().stop()
        if self._seen in gc.callbacks:
            gc.callbacks.remove(self._seen)
        self.untold.clear()

    def forked(self):
        """What the parent is to tell it tells itself."""
        self.untold.clear()

    def nanos_within(self, start, end):
        """Returns how much of `[start, end)` the collector took, as far as the last pauses tell."""
        # A list: a tuple is made while one walks, which may run the collector, and so add a pause.
        overlaps = (min(end, e) - max(start, s) for s, e in list(self.pauses))
        return sum(overlap for overlap in overlaps if 0 < overlap)

    def _seen(self, phase, info):
        # No two collections run at once: one start time is enough.
        if phase == "start":
            self._started = monotonic_ns()
            return
        end = monotonic_ns()
        start, self._started = self._started, 0
        if not start or end - start < PAUSE_NANOS_MIN or not self.on:
            return
        self.pauses.append((start, end))
        try:
            if self.settings.gc_nanos_min <= end - start and self._has_victims():
                # Old SDKs take a lock to say which span is current: its own context knows later.
                here = _thread_here(), copy_context()
                self.untold.append((self._emit, start, end, dict(info), *here))
        except Exception as error:
            # To log it takes locks, too.
            self.untold.append((self.fail, error))

    def _has_victims(self):
        """A pause while the service starts or rests keeps nobody waiting.

        It stops all threads, so the request need not be this one's.
        """
        if not self.tells:
            return False
        if self.companion.processor.has_open_spans():
            return True
        # Also of spans that nobody gets to read.
        return self.companion.probes["event_loop"].has_open_spans()

    def tell(self):
        """Emits what was noted; called where a span has ended, so outside of the collector."""
        untold = []
        # All of it first: each span that this emits ends, and comes here again.
        while self.untold:
            try:
                untold.append(self.untold.popleft())
            except IndexError:
                # Another thread took the last one.
                break
        for do, *arguments in untold:
            do(*arguments)

    def _emit(self, start, end, info, attributes, context):
        """Without a code location: the line that happened to allocate is not to blame."""
        try:
            attributes["timesink.gc.generation"] = info.get("generation", -1)
            attributes["timesink.gc.collected"] = info.get("collected", 0)
            context.run(self.emitter.emit, NAME, start, end, attributes)
        except Exception as error:
            self.fail(error)


def _thread_here():
    """Like `thread_attributes`, which may make an object for the thread, and takes a lock then."""
    ident = threading.get_ident()
    thread = getattr(threading, "_active", {}).get(ident)
    attributes = {"thread.id": ident}
    if thread is not None:
        attributes["thread.name"] = thread.name
    return attributes
