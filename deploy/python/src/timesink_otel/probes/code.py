"""`code`: the line of the user's code that a client or producer span comes from."""

from __future__ import annotations

from timesink_otel.probe import Probe

SECOND_NANOS = 1_000_000_000


class Code(Probe):
    name = "code"

    def describe(self, attributes, span, frame, loop):
        """Adds the line, unless enough spans of this second have told it.

        A line that is run some thousand times a second is known without each saying so, and three
        attributes of each would keep the exporter's thread busy, for which requests wait.
        """
        try:
            line = self.user_code.find_on(loop, frame)
            if line is None:
                return
            second = span.start_time // SECOND_NANOS
            if line.second != second:
                line.second, line.told = second, 0
            if line.told < self.settings.code_per_second_max:
                line.told += 1
                attributes.update(line)
        except Exception as error:
            self.fail(error)
