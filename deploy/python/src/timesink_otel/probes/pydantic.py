"""`pydantic`: `model_dump` and `model_dump_json` (version 2), `dict` and `json` (version 1)."""

from __future__ import annotations

from timesink_otel.probe import Probe
from timesink_otel.probes.serialize import serializer


class Pydantic(Probe):
    name = "pydantic"

    def install(self):
        self.patches.when_imported("pydantic.main", self._patch)

    def _patch(self, main):
        model = main.BaseModel
        version_2 = hasattr(model, "model_dump")
        for method in ("model_dump", "model_dump_json") if version_2 else ("dict", "json"):
            self.patches.replace(model, method, serializer(self, "pydantic." + method))
