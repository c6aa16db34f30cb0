"""One block of an event loop: its samples while it lasts, its verdict and span after.

    wall time = the loop thread's processor time + the machine's share + sleep
    sleep     = blocking calls + foreign: waits for the interpreter, which others kept

The loop's own are its processor time and its blocking calls.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import sys
import threading
from collections import namedtuple

from opentelemetry import trace

from timesink_otel.user_code import function_name

# The pause between samples grows by half each time, from 4 ms to a quarter of a second: a short
# block gets several samples, one of a minute gets at most these and is looked at no more.
PAUSE_NANOS_MIN = 4_000_000
PAUSE_NANOS_MAX = 250_000_000
SAMPLES_MAX = 64
# The API's context holds the current span in one context variable of this name.
_CONTEXT_VARIABLE = "current_context"
_OWN_FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")

# Readings of clocks at one moment: processor time of the loop's thread and of the whole process,
# and the run delay of the loop's thread.
Times = namedtuple("Times", "mine everyones delay")
# What a sample saw. `position` is the instruction; `place` the code attributes, as items, and the
# function of a library that was called there.
Seen = namedtuple("Seen", "since position idle starts_thread place parent")
_NOWHERE = ((), None)


class Block:
    """Times in `time.monotonic_ns`. Filled by the watchdog; the loop's thread tells the end."""

    def __init__(self, since, times, watch, gc):
        self.since = since
        self.end = 0
        # The loop's own processor time, exact, from its own thread; 0 when it is not known.
        self.processor = 0
        # The clocks at the end, and a serialization that took most of it.
        self.end_times = self.serialization = None
        self.pause = PAUSE_NANOS_MIN
        self.samples = 0
        # Time for which other threads, or nobody, had the interpreter.
        self.foreign = 0
        # Time for which the loop's thread could have gone on and the machine did not run it.
        self.machine = 0
        self._watch = watch
        self._gc = gc
        self._looked, self._times = since, times
        self._seen = since
        self._next = 0
        # Since the last sample.
        self._late = self._lost = self._used = self._others = self._delayed = self._kept = 0
        self._position = self._place = None
        self._first_loss = 0
        self._idle = self._slept = 0
        # place -> nanoseconds for which samples saw it, how often they did, and the span that was
        # current when the first did.
        self._places = {}
        self._counts = {}
        self._parents = {}

    def passed(self, now, late, times, kept=0):
        """Accounts for the time since the last look.

        `late` is how much too late the watchdog came: whoever keeps the interpreter from it keeps
        it from the loop too, unless that is the loop. It was for `kept`, until just now.
        """
        first = self._looked == self.since
        lasted, self._looked = now - self._looked, now
        before, self._times = self._times, times
        used = min(max(times.mine - before.mine, 0), lasted)
        queued = max(times.delay - before.delay, 0)
        delayed = min(queued, lasted - used)
        late = min(late, lasted)
        lost = max(late - used - delayed, 0)
        # Only what lies in the block: of the first look's some lies before it.
        if not first:
            self._revise(queued - delayed)
        self._slept += lasted - used - delayed
        self.machine += delayed
        self.foreign += lost
        self._late += late
        self._lost += lost
        self._used += used
        self._delayed += delayed
        self._others += max(times.everyones - before.everyones - used, 0)
        self._kept = min(kept, lasted)

    def _revise(self, queued):
        """A thread's run delay shows when it runs again: what seemed sleep was the machine's."""
        queued = min(queued, self._slept)
        self._slept -= queued
        self.machine += queued
        self.foreign = max(self.foreign - queued, 0)

    def wants_sample(self, now):
        return self.samples < SAMPLES_MAX and self._next <= now

    def sample(self, seen, now):
        """Takes in where the loop's thread is, after `passed` for the time until now."""
        self.samples += 1
        self._next = now + self.pause
        self.pause = min(self.pause * 3 // 2, PAUSE_NANOS_MAX)
        weight, self._seen = now - self._seen, now
        self._note_contention(seen, weight)
        if seen.idle:
            known = max(weight - self._late, 0)
            self._add(self._place, known / 2)
            self._idle += weight - known / 2 if self._place else weight
            self._place = None
        else:
            self._credit(seen, weight)
        self._late = 0

    def _credit(self, seen, weight):
        """Counts the time since the last sample for the places at its two ends.

        Between two samples of one place it was there. Else it moved on at a moment that nobody
        knows: half for each. Where the watchdog came late it may have been anywhere, but for C code
        that keeps the interpreter: that is where it gave it up.
        """
        place, previous = seen.place, self._place
        self._place = place
        self._counts[place] = self._counts.get(place, 0) + 1
        self._parents.setdefault(place, seen.parent)
        if previous is not None and _is_near(place, previous):
            self._add(place, weight / 2)
            self._add(previous, weight / 2)
            return
        kept = min(self._kept, weight)
        if kept:
            self._counts[place] += 1
        known = max(weight - max(self._late, kept), 0)
        self._add(place, kept + known / 2)
        self._add(previous, known / 2)

    def _add(self, place, weight):
        if place is not None:
            self._places[place] = self._places.get(place, 0) + weight

    def _note_contention(self, seen, weight):
        """Finds a loop that gets on, but slowly, since other threads use the interpreter.

        It was somewhere else at the last sample and computed for less than half the time, while
        others did for more: each time it gave up the interpreter it queued for it. A loop that
        stands at one place waits there, unless it is starting a thread: that waits until the new
        thread has had the interpreter, and then for the interpreter.
        """
        used, others, lost = self._used, self._others, self._lost
        weight = max(weight - self._delayed, 0)
        self._used = self._others = self._lost = self._delayed = 0
        if seen.position == self._position and not seen.starts_thread:
            # The first sample has none before it: the second tells what it was.
            self.foreign -= self._first_loss
            self._first_loss = 0
            return
        self._position = seen.position
        queued = 0
        if 2 * used < weight < 2 * others:
            queued = max(weight - used - lost, 0)
        self.foreign += queued
        self._first_loss = queued if self.samples == 1 else 0

    def finish(self, late):
        """Accounts for the time from the last look to the end, like `passed`."""
        if self._looked < self.end:
            tail = self.end - self._seen
            self.passed(self.end, late, self.end_times)
            self._add(self._place, max(tail - self._late, 0) / 2)

    def is_the_loops_fault(self, floor):
        """Tells whether at least half of the block, and the floor, was the loop's own doing.

        Not its doing: a suspended process, a collector's pause (which has a span of its own), a
        thread that kept the interpreter. What the machine did not give it belongs to nobody.
        """
        collected = self._gc.nanos_within(self.since, self.end) if self._gc.on else 0
        lasted = self.end - self.since - self.machine
        # What is not processor time may be anything unless samples saw the loop somewhere.
        own = lasted - self.foreign - collected - self._idle if self._places else 0
        own = max(own, self.processor - collected - self._idle)
        return floor <= own and lasted <= 2 * own

    def attributes(self):
        """Without a code location where it is not certain: where samples came too late, for one."""
        attributes = {
            "thread.id": self._watch.thread_id,
            "thread.name": self._watch.thread_name,
            "timesink.event_loop.lag": (self.end - self.since) / 1e9,
            "timesink.event_loop.samples": self.samples,
        }
        place, callee = self._certain_place() or _NOWHERE
        attributes.update(place)
        if place and callee:
            attributes["timesink.callee"] = callee
        told = self.serialization
        if not place and told is not None and "code.file.path" in told.attributes:
            attributes.update(told.attributes)
        return attributes

    def _certain_place(self):
        """Returns the place with the most time, if it was seen twice and for half of the block.

        To keep the interpreter up to a sample counts as seen before it too.
        """
        if not self._places:
            return None
        place = max(self._places, key=self._places.get)
        near = [other for other in self._places if _is_near(other, place)]
        seen, weight = sum(map(self._counts.get, near)), sum(map(self._places.get, near))
        if seen < 2 or 2 * weight < self.end - self.since - self.machine:
            return None
        return place

    def parent_context(self):
        """Returns the context of the blocking task's span; an empty one, for a root, without.

        A sample that came once and late does not tell which task blocked.
        """
        place = self._certain_place()
        parent = None if place is None else self._parents[place]
        if parent is None and self.serialization is not None:
            parent = self.serialization.parent
        span = trace.NonRecordingSpan(parent) if parent else trace.INVALID_SPAN
        return trace.set_span_in_context(span)


def see(watch, user_code):
    """Returns where the loop's thread is; None when it went on while its stack was walked."""
    since, frame = watch.busy_since, sys._current_frames().get(watch.thread_id)
    if frame is None:
        return None
    instruction = frame.f_lasti
    task = asyncio.current_task(watch.loop)
    place = _place_of(frame, task, watch, user_code)
    parent = None if task is None else _span_in(_context_of(task))
    position, idle = (id(frame), instruction), watch.is_idle(frame)
    seen = Seen(since, position, idle, _starts_thread(frame), place, parent)
    # A walk that takes long lets the loop's thread have the interpreter.
    moved = (
        sys._current_frames().get(watch.thread_id) is not frame
        or frame.f_lasti != instruction
        or watch.busy_since != since
    )
    return None if moved else seen


def _place_of(frame, task, watch, user_code):
    """Not beyond the task or the loop's own frames: who started the loop is not who blocks it."""
    coroutine = task.get_coro() if task is not None else None
    last = getattr(coroutine, "cr_code", None)
    if last is None and watch.loop_code is None:
        return _NOWHERE
    asks = False
    attributes, below = user_code.find(frame, watch.loop_code, last, asks)
    if not attributes:
        return _NOWHERE
    callee = _without_own(frame, below)
    return tuple(attributes.items()), callee and function_name(callee)


def _without_own(frame, below):
    """Returns `below`, or what it called where it is this package's own: we wrap functions."""
    called = None
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_OWN_FOLDER):
            called = frame
        if frame is below:
            return called
        frame = frame.f_back
    return None


def _is_near(place, other):
    """Tells whether both are in one function, as the lines of a loop, or in one line, as lambdas.

    Places outside of the user's code are all one.
    """
    one, two = dict(place[0]), dict(other[0])
    if one.get("code.file.path") != two.get("code.file.path"):
        return False
    names = ("code.function.name", "code.line.number")
    return any(one.get(name) == two.get(name) for name in names)


def _starts_thread(frame):
    """Tells whether `Thread.start` waits in one of the innermost frames (`Event`, `Condition`)."""
    for _ in range(4):
        if frame is None:
            return False
        if frame.f_code is threading.Thread.start.__code__:
            return True
        frame = frame.f_back
    return False


def _context_of(task):
    """Returns the context variables that a task runs with, none when they cannot be known.

    Before Python 3.12 no method of a task returns them. The collector knows what a task refers to:
    first its context, those of its callbacks later.
    """
    get_context = getattr(task, "get_context", None)
    if get_context is not None:
        return get_context()
    found = (o for o in gc.get_referents(task) if isinstance(o, contextvars.Context))
    return next(found, {})


def _span_in(variables):
    for variable in variables:
        if variable.name == _CONTEXT_VARIABLE:
            context = trace.get_current_span(variables[variable]).get_span_context()
            return context if context.is_valid else None
    return None
