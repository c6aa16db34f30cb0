"""Direct evidence for timesink, as attributes and spans of the OpenTelemetry SDK.

`opentelemetry-instrument` calls `install` by itself; a service that configures the SDK in its
own code calls it once, before or after it sets its tracer provider, or names the resource detector
`timesink`.
"""

from __future__ import annotations

import logging
import threading

from timesink_otel.companion import Companion
from timesink_otel.settings import Settings

__all__ = ["install", "uninstall"]

_log = logging.getLogger("timesink_otel")
_companion = None
# The SDK asks for the resource in threads of its own.
_installing = threading.Lock()


def install(tracer_provider=None):
    """Starts the probes that `TIMESINK_PROBES` names, all by default; a second call does nothing.

    Without `tracer_provider` the global one is used, also when it is set later.
    """
    # To ask for the provider may make one, which asks for the resource, which comes here again.
    if not _installing.acquire(blocking=False):
        return
    try:
        _install(tracer_provider)
    except Exception as error:
        # The service must come up whatever happens here.
        _log.warning("timesink-otel is off: %r", error)
    finally:
        _installing.release()


def _install(tracer_provider):
    global _companion
    if _companion is None:
        _companion = Companion(Settings.from_environment())
        _companion.start(tracer_provider)


def uninstall():
    """Undoes every patch and stops the watchdog; spans get no further attributes."""
    global _companion
    if _companion is not None:
        _companion.stop()
        _companion = None
