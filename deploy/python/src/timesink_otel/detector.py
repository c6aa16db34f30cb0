"""Loads the companion where the SDK asks for the process's resource: no change in the code.

`OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=otel,timesink` names it, also for a service that sets up the
SDK itself. It is asked in a thread of the SDK's, before there is a tracer provider.
"""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource, ResourceDetector

import timesink_otel


class Detector(ResourceDetector):
    def detect(self):
        timesink_otel.install()
        return Resource.get_empty()
