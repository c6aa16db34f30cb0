"""The wheel, alone in a clean environment, does what the source tree does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
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
