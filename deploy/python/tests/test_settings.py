"""What the environment says: each variable of the README, through what it changes."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import re
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy

import timesink_otel
from support import BLOCKED
from timesink_otel.probes import PROBES
from timesink_otel.settings import Settings

README = (Path(__file__).parent.parent / "README.md").read_text()


def block(recorded):
    async def main():
        with recorded.tracer.start_as_current_span("request"):
            time.sleep(0.1)
        # The watchdog judges after the block has ended.
        await asyncio.sleep(0.2)

    asyncio.run(main())


def wait(recorded):
    pool = sqlalchemy.pool.QueuePool(Connection, pool_size=1, max_overflow=0)
    taken = pool.connect()
    threading.Timer(0.1, taken.close).start()
    pool.connect().close()


class Connection:
    def rollback(self):
        pass

    def close(self):
        pass


def serialize(recorded):
    with recorded.tracer.start_as_current_span("request"):
        json.dumps([{"id": number} for number in range(100_000)])


def collect(recorded):
    kept = [[number] for number in range(1_000_000)]
    with recorded.tracer.start_as_current_span("request"):
        gc.collect()
    assert kept


def load(recorded):
    with recorded.tracer.start_as_current_span("request"):
        importlib.import_module("slow_to_import")


FLOORS = {
    "TIMESINK_BLOCKED_MILLIS_MIN": (block, BLOCKED),
    "TIMESINK_WAIT_MILLIS_MIN": (wait, "timesink.pool.wait"),
    "TIMESINK_SERIALIZE_MILLIS_MIN": (serialize, "timesink.serialize"),
    "TIMESINK_GC_MILLIS_MIN": (collect, "timesink.gc.pause"),
    "TIMESINK_IMPORT_MILLIS_MIN": (load, "timesink.import"),
}


@pytest.mark.parametrize("is_raised", [False, True])
@pytest.mark.parametrize("variable", FLOORS)
def test_only_what_reaches_its_floor_is_told(recorded, monkeypatch, tmp_path, variable, is_raised):
    work, name = FLOORS[variable]
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.05)\n")
    monkeypatch.syspath_prepend(tmp_path)
    if is_raised:
        monkeypatch.setenv(variable, "100000")
    timesink_otel.install(recorded.provider)
    try:
        work(recorded)
    finally:
        timesink_otel.uninstall()
        sys.modules.pop("slow_to_import", None)
    told = recorded.named(name)
    assert bool(told) is not is_raised
    assert {span.kind.name for span in told} <= {"INTERNAL"}
    assert {span.instrumentation_scope.name for span in told} <= {"timesink_otel"}


def test_user_packages_are_a_list_of_names():
    settings = Settings.from_environment({"TIMESINK_USER_PACKAGES": "shop, billing"})
    assert settings.user_packages == ("shop", "billing")


def test_readme_has_each_variable_with_its_default_and_each_probe():
    defaults = Settings()
    written = dict(re.findall(r"^\| `(TIMESINK_\w+)` \| (\w+) \|", README, re.M))
    assert written == {
        "TIMESINK_PROBES": "all",
        "TIMESINK_BLOCKED_MILLIS_MIN": "%d" % (defaults.blocked_nanos_min / 1e6),
        "TIMESINK_WAIT_MILLIS_MIN": "%d" % (defaults.wait_nanos_min / 1e6),
        "TIMESINK_SERIALIZE_MILLIS_MIN": "%d" % (defaults.serialize_nanos_min / 1e6),
        "TIMESINK_GC_MILLIS_MIN": "%d" % (defaults.gc_nanos_min / 1e6),
        "TIMESINK_IMPORT_MILLIS_MIN": "%d" % (defaults.import_nanos_min / 1e6),
        "TIMESINK_DETAIL_PER_SECOND_MAX": "%d" % defaults.detail_per_second_max,
        "TIMESINK_SPANS_PER_SECOND_MAX": "%d" % defaults.spans_per_second_max,
        "TIMESINK_USER_PACKAGES": "none",
    }
    for probe in PROBES:
        assert "`%s`" % probe.name in README, probe.name
