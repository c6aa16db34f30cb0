"""Which requests are told in detail: the first of each name in a second.

Lines of code, threads and sizes of small responses are known from a few requests. If each of a
busy service told them, the exporter's thread would have that much more to do, and requests wait
for that.
"""

from __future__ import annotations

# Names of requests of which is known how many were told in the last second. What has no names but
# new ones is told each time.
NAMES_MAX = 4096


class Detail:
    def __init__(self, per_second_max):
        self._per_second_max = per_second_max
        self._told = {}

    def admits(self, name, second):
        """Tells whether a request of this name that begins in this second tells all.

        All spans of one tell, or none: so what is a loop still looks like one.
        """
        # The hash alone: names may be long, and two that share one share what they may tell.
        name = hash(name)
        last = self._told.get(name)
        if last is None and len(self._told) >= NAMES_MAX:
            self._told.clear()
        told = last[1] if last is not None and last[0] == second else 0
        if told >= self._per_second_max:
            return False
        self._told[name] = (second, told + 1)
        return True
