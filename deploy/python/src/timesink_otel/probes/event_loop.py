"""`event_loop`: finds what blocks an event loop, and emits `timesink.event_loop.blocked` for it.

    loop's thread    says since when it is busy, when a block ended, and how much of it was its
                     processor time (`loop_watch.py`)
    watchdog thread  looks every few milliseconds; samples the stack of a loop that is busy too
                     long (`block.py`), judges the block when it has ended, emits the span

The watchdog starts with the first span on a loop, rests while no span is open, and starts anew
in a forked process. Nothing is emitted from the loop's thread.

Django's middleware starts a request's span in a thread of `sync_to_async`, while the request waits
on the loop: that span is open on the loop too.
"""

from __future__ import annotations

import os
import sys
import threading
from asyncio import _get_running_loop
from collections import deque
from time import monotonic_ns, sleep

from timesink_otel.probe import Probe
from timesink_otel.probes.block import Block, see
from timesink_otel.probes.loop_watch import SPANS_MAX, Serialization, watch_of
from timesink_otel.probes.thread_times import ThreadTimes
from timesink_otel.settings import BLOCKED_MILLIS_MIN

NAME = "timesink.event_loop.blocked"

# The watchdog looks once a floor, and samples a loop that has been busy for a quarter of that: so a
# block of 1.25 floors is seen for certain, and one of the floor three times in four.
SUSPECT_PER_FLOOR = 4
# Most looks find every loop free, and a glance is enough: it costs half, and does not give up the
# interpreter, as to read a run delay does: another thread may take it then, and a request wait for
# that for 5 ms. What a block's first reading finds more than the last one, so many looks ago,
# counts as the machine's: where that may be much, every look reads.
LOOKS_PER_READING = 5
# Run delay below this part of the time between two readings is little: 5 ms in five looks.
LITTLE_DELAY = 1 / 20
# A thread that computes in Python gives up the interpreter when asked for so long.
SWITCH_NANOS = 5_000_000
# Whoever does not give it up for longer runs C code.
LOST_NANOS = 8_000_000
# Rests this long after the last span has ended, so that one request after the other does not
# put it to sleep and wake it again.
LINGER_NANOS = 500_000_000
# A service has one loop, some have one a thread; a test suite makes thousands and closes them.
WATCHES_MAX = 32
# Blocks that have ended and wait to be judged: the watchdog comes by every few milliseconds.
ENDED_MAX = 64


class EventLoop(Probe):
    name = "event_loop"

    def __init__(self, companion):
        super().__init__(companion)
        # Whether the process that this one was forked from has loops: to readers they may be one.
        self._has_loops_above = False
        self._reset()

    def _reset(self):
        self._watches = {}
        # Readers take what says nothing as on a loop, once they have seen one of the process.
        self._has_had_loops = False
        # Another object each time that something changes of which loops there are.
        self.loops = object()
        self._thread = self._clocks = None
        self._starting = threading.Lock()
        # Set by the thread that starts a span, waited for by the watchdog, which clears it.
        self._awake = threading.Event()
        # Filled by the loops' threads, emptied by the watchdog.
        self.ended = deque(maxlen=ENDED_MAX)
        floor = self.settings.blocked_nanos_min
        self._suspect = floor // SUSPECT_PER_FLOOR
        self._tells_enough = floor <= BLOCKED_MILLIS_MIN * 1e6

    def new_block(self, watch, since):
        return Block(since, watch.times_at_start(), watch, self.companion.probes["gc"])

    def mark(self):
        """Takes note that something on this thread may take long."""
        watch = self._watches.get(id(_get_running_loop()))
        if watch is not None and watch.spans:
            watch.mark()

    def serialized(self, start, end, attributes, parent):
        """Takes note of a serialization on this thread: it may be what blocks its loop."""
        watch = self._watches.get(id(_get_running_loop()))
        if watch is not None:
            watch.serialization = Serialization(start, end, attributes, parent)

    def is_told(self, loop, watch):
        """Tells whether a span that starts here is to say whether a loop runs, as far as it knows.

        On a loop, where it is watched; in a thread, where the process has loops at all.
        """
        if not self.on or not self._tells_enough:
            return False
        if loop is None:
            return self._has_loops_above or self._has_had_loops
        return watch is not None

    def is_usual(self, loop, tells_loop):
        """Tells whether a request that starts here starts where readers take for granted.

        That is on the loop of a process that has one, and anywhere in a process without.
        """
        if self._has_loops_above:
            return False
        if loop is None:
            return not self._has_had_loops
        return tells_loop and len(self._watches) == 1

    def describe(self, attributes, loop):
        """Says whether a loop runs here; nothing where it would be wrong that it is watched.

        Who reads it takes for granted that a block of the default floor is told.
        """
        if self._tells_enough:
            attributes["timesink.event_loop"] = loop is not None

    def noted(self, watch, span_id):
        """Takes note of a span that starts on a loop's thread below an open one there."""
        if watch.busy_cpu and len(watch.spans) < SPANS_MAX:
            watch.spans[span_id] = True
            return
        try:
            watch.open(span_id)
        except Exception as error:
            self.fail(error)

    def opened(self, span, loop):
        """Takes note of a span that starts on `loop`, on its own thread; returns what watches it.

        None where nothing does.
        """
        try:
            watch = self._watches.get(id(loop)) or self._add(loop)
            if watch is not None:
                if watch.is_in_another_run():
                    watch = self.runs_again(watch)
                watch.open(span.context.span_id)
                if not self._awake.is_set():
                    self._wake()
                if self.on:
                    return watch
        except Exception as error:
            self.fail(error)
        return None

    def runs_again(self, watch):
        """Takes note, on the loop's thread, of another run of it; returns what watches it now.

        It may be another thread than before, with clocks and a stack of its own.
        """
        watch.starts_run()
        key = id(watch.loop)
        # One that was released may still be called by who wrapped what it had put there.
        if watch.thread_id == threading.get_ident() or self._watches.get(key) is not watch:
            return watch
        spans = watch.spans
        watch.release()
        moved = self._watches[key] = watch_of(watch.loop, self)
        moved.spans = spans
        self.loops = object()
        return moved

    def opened_in_thread(self, span):
        """Takes note of a request's span that starts in a thread for which a loop waits."""
        try:
            loop = _waiting_loop()
            if loop is not None and not loop.is_closed():
                # Comes before the end of the loop's wait, which is told in the same way.
                loop.call_soon_threadsafe(self._opened_in_thread, span, loop)
        except RuntimeError:
            # Closed between the question and the call.
            pass
        except Exception as error:
            self.fail(error)

    def _opened_in_thread(self, span, loop):
        if self.on:
            self.opened(span, loop)
            if span.end_time is not None:
                # It ended before this, when nobody knew it.
                self.closed(span.context.span_id)

    def closed(self, span_id, watch=None):
        """Forgets a span, which may end on any thread, and may be known to one watch."""
        try:
            if watch is not None:
                if watch.busy_cpu:
                    if watch.spans.pop(span_id, None) is not None:
                        return
                elif watch.close(span_id):
                    return
            # A list: see `_all`, which would cost a call.
            for watch in list(self._watches.values()):
                if watch.close(span_id):
                    return
        except Exception as error:
            self.fail(error)

    def has_open_spans(self):
        return any(watch.spans for watch in self._all())

    def stop(self):
        super().stop()
        self._release()

    def fail(self, error):
        super().fail(error)
        self._release()

    def forked(self):
        """Only the forking thread lives on in the child: no watchdog, and locks in any state."""
        self._has_loops_above = self._has_loops_above or self._has_had_loops
        for watch in self._watches.values():
            watch.release()
        if self._clocks is not None:
            self._clocks.close()
        self._reset()

    def _release(self):
        for watch in self._all():
            watch.release()
        self._watches.clear()
        self.loops = object()
        self._awake.set()

    def _add(self, loop):
        if WATCHES_MAX <= len(self._watches):
            self._drop_closed()
        if WATCHES_MAX <= len(self._watches):
            return None
        watch = self._watches[id(loop)] = watch_of(loop, self)
        self._has_had_loops = True
        self.loops = object()
        return watch

    def _drop_closed(self):
        for key, watch in self._watches.copy().items():
            if watch.loop.is_closed():
                watch.release()
                self._watches.pop(key, None)
                self.loops = object()
        self.companion.processor.forget_closed_loops()

    def _wake(self):
        self._awake.set()
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, args=(self._awake,), name="timesink-watchdog", daemon=True
                    )
                    self._thread.start()

    def _run(self, awake):
        try:
            self._watch_while_open(awake)
        except Exception as error:
            # At interpreter exit modules go away under a daemon thread: nobody needs to hear that.
            if not sys.is_finalizing():
                self.fail(error)

    def _watch_while_open(self, awake):
        """Looks at every loop, sleeps, and accounts for a sleep that took longer than asked."""
        clocks = self._clocks = ThreadTimes()
        self.user_code.look_around()
        pause = look = self.settings.blocked_nanos_min
        seconds = look / 1e9
        opened = looked = asked = monotonic_ns()
        queued, unread, read = clocks.run_delay(), 0, opened
        # A new `_awake` means that this thread was left behind by `uninstall` and `install`.
        while self.on and awake is self._awake:
            # From here to the last `_see` nothing gives up the interpreter: whoever kept it until
            # now is where it gave it up.
            now = monotonic_ns()
            if pause == look and unread < LOOKS_PER_READING and self._is_quiet(now - looked):
                unread, looked, asked = unread + 1, now, now
                if self.has_open_spans():
                    opened = now
                sleep(seconds)
                continue
            late, waited = max(now - looked - pause, 0), max(now - asked - pause, 0)
            seen = [self._see(watch, now, late) for watch in self._all()]
            looked = now
            self._judge_ended(now, late)
            asked, delays = monotonic_ns(), self._delays()
            before, queued = queued, clocks.run_delay()
            # Without the clock it may have been the machine that let this thread come late.
            starved = waited - (queued - before) if clocks.tells_delay() else 0
            in_time = monotonic_ns() - asked < LOST_NANOS
            asked = monotonic_ns() if in_time else asked
            pauses = [self._account(*each, now, late, starved, in_time) for each in seen]
            grown = queued - before + self._delays() - delays
            unread, read = (1 if grown < LITTLE_DELAY * (now - read) else LOOKS_PER_READING), now
            if LOST_NANOS <= monotonic_ns() - asked:
                # Reading a clock gave up the interpreter, and C code kept it.
                pause = 0
                continue
            pause = min(pauses, default=look)
            if self.has_open_spans():
                opened = now
            elif LINGER_NANOS < now - opened:
                self._rest(awake)
                self.user_code.look_around()
                opened = looked = read = monotonic_ns()
                queued, unread = clocks.run_delay(), LOOKS_PER_READING
                for watch in self._all():
                    watch.times = watch.with_delay(watch.times_now())
            asked = monotonic_ns()
            sleep(pause / 1e9)

    def _all(self):
        # A tuple would be made while one walks: that may run the collector, and so other threads.
        return list(self._watches.values())

    def _delays(self):
        return sum(watch.times.delay for watch in self._all())

    def _is_quiet(self, elapsed):
        """Tells at a glance whether there is nothing to look at; if so, that was the look.

        A watchdog that comes late may have been kept from the interpreter by C code.
        """
        if self.settings.blocked_nanos_min + self._suspect + SWITCH_NANOS <= elapsed or self.ended:
            return False
        for watch in self._all():
            if not watch.is_quiet(elapsed):
                return False
        return True

    def _rest(self, awake):
        """Waits for the next span; the look after `clear` catches one that came in between."""
        awake.clear()
        self._drop_closed()
        if not self.has_open_spans():
            awake.wait()

    def _see(self, watch, now, late):
        """Reads a loop's clocks, and its stack if it is busy for too long or may have been."""
        times, since, block = watch.times_now(), watch.busy_since, None
        busy = now - since if since else min(late, times.mine - watch.times.mine)
        if busy < self._suspect:
            return watch, times, None, None
        if since and not watch.loop.is_running():
            # Stopped. What its thread does now is not its doing.
            watch.block = None
            return watch, times, None, None
        if since:
            block = watch.block
            if block is None or block.since != since:
                block = watch.block = self.new_block(watch, since)
            if not block.wants_sample(now):
                return watch, times, block, None
        return watch, times, block, see(watch, self.user_code)

    def _account(self, watch, times, block, seen, now, late, starved, in_time):
        """Follows a loop that is busy for too long; returns when to look again, nanoseconds."""
        # What comes later than `now`, or after the end of a block, belongs to the next look: `kept`
        # takes it off all the same, to be on the safe side.
        kept, ended = 0, block is not None and block.end
        if in_time:
            later = block.end_times if ended else watch.with_delay(times)
            kept = _kept(watch.times, times._replace(delay=later.delay), starved)
            times = times if ended else later
        kept = kept if self._suspect <= kept and seen is not None else 0
        since, used = 0, times.mine - watch.times.mine
        if block is None:
            since = watch.look(now, times.mine, kept)
            if kept and since == now - kept:
                block = watch.block = self.new_block(watch, since)
                seen = seen._replace(since=since)
        watch.times = times
        if block is None:
            # Busy only now, as far as we know: where it computes, it is looked at sooner.
            soon = since and self._suspect <= used
            return self._suspect if soon else self.settings.blocked_nanos_min
        block.passed(now, late, times, kept)
        if seen is not None and seen.since == block.since:
            block.sample(seen, now)
        return min(block.pause, self.settings.blocked_nanos_min)

    def _judge_ended(self, now, late):
        """Judges what ended before `now`; the rest when it is known who had the interpreter."""
        while self.ended and self.ended[0].end <= now:
            block = self.ended.popleft()
            block.finish(late)
            if block.is_the_loops_fault(self.settings.blocked_nanos_min):
                context = block.parent_context()
                self.emitter.emit(NAME, block.since, block.end, block.attributes(), context)


def _kept(before, now, starved):
    """Returns for how long the loop's thread has kept the interpreter in one call, nanoseconds.

    The watchdog waited for the interpreter for `starved`. It had been given up in Python code; so
    this was C code, which gave it up just now, unless others or the machine explain the wait.
    """
    used, delayed = now.mine - before.mine, now.delay - before.delay
    others = now.everyones - before.everyones - used
    if used <= 2 * others:
        return 0
    return min(starved - delayed - max(others, 0), used) - SWITCH_NANOS


def _waiting_loop():
    """Returns the loop whose `sync_to_async` runs in this thread, as asgiref itself keeps it."""
    sync = sys.modules.get("asgiref.sync")
    local = getattr(getattr(sync, "SyncToAsync", None), "threadlocal", None)
    loop = getattr(local, "main_event_loop", None)
    # A forked process has the loop of its parent there.
    if loop is not None and local.main_event_loop_pid == os.getpid():
        return loop
    return None
