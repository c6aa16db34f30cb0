"""The wheel, alone in a clean environment, does what the source tree does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import requires
from pathlib import Path

import pytest

from timesink_otel.probes import PROBES

# Without a path on which the source tree lies: the wheel is to be found.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
ROOT = Path(__file__).parent.parent

CHECK = """
from importlib.metadata import entry_points, requires
import sys
assert sorted(requires("timesink-otel")) == ["opentelemetry-api>=1.20", "opentelemetry-sdk>=1.20"]
points, group = entry_points(), "opentelemetry_post_instrument"
(point,) = points.select(group=group) if hasattr(points, "select") else points[group]
point.load()()
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider()
trace.set_tracer_provider(provider)
span = trace.get_tracer("t").start_span("s")
assert span.attributes["thread.name"] == "MainThread"
assert "site-packages" in sys.modules["timesink_otel"].__file__
print(len(sys.modules["timesink_otel.probes"].PROBES))
"""


# A service that sets up the SDK itself and knows nothing of the companion.
SERVICE = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
for _ in range(2):
    provider = TracerProvider()
    trace.set_tracer_provider(provider)
span = trace.get_tracer("t").start_span("s")
import sys
print(span.attributes.get("thread.name"), sys.modules["timesink_otel"].__file__)
print(sorted(provider.resource.attributes))
"""


# With the oldest SDK that the metadata allows, and nothing else.
OLDEST = """
import asyncio, gc, json, logging, sys, time
logging.basicConfig(level=logging.WARNING)
from importlib.metadata import version
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import timesink_otel
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
timesink_otel.install(provider)
tracer = provider.get_tracer("test")
kept = [[number] for number in range(1_500_000)]

async def main():
    with tracer.start_as_current_span("request", kind=trace.SpanKind.SERVER):
        time.sleep(0.1)
        await asyncio.sleep(0.05)
        gc.collect()
        tracer.start_span("call", kind=trace.SpanKind.CLIENT).end()
        json.dumps([{"id": number} for number in range(60_000)])
    await asyncio.sleep(0.3)

asyncio.run(main())
assert hash(provider.resource) == hash(provider.resource)
spans = {span.name: span for span in exporter.get_finished_spans()}
assert spans["request"].attributes["timesink.event_loop"] is True
assert spans["request"].attributes["timesink.process.first_request"] is True
assert spans["call"].attributes["code.function.name"].endswith("main")
assert all(probe.on for probe in timesink_otel._companion.probes.values())
print(version("opentelemetry-sdk"), *sorted(name for name in spans if name.startswith("timesink")))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return wheel_in(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize("more", [{}, {"OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"}])
def test_resource_detector_loads_the_companion_without_a_change_in_the_code(wheel, tmp_path, more):
    pip("install", "--no-deps", "--target", tmp_path, wheel)
    env = dict(ENVIRONMENT, **more, PYTHONPATH=str(tmp_path))
    env["OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"] = "otel,timesink"
    output = subprocess.run(
        [sys.executable, "-c", SERVICE], capture_output=True, text=True, env=env, timeout=120
    )
    said, resource = output.stdout.splitlines()
    assert said == "MainThread %s" % (tmp_path / "timesink_otel" / "__init__.py"), output.stderr
    assert "service.name" in resource and "timesink" not in resource
    assert "timesink-otel" not in output.stderr


def test_wheel_installs_in_a_clean_environment_and_works_through_its_entry_point(wheel, tmp_path):
    assert wheel.name.endswith("-py3-none-any.whl")
    # The environment of the tests has a pip: one in the new environment would take seconds more.
    venv.create(tmp_path / "clean", with_pip=False)
    python = tmp_path / "clean" / "bin" / "python"
    pip("--python", python, "install", wheel)
    output = subprocess.run(
        [python, "-I", "-c", CHECK], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert output.stdout.strip() == str(len(PROBES)), output.stderr


def test_oldest_sdk_that_the_metadata_allows_works(wheel, tmp_path):
    oldest = [requirement.replace(">=", "==") for requirement in requires("timesink-otel")]
    pip("install", "--target", tmp_path, wheel, *oldest)
    script = tmp_path.parent / "service.py"
    script.write_text(OLDEST)
    # No folder of installed packages but this one.
    output = subprocess.run(
        [sys.executable, "-S", script],
        capture_output=True,
        text=True,
        env=dict(ENVIRONMENT, PYTHONPATH=str(tmp_path)),
        timeout=120,
    )
    told = ["timesink." + name for name in ("event_loop.blocked", "gc.pause", "serialize")]
    assert output.stdout.split() == ["1.20.0", *told], output.stderr
    assert not output.stderr


def wheel_in(folder):
    """Builds from a copy: building leaves folders behind."""
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    pip("wheel", "--no-deps", "-w", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, env=ENVIRONMENT)
