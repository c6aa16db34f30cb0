#!/usr/bin/env python3
"""Writes what the stall test's reference says of each candidate of each recording.

    python3 stall_instances.py REFERENCE RECORDINGS | gzip -9n > ../data/stall_reference.json.gz

REFERENCE is the path of stall_test.py, RECORDINGS the folder of the labelled recordings. The
reference prints verdicts of places; tests/stall_reference.rs compares verdicts of instances, and so
needs those. Every judgement is the reference's own: this calls its functions as its `analyze` does.
A candidate is [span id, start from its span's start (ns), length (ns), b(locked) c(lear) u(nknown)].
"""

from __future__ import annotations

import collections
import glob
import importlib.util
import json
import os
import sys


def load(path):
    spec = importlib.util.spec_from_file_location("stall_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def owners(reference, trace, children):
    """Yields (span, candidate) for each candidate of a trace."""
    for span in trace:
        for candidate in reference.candidates([span], children):
            yield span, candidate


def instances(reference, path):
    """Yields (span, start, end, verdict) for each candidate of a recording."""
    processes, seen = collections.defaultdict(list), set()
    for s in reference.spans(path):
        if (s["traceId"], s["spanId"]) not in seen:
            seen.add((s["traceId"], s["spanId"]))
            processes[s["process"]].append(s)
    for all_spans in processes.values():
        if not any(map(reference.runs_event_loop, all_spans)):
            continue
        known = {s["spanId"] for s in all_spans}
        children, traces = collections.defaultdict(list), collections.defaultdict(list)
        for s in all_spans:
            traces[s["traceId"]].append(s)
            if s.get("parentSpanId") in known:
                children[s["parentSpanId"]].append(s)
        roots = {t: min(v, key=lambda x: (x.get("parentSpanId") in known, x["b"])) for t, v in traces.items()}
        edges_of = {t: [x["b"] for x in v] + [x["e"] for x in v] for t, v in traces.items()}
        for trace_id, trace in traces.items():
            root = roots[trace_id]
            edges = sorted(x for t, r in roots.items()
                           if t != trace_id and r["e"] > root["b"] and r["b"] < root["e"] for x in edges_of[t])
            for span, (a, b, _, is_gap) in owners(reference, trace, children):
                yield span, a, b, reference.instance(a, b, edges, is_gap)


def main(reference_path, folder):
    reference = load(reference_path)
    recordings = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.jsonl.gz"))):
        found = [[span["spanId"], a - span["b"], b - a, verdict[0]]
                 for span, a, b, verdict in instances(reference, path)]
        if found:
            recordings[os.path.basename(path)] = sorted(found)
    json.dump({"by": "tests/reference/stall_instances.py", "recordings": recordings}, sys.stdout,
              separators=(",", ":"), sort_keys=True)
    print()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
