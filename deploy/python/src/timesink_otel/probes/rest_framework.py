"""`rest_framework`: Django REST framework's `serializer.data` above the floor.

`data` runs the serializer's queries too when they are lazy: those have spans of their own inside.
"""

from __future__ import annotations

import functools

from timesink_otel.probe import Probe
from timesink_otel.probes.serialize import serializer


class RestFramework(Probe):
    name = "rest_framework"

    def install(self):
        self.patches.when_imported("rest_framework.serializers", self._patch)

    def _patch(self, serializers):
        wrap = functools.partial(_property, serializer(self, "rest_framework"))
        for name in ("BaseSerializer", "Serializer", "ListSerializer"):
            owner = getattr(serializers, name, None)
            if owner is not None:
                self.patches.replace(owner, "data", wrap)


def _property(wrap, original):
    if not isinstance(original, property):
        return original
    return property(wrap(original.fget), original.fset, original.fdel, original.__doc__)
