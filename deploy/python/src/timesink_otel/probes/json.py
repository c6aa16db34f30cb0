"""`json`: `json.dumps` and `json.dump` above the floor."""

from __future__ import annotations

import json

from timesink_otel.probe import Probe
from timesink_otel.probes.serialize import serializer


class Json(Probe):
    name = "json"

    def install(self):
        # `dumps` ends in `encode`, also where a service did `from json import dumps` before us,
        # and also with an encoder class of its own.
        self.patches.replace(json.JSONEncoder, "encode", serializer(self, "json.dumps"))
        self.patches.replace(json, "dump", serializer(self, "json.dump"))
