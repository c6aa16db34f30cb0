"""`code`: the line of the user's code that a client or producer span comes from."""

from __future__ import annotations

from timesink_otel.probe import Probe


class Code(Probe):
    name = "code"

    def describe(self, attributes, frame):
        try:
            found, _ = self.user_code.find(frame)
            if found:
                attributes.update(found)
        except Exception as error:
            self.fail(error)
