#!/usr/bin/env python3
"""Prints what each profiler costs: how many times longer the same work of `shop.work` takes.

Work of three kinds: a loop that calls nothing, a million calls of a small function, and objects made
and dropped. Best of TRIES runs each; the time is the work's own, without start and report.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
KINDS = ("loop", "calls", "objects")
TRIES = int(os.environ.get("TRIES", "5"))
TOOLS = {
    "none": "python -m shop.work",
    "py-spy record": "py-spy record -o out.svg -- python -m shop.work",
    "py-spy record --native": "py-spy record --native -o out.svg -- python -m shop.work",
    "pyinstrument": "pyinstrument -o out.txt -m shop.work",
    "cProfile": "python -m cProfile -o out.prof -m shop.work",
    "yappi": "yappi -c wall -f pstat -o out.prof work.py",
    "line_profiler": "kernprof -l -q -p shop work.py",
    "memray run": "memray run -q -f -o out.bin -m shop.work",
    "tracemalloc": "python -X tracemalloc=10 -m shop.work",
}


def seconds(command, kind, folder):
    """Of the processor, for other programs take the clock's; py-spy pauses, so the clock's there."""
    done = subprocess.run(
        f"{command} {kind}", shell=True, cwd=folder, text=True, capture_output=True, timeout=120
    )
    found = re.search(r"seconds ([0-9.]+) cpu ([0-9.]+)", done.stdout + done.stderr)
    if not found:
        sys.exit(f"`{command} {kind}` printed no seconds: {done.stdout}{done.stderr}")
    return float(found[1]) if "py-spy" in command else float(found[2])


def main():
    os.environ["PYTHONPATH"] = str(HERE)
    best = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "work.py").write_text("import shop.work\n\nshop.work.main()\n")
        for _ in range(TRIES):  # in turn, so that a busy moment of the machine meets all
            for tool, command in TOOLS.items():
                for kind in KINDS:
                    took = seconds(command, kind, folder)
                    best[tool, kind] = min(took, best.get((tool, kind), took))
    print(f"{'tool':24}" + "".join(f"{kind:>9}" for kind in KINDS))
    for tool in TOOLS:
        times = "".join(f"{best[tool, kind] / best['none', kind]:8.2f}x" for kind in KINDS)
        print(f"{tool:24}{times}")


if __name__ == "__main__":
    main()
