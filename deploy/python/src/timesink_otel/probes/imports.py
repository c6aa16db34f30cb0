"""`imports`: modules that a request imports, as spans: what makes first requests slow."""

from __future__ import annotations

from opentelemetry import trace

from timesink_otel.probe import Probe

NAME = "timesink.import"


class ImportTime(Probe):
    name = "imports"

    def __init__(self, companion):
        super().__init__(companion)
        self._imports = companion.imports

    def install(self):
        self._imports.listener = self._seen

    def stop(self):
        super().stop()
        self._imports.listener = None

    def _seen(self, module, start, end):
        try:
            if self.on and self.settings.import_nanos_min <= end - start:
                self._tell(module, start, end)
        except Exception as error:
            self.fail(error)

    def _tell(self, module, start, end):
        # Imports at start-up belong to no request: they would be roots of a trace each.
        if trace.get_current_span().is_recording():
            self.report(NAME, start, end, _describe, module)


def _describe(module):
    return {"timesink.import.module": module}
