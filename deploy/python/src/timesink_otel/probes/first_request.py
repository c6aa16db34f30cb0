"""`first_request`: marks the first SERVER or CONSUMER span of a process."""

from __future__ import annotations

from timesink_otel.probe import Probe


class FirstRequest(Probe):
    name = "first_request"

    def install(self):
        self._seen = False

    def describe(self, attributes):
        # Two threads may both see the mark unset; a second mark within microseconds is no lie.
        if not self._seen:
            self._seen = True
            attributes["timesink.process.first_request"] = True

    def forked(self):
        self._seen = False
