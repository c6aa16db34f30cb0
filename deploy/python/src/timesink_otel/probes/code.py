"""`code`: the line of the user's code that a client or producer span comes from."""

from __future__ import annotations

from timesink_otel.probe import Probe


class Code(Probe):
    name = "code"

    def describe(self, attributes, frame, loop):
        try:
            found = self.user_code.find_on(loop, frame)
            if found:
                attributes.update(found)
        except Exception as error:
            self.fail(error)
