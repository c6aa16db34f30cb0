"""`code`: the line of the user's code that a client or producer span comes from."""

from __future__ import annotations

from timesink_otel.probe import Probe

# Names of requests of which is known how many were told in the last second. What has no names but
# new ones is told each time.
NAMES_MAX = 4096


class Code(Probe):
    name = "code"

    def install(self):
        self._told = {}

    def is_told_by(self, name, second):
        """Tells whether the client spans of a request that begins now, of this name, get a line.

        The lines of a busy request are known without each saying so, and three attributes of each
        span would keep the exporter's thread busy, for which requests wait. Of the requests that
        tell, all spans do: so what is a loop still looks like one.
        """
        try:
            # The hash alone: names may be long, and two that share one share what they may tell.
            name = hash(name)
            last = self._told.get(name)
            if last is None and len(self._told) >= NAMES_MAX:
                self._told.clear()
            told = last[1] if last is not None and last[0] == second else 0
            if told >= self.settings.code_per_second_max:
                return False
            self._told[name] = (second, told + 1)
            return True
        except Exception as error:
            self.fail(error)
            return False

    def describe(self, attributes, frame, loop):
        try:
            found = self.user_code.find_on(loop, frame)
            if found:
                attributes.update(found)
        except Exception as error:
            self.fail(error)

    def forked(self):
        self._told = {}
