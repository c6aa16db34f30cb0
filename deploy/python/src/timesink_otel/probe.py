"""What every probe has in common: a name, a switch, and what happens when it fails."""

from __future__ import annotations

import logging

from timesink_otel.patches import Patches

_log = logging.getLogger("timesink_otel")


class Probe:
    """One thing that is watched in the service.

    A probe's own code runs inside the service's calls. Whatever it raises is caught, told once,
    and switches the probe off for the rest of the process.
    """

    name = ""

    def __init__(self, companion):
        self.companion = companion
        self.settings = companion.settings
        self.emitter = companion.emitter
        self.user_code = companion.user_code
        self.patches = Patches(companion.imports, self)
        self.on = False

    def start(self):
        self.on = True
        try:
            self.install()
        except Exception as error:
            self.fail(error)

    def stop(self):
        self.on = False
        self.patches.undo()

    def install(self):
        """Sets the patches; a probe without any has nothing to do here."""

    def fail(self, error):
        """Tells of the first failure and switches off; the service goes on as if never watched."""
        if not self.on:
            return
        self.on = False
        _log.warning("timesink-otel probe `%s` failed and is off: %r", self.name, error)
        try:
            self.patches.undo()
        except Exception:
            _log.debug("undoing `%s` failed", self.name, exc_info=True)

    def report(self, name, start, end, describe, *seen):
        """Emits a span of the current trace for `[start, end]`, told in `time.monotonic_ns`.

        `describe(*seen)` makes its attributes: only here, so that fast calls never pay for it.
        """
        try:
            attributes = self.user_code.attributes_of_caller()
            attributes.update(describe(*seen))
            self.emitter.emit(name, start, end, attributes)
        except Exception as error:
            self.fail(error)
