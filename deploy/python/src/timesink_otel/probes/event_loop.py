"""`event_loop`: finds what blocks an event loop, and emits `timesink.event_loop.blocked` for it.

    loop's thread    says since when it is busy (`loop_watch.py`) and when a block ended
    watchdog thread  looks every few milliseconds; samples the stack of a loop that is busy too
                     long (`block.py`), judges the block when it has ended, emits the span

The watchdog starts with the first span on a loop, rests while no span is open, and starts anew
in a forked process. Nothing is emitted from the loop's thread.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from time import monotonic_ns, sleep

from timesink_otel.probe import Probe
from timesink_otel.probes.block import Block
from timesink_otel.probes.loop_watch import watch_of

NAME = "timesink.event_loop.blocked"

# The watchdog looks once a floor, and samples a loop that has been busy for a quarter of that: so a
# block of 1.25 floors is seen for certain, and one of the floor three times in four. A look costs
# some 100 microseconds of processor time, nearly all of it the wake-up: twice as many would be 1 %.
SUSPECT_PER_FLOOR = 4
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
        self._companion = companion
        self._reset()

    def _reset(self):
        self._watches = {}
        self._thread = None
        self._starting = threading.Lock()
        # Set by the thread that starts a span, waited for by the watchdog, which clears it.
        self._awake = threading.Event()
        # Filled by the loops' threads, emptied by the watchdog.
        self._ended = deque(maxlen=ENDED_MAX)

    def opened(self, span, loop):
        """Takes note of a span that starts on `loop`, on the loop's own thread."""
        try:
            watch = self._watches.get(id(loop)) or self._add(loop)
            if watch is not None:
                watch.open(span)
                if not self._awake.is_set():
                    self._wake()
        except Exception as error:
            self.fail(error)

    def closed(self, span):
        """Forgets a span, which may end on any thread."""
        try:
            span_id = span.context.span_id
            for watch in tuple(self._watches.values()):
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
        for watch in self._watches.values():
            watch.release()
        self._reset()

    def _release(self):
        for watch in tuple(self._watches.values()):
            watch.release()
        self._watches.clear()
        self._awake.set()

    def _add(self, loop):
        if WATCHES_MAX <= len(self._watches):
            self._drop_closed()
        if WATCHES_MAX <= len(self._watches):
            return None
        watch = self._watches[id(loop)] = watch_of(loop, self._ended)
        return watch

    def _drop_closed(self):
        for key, watch in tuple(self._watches.items()):
            if watch.loop.is_closed():
                watch.release()
                self._watches.pop(key, None)

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
        look = self.settings.blocked_nanos_min
        used = looked = monotonic_ns()
        pause = look
        # A new `_awake` means that this thread was left behind by `uninstall` and `install`.
        while self.on and awake is self._awake:
            now = monotonic_ns()
            late = max(now - looked - pause, 0)
            pause = min([self._look_at(w, now, late, look) for w in self._all()], default=look)
            self._judge_ended()
            if self.has_open_spans():
                used = now
            elif LINGER_NANOS < now - used:
                self._rest(awake)
                used = monotonic_ns()
            looked = monotonic_ns()
            sleep(pause / 1e9)

    def _all(self):
        return tuple(self._watches.values())

    def _rest(self, awake):
        """Waits for the next span; the look after `clear` catches one that came in between."""
        awake.clear()
        self._drop_closed()
        if not self.has_open_spans():
            awake.wait()

    def _look_at(self, watch, now, late, look):
        """Samples the loop if it is busy for too long; returns when to look again, nanoseconds."""
        used, others = watch.cpu_since_last_look()
        since = watch.look(now)
        if not since or now - since < look // SUSPECT_PER_FLOOR:
            return look
        block = watch.block
        if block is None or block.since != since:
            block = Block(since, watch, self._companion.probes["gc"])
        block.passed(min(late, now - since), used, others)
        if block.wants_sample(now):
            frame = sys._current_frames().get(watch.thread_id)
            if frame is not None and watch.busy_since == since:
                block.sample(frame, self.user_code, now)
                watch.block = block
        return min(block.pause, look)

    def _judge_ended(self):
        while self._ended:
            block = self._ended.popleft()
            if block.is_the_loops_fault(self.settings.blocked_nanos_min):
                context = block.parent_context()
                self.emitter.emit(NAME, block.since, block.end, block.attributes(), context)
