"""`thread`: the thread that a span starts on."""

from __future__ import annotations

from threading import current_thread, get_ident

from timesink_otel.probe import Probe


class Thread(Probe):
    name = "thread"

    def describe(self, attributes, is_first):
        """Adds the thread's id, and its name to the first of its spans in a second."""
        try:
            attributes["thread.id"] = get_ident()
            if is_first:
                attributes["thread.name"] = current_thread().name
        except Exception as error:
            self.fail(error)
