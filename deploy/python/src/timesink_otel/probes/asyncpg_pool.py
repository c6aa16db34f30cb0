"""`asyncpg_pool`: waits for a connection of an `asyncpg.Pool`."""

from __future__ import annotations

from timesink_otel.patches import timed_async_when
from timesink_otel.probe import Probe
from timesink_otel.probes.sqlalchemy_pool import NAME


class AsyncpgPool(Probe):
    name = "asyncpg_pool"

    def install(self):
        self.patches.when_imported("asyncpg.pool", self._patch)

    def _patch(self, module):
        wrap = timed_async_when(self, self.settings.wait_nanos_min, NAME, _is_exhausted, _describe)
        self.patches.replace(module.Pool, "_acquire", wrap)


def _is_exhausted(args):
    """The queue holds every holder that is free, connected or not."""
    queue = args[0]._queue
    return queue is not None and queue.empty()


def _describe(args, kwargs):
    pool = args[0]
    return {
        "timesink.pool.library": "asyncpg",
        "timesink.pool.size": pool.get_size(),
        "timesink.pool.checked_out": pool.get_size() - pool.get_idle_size(),
        "timesink.pool.max": pool.get_max_size(),
    }
