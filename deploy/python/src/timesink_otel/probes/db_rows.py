"""`db_rows`: how many rows a query returned, where the driver knows without fetching.

psycopg and psycopg2 do (client-side cursors), sqlite3 and server-side cursors do not: no value
then. The number is `rowcount` of a cursor that has a `description`, so of a statement with rows.
"""

from __future__ import annotations

import functools

from opentelemetry import trace

from timesink_otel.probe import Probe

ROWS = "db.response.returned_rows"

_DBAPI = "opentelemetry.instrumentation.dbapi"
_SQLALCHEMY = "opentelemetry.instrumentation.sqlalchemy.engine"


class DbRows(Probe):
    name = "db_rows"

    def install(self):
        self.patches.when_imported(_DBAPI, self._patch_dbapi)
        self.patches.when_imported(_SQLALCHEMY, self._patch_sqlalchemy)

    def _patch_dbapi(self, dbapi):
        if hasattr(dbapi.CursorTracer, "_record_metrics"):
            # From version 0.63 on: under the span after every query, so no query needs a wrapper.
            self.patches.replace(dbapi.CursorTracer, "_record_metrics", self._after_query)
            return
        for method, inner in (("traced_execution", False), ("traced_execution_async", True)):
            wrap = functools.partial(self._telling, inner)
            self.patches.replace(dbapi.CursorTracer, method, wrap)

    def _patch_sqlalchemy(self, engine):
        self.patches.replace(engine, "_after_cur_exec", self._after_execution)

    def _after_query(self, original):
        @functools.wraps(original)
        def record(tracer, cursor, *args, **kwargs):
            # The last is the query's exception: the cursor may tell of the query before then.
            if self.on and not (args and isinstance(args[-1], BaseException)):
                self._note(cursor)
            return original(tracer, cursor, *args, **kwargs)

        return record

    def _telling(self, is_async, original):
        """The span is current only while the query runs: so that is told about, not the call."""
        # No function of its own for each query: to make one costs more than the rest.
        observed = self._observed_async if is_async else self._observed

        @functools.wraps(original)
        def traced_execution(tracer, cursor, query_method, *args, **kwargs):
            if self.on:
                query_method = functools.partial(observed, cursor, query_method)
            return original(tracer, cursor, query_method, *args, **kwargs)

        return traced_execution

    def _observed(self, cursor, query_method, *args, **kwargs):
        result = query_method(*args, **kwargs)
        self._note(cursor)
        return result

    async def _observed_async(self, cursor, query_method, *args, **kwargs):
        result = await query_method(*args, **kwargs)
        self._note(cursor)
        return result

    def _after_execution(self, original):
        @functools.wraps(original)
        def after_execution(connection, cursor, statement, params, context, executemany):
            span = getattr(context, "_otel_span", None)
            if span is not None:
                self._note(cursor, span)
            return original(connection, cursor, statement, params, context, executemany)

        return after_execution

    def _note(self, cursor, span=None):
        try:
            rows = getattr(cursor, "rowcount", None)
            # The cheapest question first: some drivers answer nothing, some make the description.
            if not isinstance(rows, int) or rows < 0 or not self.on:
                return
            span = span or trace.get_current_span()
            if span.is_recording() and getattr(cursor, "description", None):
                span.set_attribute(ROWS, rows)
        except Exception as error:
            self.fail(error)
