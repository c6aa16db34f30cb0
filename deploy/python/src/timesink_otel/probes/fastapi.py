"""`fastapi`: the validation and serialization of a response by its `response_model`."""

from __future__ import annotations

from inspect import iscoroutinefunction

from timesink_otel.probe import Probe
from timesink_otel.probes.serialize import async_serializer


class FastApi(Probe):
    name = "fastapi"

    def install(self):
        self.patches.when_imported("fastapi.routing", self._patch)

    def _patch(self, routing):
        if iscoroutinefunction(getattr(routing, "serialize_response", None)):
            self.patches.replace(routing, "serialize_response", async_serializer(self, "fastapi"))
