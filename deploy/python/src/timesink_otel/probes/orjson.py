"""`orjson`: `orjson.dumps` above the floor."""

from __future__ import annotations

from timesink_otel.probe import Probe
from timesink_otel.probes.serialize import serializer


class Orjson(Probe):
    name = "orjson"

    def install(self):
        self.patches.when_imported("orjson", self._patch)

    def _patch(self, orjson):
        self.patches.replace(orjson, "dumps", serializer(self, "orjson.dumps"))
