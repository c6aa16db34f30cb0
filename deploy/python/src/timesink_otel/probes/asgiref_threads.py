"""`asgiref_threads`: waits for the one thread on which `sync_to_async` runs a request's code."""

from __future__ import annotations

from time import monotonic_ns

from opentelemetry import context

from timesink_otel.probe import Probe
from timesink_otel.probes.anyio_threads import NAME


class AsgirefThreads(Probe):
    name = "asgiref_threads"

    def install(self):
        self.patches.when_imported("asgiref.sync", self._patch)

    def _patch(self, sync):
        self.patches.replace(sync.SyncToAsync, "thread_handler", lambda h: _Handler(self, h))

    def started(self, submitted, submitter):
        started = monotonic_ns()
        if self.on and self.settings.wait_nanos_min <= started - submitted:
            try:
                attributes = {"timesink.thread_pool.library": "asgiref"}
                self.emitter.emit(NAME, submitted, started, attributes, submitter)
            except Exception as error:
                self.fail(error)


class _Handler:
    """Stands for the method `thread_handler`.

    asgiref looks the method up where it submits the call and runs it in the thread: the look-up
    is the moment of submission, whatever arguments the version at hand passes.
    """

    def __init__(self, probe, original):
        self._probe = probe
        self._original = original

    def __get__(self, instance, owner=None):
        handler = self._original.__get__(instance, owner)
        probe = self._probe
        if instance is None or not probe.on:
            return handler
        submitted, submitter = monotonic_ns(), context.get_current()

        def thread_handler(*args, **kwargs):
            probe.started(submitted, submitter)
            return handler(*args, **kwargs)

        return thread_handler
