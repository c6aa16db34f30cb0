"""What the environment says: which probes run, from which duration on they report, how much."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import FrozenSet, Mapping, Tuple

_log = logging.getLogger("timesink_otel")

# A block of 20 ms is what a person notices at the percentiles once requests queue behind it, and
# twice what a busy two-core machine's scheduler does to an innocent loop.
BLOCKED_MILLIS_MIN = 20.0
# Timesink's rules look at tails of 20 ms; a quarter of that can still add up in one request.
SERIALIZE_MILLIS_MIN = 5.0
# A hand-over between threads takes up to the interpreter's switch interval of 5 ms under load.
WAIT_MILLIS_MIN = 5.0
GC_MILLIS_MIN = 5.0
IMPORT_MILLIS_MIN = 5.0
# A service that crosses a floor in every request must not double its spans.
SPANS_PER_SECOND_MAX = 50.0
# So many requests of a name are enough to know its lines and its threads.
DETAIL_PER_SECOND_MAX = 2


@dataclass(frozen=True)
class Settings:
    """Floors in nanoseconds; `only` is None when every probe may run."""

    only: FrozenSet[str] | None = None
    without: FrozenSet[str] = frozenset()
    blocked_nanos_min: int = int(BLOCKED_MILLIS_MIN * 1e6)
    serialize_nanos_min: int = int(SERIALIZE_MILLIS_MIN * 1e6)
    wait_nanos_min: int = int(WAIT_MILLIS_MIN * 1e6)
    gc_nanos_min: int = int(GC_MILLIS_MIN * 1e6)
    import_nanos_min: int = int(IMPORT_MILLIS_MIN * 1e6)
    spans_per_second_max: float = SPANS_PER_SECOND_MAX
    detail_per_second_max: float = DETAIL_PER_SECOND_MAX
    user_packages: Tuple[str, ...] = field(default=())

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        only, without = _parse_probes(environment.get("TIMESINK_PROBES", ""))

        def nanos(name, default):
            return int(_number(environment, name, default) * 1e6)

        return cls(
            only=only,
            without=without,
            blocked_nanos_min=nanos("TIMESINK_BLOCKED_MILLIS_MIN", BLOCKED_MILLIS_MIN),
            serialize_nanos_min=nanos("TIMESINK_SERIALIZE_MILLIS_MIN", SERIALIZE_MILLIS_MIN),
            wait_nanos_min=nanos("TIMESINK_WAIT_MILLIS_MIN", WAIT_MILLIS_MIN),
            gc_nanos_min=nanos("TIMESINK_GC_MILLIS_MIN", GC_MILLIS_MIN),
            import_nanos_min=nanos("TIMESINK_IMPORT_MILLIS_MIN", IMPORT_MILLIS_MIN),
            spans_per_second_max=_number(
                environment, "TIMESINK_SPANS_PER_SECOND_MAX", SPANS_PER_SECOND_MAX
            ),
            detail_per_second_max=_number(
                environment, "TIMESINK_DETAIL_PER_SECOND_MAX", DETAIL_PER_SECOND_MAX
            ),
            user_packages=_names(environment.get("TIMESINK_USER_PACKAGES", "")),
        )

    def runs(self, probe: str) -> bool:
        """Tells whether the probe of this name is to run."""
        if probe in self.without:
            return False
        return self.only is None or probe in self.only

    def named_probes(self) -> FrozenSet[str]:
        """Returns every name that `TIMESINK_PROBES` held, so that a misspelt one can be told."""
        return (self.only or frozenset()) | self.without


def _parse_probes(text):
    """`a,b` runs these; `-a` all but this; `none` nothing. What is left out wins."""
    names = _names(text)
    without = frozenset(name[1:] for name in names if name.startswith("-"))
    only = frozenset(name for name in names if not name.startswith("-"))
    if "none" in only:
        return frozenset(), without
    return (only or None), without


def _names(text):
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _number(environment, name, default):
    text = environment.get(name)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    # `not 0 < number` also refuses `nan`.
    if not 0 < number < 1e9:
        _log.warning("`%s` must be a number above 0, not `%s`; using %s", name, text, default)
        return default
    return number
