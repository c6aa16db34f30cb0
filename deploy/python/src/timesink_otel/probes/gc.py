"""`gc`: pauses of the garbage collector as spans; the watchdog asks here what was no block."""

from __future__ import annotations

import gc
from collections import deque
from time import monotonic_ns

from opentelemetry import trace

from timesink_otel.emitter import thread_attributes
from timesink_otel.probe import Probe

NAME = "timesink.gc.pause"
# A block of interest is at most seconds ago, and only pauses of a millisecond or more are kept.
PAUSES_MAX = 64
PAUSE_NANOS_MIN = 1_000_000


class Gc(Probe):
    name = "gc"

    def install(self):
        self._started = 0
        self.pauses = deque(maxlen=PAUSES_MAX)
        gc.callbacks.append(self._seen)

    def stop(self):
        super().stop()
        if self._seen in gc.callbacks:
            gc.callbacks.remove(self._seen)

    def nanos_within(self, start, end):
        """Returns how much of `[start, end)` the collector took, as far as the last pauses tell."""
        overlaps = (min(end, e) - max(start, s) for s, e in tuple(self.pauses))
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
                self._emit(start, end, info)
        except Exception as error:
            self.fail(error)

    def _has_victims(self):
        """A pause while the service starts or rests keeps nobody waiting."""
        if trace.get_current_span().is_recording():
            return True
        return self.companion.probes["event_loop"].has_open_spans()

    def _emit(self, start, end, info):
        """Without a code location: the line that happened to allocate is not to blame."""
        attributes = thread_attributes()
        attributes["timesink.gc.generation"] = info.get("generation", -1)
        attributes["timesink.gc.collected"] = info.get("collected", 0)
        self.emitter.emit(NAME, start, end, attributes)
