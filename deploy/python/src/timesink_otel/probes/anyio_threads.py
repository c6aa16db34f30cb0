"""`anyio_threads`: waits for a token of AnyIO's limiter, which Starlette's sync handlers need.

Any `CapacityLimiter` counts: the service's own ones wait alike.
"""

from __future__ import annotations

from timesink_otel.patches import timed_async_when
from timesink_otel.probe import Probe

NAME = "timesink.thread_pool.wait"


class AnyioThreads(Probe):
    name = "anyio_threads"

    def install(self):
        self.patches.when_imported("anyio._backends._asyncio", self._patch)

    def _patch(self, backend):
        wrap = timed_async_when(self, self.settings.wait_nanos_min, NAME, _is_exhausted, _describe)
        self.patches.replace(backend.CapacityLimiter, "acquire_on_behalf_of", wrap)


def _is_exhausted(args):
    limiter = args[0]
    return limiter.total_tokens <= limiter.borrowed_tokens


def _describe(args, kwargs):
    # `total_tokens` may be infinite, which no limiter that made anybody wait is.
    return {
        "timesink.thread_pool.library": "anyio",
        "timesink.thread_pool.max": int(args[0].total_tokens),
        "timesink.thread_pool.waiting": args[0].statistics().tasks_waiting,
    }
