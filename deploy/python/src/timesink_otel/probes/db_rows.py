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
        for method, inner in (("traced_execution", False), ("traced_execution_async", True)):
            wrap = functools.partial(self._telling, inner)
            self.patches.replace(dbapi.CursorTracer, method, wrap)

    def _patch_sqlalchemy(self, engine):
        self.patches.replace(engine, "_after_cur_exec", self._after_execution)

    def _telling(self, is_async, original):
        """The span is current only while the query runs: so the query is told about, not the call."""
        observed = self._observed_async if is_async else self._observed

        @functools.wraps(original)
        def traced_execution(tracer, cursor, query_method, *args, **kwargs):
            if self.on:
                query_method = observed(cursor, query_method)
            return original(tracer, cursor, query_method, *args, **kwargs)

        return traced_execution

    def _observed(self, cursor, query_method):
        # Made anew for every query: copying name and documentation would cost more than the rest.
        def query(*args, **kwargs):
            result = query_method(*args, **kwargs)
            self._note(trace.get_current_span(), cursor)
            return result

        return query

    def _observed_async(self, cursor, query_method):
        async def query(*args, **kwargs):
            result = await query_method(*args, **kwargs)
            self._note(trace.get_current_span(), cursor)
            return result

        return query

    def _after_execution(self, original):
        @functools.wraps(original)
        def after_execution(connection, cursor, statement, params, context, executemany):
            span = getattr(context, "_otel_span", None)
            if span is not None:
                self._note(span, cursor)
            return original(connection, cursor, statement, params, context, executemany)

        return after_execution

    def _note(self, span, cursor):
        try:
            if self.on and span.is_recording() and getattr(cursor, "description", None):
                rows = cursor.rowcount
                if isinstance(rows, int) and 0 <= rows:
                    span.set_attribute(ROWS, rows)
        except Exception as error:
            self.fail(error)
