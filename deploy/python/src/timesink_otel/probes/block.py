"""One block of an event loop: its samples while it lasts, the verdict and the span's content after."""

from __future__ import annotations

import asyncio
import threading

from opentelemetry import trace

from timesink_otel.user_code import function_name

# The pause between samples grows by half each time, from 4 ms to a quarter of a second: a short
# block gets several samples, one of a minute gets at most these and is looked at no more.
PAUSE_NANOS_MIN = 4_000_000
PAUSE_NANOS_MAX = 250_000_000
SAMPLES_MAX = 64
# The API's context holds the current span in one context variable of this name.
_CONTEXT_VARIABLE = "current_context"


class Block:
    """Times in `time.monotonic_ns`. Made and filled by the watchdog; `end` comes from the loop."""

    def __init__(self, since, watch, gc):
        self.since = since
        self.end = 0
        self.pause = PAUSE_NANOS_MIN
        self.samples = 0
        # Time for which other threads, or nobody, had the interpreter.
        self.foreign = 0
        self._watch = watch
        self._gc = gc
        self._seen = since
        self._next = 0
        # Since the last sample: time already called foreign, and processor time.
        self._starved = self._used = self._others = 0
        self._position = None
        self._first_loss = 0
        self._idle = 0
        # (code attributes as items, callee) -> nanoseconds for which samples saw it, and the span
        # that was current when the first did.
        self._places = {}
        self._parents = {}

    def passed(self, starved, used, others):
        """Accounts for the time since the last look.

        `starved` is how much too late the watchdog came: whoever keeps it from running keeps the
        loop from it too, unless it is the loop, whose own processor time `used` tells then.
        """
        lost = max(starved - used, 0)
        self.foreign += lost
        self._starved += lost
        self._used += used
        self._others += others

    def wants_sample(self, now):
        return self.samples < SAMPLES_MAX and self._next <= now

    def sample(self, frame, user_code, now):
        """Looks where the loop's thread is; each place counts for the time since the last look."""
        self.samples += 1
        self._next = now + self.pause
        self.pause = min(self.pause * 3 // 2, PAUSE_NANOS_MAX)
        weight, self._seen = now - self._seen, now
        self._note_contention(frame, weight)
        if self._watch.is_idle(frame):
            self._idle += weight
            return
        # Not beyond the loop's own frames: who started the loop is not who blocks it.
        attributes, below = user_code.find(frame, self._watch.loop_code)
        place = (tuple((attributes or {}).items()), below and function_name(below))
        if place not in self._places:
            self._parents[place] = _current_span(self._watch)
        self._places[place] = self._places.get(place, 0) + weight

    def _note_contention(self, frame, weight):
        """Finds a loop that gets on, but slowly, since other threads use the interpreter.

        It was somewhere else at the last sample and computed for less than half the time, while
        others did for more: each time it gave up the interpreter it queued for it. A loop that
        stands at one place waits there, unless it is starting a thread: that waits until the new
        thread has had the interpreter, and then for the interpreter.
        """
        position = (id(frame), frame.f_lasti)
        used, others, starved = self._used, self._others, self._starved
        self._used = self._others = self._starved = 0
        if position == self._position and not _starts_thread(frame):
            # The first sample has none before it: the second tells what it was.
            self.foreign -= self._first_loss
            self._first_loss = 0
            return
        self._position = position
        lost = 0
        if 2 * used < weight < 2 * others:
            lost = max(weight - used - starved, 0)
        self.foreign += lost
        self._first_loss = lost if self.samples == 1 else 0

    def is_the_loops_fault(self, floor):
        """Tells whether at least half of the block, and the floor, was the loop's own doing.

        Not its doing: a suspended process, a collector's pause (which has a span of its own), a
        thread that kept the interpreter, a machine that did not run the loop though it was free.
        """
        if not self._places:
            return False
        collected = self._gc.nanos_within(self.since, self.end) if self._gc.on else 0
        own = self.end - self.since - self.foreign - collected - self._idle
        return floor <= own and self.end - self.since <= 2 * own

    def attributes(self):
        """Without a code location where the samples saw none: one that came too late, for one."""
        place, callee = self._main_place()
        attributes = {
            "thread.id": self._watch.thread_id,
            "thread.name": self._watch.thread_name,
            "timesink.event_loop.lag": (self.end - self.since) / 1e9,
            "timesink.event_loop.samples": self.samples,
        }
        attributes.update(place)
        # One sample in a library may have come just after the fact.
        if callee and (place or 1 < self.samples):
            attributes["timesink.event_loop.callee"] = callee
        return attributes

    def parent_context(self):
        """Returns the context of the blocking task's span; an empty one, for a root, without any."""
        parent = self._parents[self._main_place()]
        span = trace.NonRecordingSpan(parent) if parent else trace.INVALID_SPAN
        return trace.set_span_in_context(span)

    def _main_place(self):
        return max(self._places, key=self._places.get)


def _starts_thread(frame):
    """Tells whether `Thread.start` waits in one of the innermost frames (`Event`, `Condition`)."""
    for _ in range(4):
        if frame is None:
            return False
        if frame.f_code is threading.Thread.start.__code__:
            return True
        frame = frame.f_back
    return False


def _current_span(watch):
    """Returns the span context of the task that runs on the loop, None when it cannot be known.

    From Python 3.12 on a task shows its context. Before, it is the newest span that this very
    task has started and not ended; a task that only inherited its span has none then.
    """
    task = asyncio.current_task(watch.loop)
    if task is None:
        return None
    get_context = getattr(task, "get_context", None)
    if get_context is not None:
        return _span_in(get_context())
    for context, owner in reversed(tuple(watch.spans.values())):
        if owner is not None and owner() is task:
            return context
    return None


def _span_in(variables):
    for variable in variables:
        if variable.name == _CONTEXT_VARIABLE:
            context = trace.get_current_span(variables[variable]).get_span_context()
            return context if context.is_valid else None
    return None
