"""`psycopg_pool`: waits for a connection of psycopg's pools.

A pool below its maximum grows in the background meanwhile: size and max on the span tell.
"""

from __future__ import annotations

from timesink_otel.patches import timed_async_when, timed_when
from timesink_otel.probe import Probe
from timesink_otel.probes.sqlalchemy_pool import NAME


class PsycopgPool(Probe):
    name = "psycopg_pool"

    def install(self):
        self.patches.when_imported("psycopg_pool.pool", self._patch_sync)
        self.patches.when_imported("psycopg_pool.pool_async", self._patch_async)

    def _patch_sync(self, module):
        wrap = timed_when(self, self.settings.wait_nanos_min, NAME, _has_none_ready, _describe)
        self.patches.replace(module.ConnectionPool, "getconn", wrap)

    def _patch_async(self, module):
        floor = self.settings.wait_nanos_min
        wrap = timed_async_when(self, floor, NAME, _has_none_ready, _describe)
        self.patches.replace(module.AsyncConnectionPool, "getconn", wrap)


def _has_none_ready(args):
    return not args[0]._pool


def _describe(args, kwargs):
    pool = args[0]
    return {
        "timesink.pool.library": "psycopg_pool",
        "timesink.pool.size": pool._nconns,
        "timesink.pool.checked_out": pool._nconns - len(pool._pool),
        "timesink.pool.max": pool.max_size,
    }
