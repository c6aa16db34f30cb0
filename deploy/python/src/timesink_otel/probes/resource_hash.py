"""`resource_hash`: remembers the hash of a resource, and tells nothing.

The exporter groups spans by resource, and the SDK's `Resource.__hash__` encodes all attributes as
JSON each time: for every span that is sent, in the exporter's thread, while requests wait for the
interpreter. A resource never changes (OpenTelemetry specification, "Resource SDK"), so its hash is
what it was. That takes more from the exporter than this package's attributes give it to do.
"""

from __future__ import annotations

import contextlib
import functools

from opentelemetry.sdk.resources import Resource

from timesink_otel.probe import Probe


class ResourceHash(Probe):
    name = "resource_hash"

    def install(self):
        self.patches.replace(Resource, "__hash__", _remembering)


def _remembering(original):
    @functools.wraps(original)
    def __hash__(resource):
        try:
            return resource._timesink_hash
        except AttributeError:
            known = original(resource)
            # A subclass may refuse: then nothing is remembered.
            with contextlib.suppress(Exception):
                resource._timesink_hash = known
            return known

    return __hash__
