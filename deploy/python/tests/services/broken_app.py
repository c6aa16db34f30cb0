"""The FastAPI service, with probes that raise whatever they do."""

from fastapi_app import app  # noqa: F401

import timesink_otel


class Broken:
    def __getattr__(self, name):
        raise RuntimeError("broken on purpose")


for probe in timesink_otel._companion.probes.values():
    assert probe.on, probe.name
    probe.emitter = probe.user_code = probe.settings = Broken()
