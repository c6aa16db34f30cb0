"""`sqlalchemy_pool`: waits for a connection of a `QueuePool`, also under asyncio."""

from __future__ import annotations

from timesink_otel.patches import timed_when
from timesink_otel.probe import Probe

NAME = "timesink.pool.wait"


class SqlalchemyPool(Probe):
    name = "sqlalchemy_pool"

    def install(self):
        self.patches.when_imported("sqlalchemy.pool.impl", self._patch)

    def _patch(self, impl):
        wrap = timed_when(self, self.settings.wait_nanos_min, NAME, _is_exhausted, _describe)
        self.patches.replace(impl.QueuePool, "_do_get", wrap)


def _is_exhausted(args):
    """Asked before the checkout: a pool that may still grow connects, which is not waiting."""
    pool = args[0]
    return pool._pool.qsize() == 0 and 0 <= pool._max_overflow <= pool._overflow


def _describe(args, kwargs):
    pool = args[0]
    return {
        "timesink.pool.library": "sqlalchemy",
        "timesink.pool.size": pool.size(),
        "timesink.pool.checked_out": pool.checkedout(),
        "timesink.pool.overflow": max(pool.overflow(), 0),
        "timesink.pool.max": pool.size() + pool._max_overflow,
    }
