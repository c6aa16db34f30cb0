"""`fastapi`: the validation and serialization of a response by its `response_model`.

What a `def` endpoint returns is validated in a thread, for which the request waits: that is told
from inside of the thread, and the wait is not.
"""

from __future__ import annotations

import functools
import inspect
import sys

from timesink_otel.probe import Probe
from timesink_otel.probes.serialize import async_serializer, serializer


class FastApi(Probe):
    name = "fastapi"

    def install(self):
        self.patches.when_imported("fastapi.routing", self._patch)

    def _patch(self, routing):
        serialize = getattr(routing, "serialize_response", None)
        if inspect.iscoroutinefunction(serialize):
            code = inspect.unwrap(serialize).__code__
            self.patches.replace(routing, "serialize_response", async_serializer(self, "fastapi"))
            wrap = functools.partial(self._telling_from_inside, code)
            self.patches.replace(routing, "run_in_threadpool", wrap)

    def _telling_from_inside(self, code, original):
        """Has the thread tell what it runs for the function of this code: endpoints run so, too."""
        validate = serializer(self, "fastapi")(_call)

        @functools.wraps(original)
        def run_in_threadpool(func, *args, **kwargs):
            if self.on and sys._getframe(1).f_code is code:
                return original(validate, func, *args, **kwargs)
            return original(func, *args, **kwargs)

        return run_in_threadpool


def _call(func, *args, **kwargs):
    return func(*args, **kwargs)
