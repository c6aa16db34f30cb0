"""Puts the parts together: provider, span processor, probes, fork. The way in is `start`."""

from __future__ import annotations

import logging
import os
import weakref

from opentelemetry import trace
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor

from timesink_otel.emitter import Emitter
from timesink_otel.imports import Imports
from timesink_otel.probes import PROBES
from timesink_otel.processor import Processor
from timesink_otel.user_code import UserCode

_log = logging.getLogger("timesink_otel")


class Companion:
    def __init__(self, settings):
        self.settings = settings
        self.emitter = Emitter(settings.spans_per_second_max)
        self.user_code = UserCode(settings.user_packages)
        self.imports = Imports()
        self.probes = {kind.name: kind(self) for kind in PROBES}
        self.processor = Processor(self.probes, settings.detail_per_second_max)
        self._set_tracer_provider = None

    def start(self, tracer_provider=None):
        self._tell_unknown_probes()
        chosen = [probe for name, probe in self.probes.items() if self.settings.runs(name)]
        if not chosen:
            # Not even a processor, so that `none` costs nothing.
            return
        self.imports.start()
        for probe in chosen:
            probe.start()
        _after_fork(self)
        self._attach(tracer_provider or trace.get_tracer_provider())

    def stop(self):
        for probe in self.probes.values():
            probe.stop()
        self.imports.stop()
        # The SDK has no way to take a processor out again: it stays and does nothing.
        self.processor.on = False
        self.processor.forget()
        if self._set_tracer_provider is not None:
            trace._set_tracer_provider = self._set_tracer_provider
            self._set_tracer_provider = None

    def _tell_unknown_probes(self):
        unknown = sorted(self.settings.named_probes() - set(self.probes))
        if unknown:
            known = ", ".join(sorted(self.probes))
            _log.warning("no timesink-otel probe `%s`; there are: %s", "`, `".join(unknown), known)

    def _attach(self, provider):
        add = getattr(provider, "add_span_processor", None)
        if add is not None:
            add(self.processor)
            self.emitter.use(provider)
            # It calls processors in a few threads of its own, and waits for them there.
            processors = getattr(provider, "_active_span_processor", None)
            self.probes["gc"].tells = not isinstance(processors, ConcurrentMultiSpanProcessor)
        else:
            self._wait_for_provider()

    def _wait_for_provider(self):
        """Attaches when the service sets its provider: the API hands out a proxy until then."""
        original = getattr(trace, "_set_tracer_provider", None)
        if original is None:
            _log.warning("timesink-otel is off: call `install` after the tracer provider is set")
            return

        def set_tracer_provider(provider, *args, **kwargs):
            original(provider, *args, **kwargs)
            if self._set_tracer_provider is not None and trace.get_tracer_provider() is provider:
                trace._set_tracer_provider = original
                self._set_tracer_provider = None
                self._attach_silently(provider)

        self._set_tracer_provider = original
        trace._set_tracer_provider = set_tracer_provider

    def _attach_silently(self, provider):
        try:
            self._attach(provider)
        except Exception as error:
            _log.warning("timesink-otel is off: %r", error)

    def forked(self):
        self.processor.forked()
        for name in ("first_request", "event_loop", "gc"):
            self.probes[name].forked()


def _after_fork(companion):
    """A handler cannot be taken back, so it must not keep a stopped companion alive."""
    if hasattr(os, "register_at_fork"):
        reference = weakref.ref(companion)

        def forked():
            alive = reference()
            if alive is not None:
                alive.forked()

        os.register_at_fork(after_in_child=forked)
