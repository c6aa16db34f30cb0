"""The wheel, alone in a clean environment, does what the source tree does."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent

CHECK = """
from importlib.metadata import entry_points, requires
import sys
points = entry_points()
group = points.select(group="opentelemetry_post_instrument") if hasattr(points, "select") else points["opentelemetry_post_instrument"]
(point,) = group
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


def test_wheel_installs_in_a_clean_environment_and_works_through_its_entry_point(tmp_path):
    # Out of a copy: building leaves folders behind.
    source = tmp_path / "source"
    subprocess.run(["cp", "-r", str(ROOT), str(source)], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, source], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", wheel], check=True)
    output = subprocess.run(
        [python, "-c", CHECK], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    from timesink_otel.probes import PROBES

    assert output.stdout.strip() == str(len(PROBES)), output.stderr
