"""`thread`: the thread that a span starts on, and whether an event loop runs there."""

from __future__ import annotations

from threading import current_thread, get_ident

from timesink_otel.probe import Probe


class Thread(Probe):
    name = "thread"

    def describe(self, attributes, loop):
        try:
            attributes["thread.id"] = get_ident()
            attributes["thread.name"] = current_thread().name
            attributes["timesink.event_loop"] = loop is not None
        except Exception as error:
            self.fail(error)
