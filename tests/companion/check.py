"""Reads the recordings and says how far each keeps its label: `check.py [--spans] [NAME...]`.

A line a case and kind of span. `hits` are the requests with a span of the kind that names a
labelled line; a root is its request's by time. Exits with 1 when a case does not keep its label.
"""

import collections
import csv
import gzip
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
KINDS = {
    "blocked": "timesink.event_loop.blocked",
    "serialize": "timesink.serialize",
    "pool-wait": "timesink.pool.wait",
    "thread-pool-wait": "timesink.thread_pool.wait",
}
# The first requests find a free connection or thread.
HITS_MIN = {"pool-wait": 0.5, "thread-pool-wait": 0.5}
SERIALIZE_NANOS_MIN = 20_000_000
SERVER, CLIENT = 2, 3
COLUMNS = "%-34s %-16s %4s/%-4s %5s %5s %5s %5s %5s  %-22s %s"
HEADER = ("case", "kind", "hits", "of", "spans", "right", "wrong", "bare", "roots")
HEADER += ("least..median..most ms", "others")


def main(arguments):
    names = [argument for argument in arguments if not argument.startswith("--")]
    with open(HERE / "labels.csv", newline="") as file:
        labels = [row for row in csv.DictReader(file) if not names or row["case"] in names]
    print(COLUMNS % HEADER)
    kept = [check(label, "--spans" in arguments) for label in labels]
    print("%d of %d cases keep their label" % (sum(kept), len(kept)))
    return 0 if all(kept) else 1


def check(label, shown):
    spans = read(HERE / "recordings" / label["file"])
    requests = [span for span in spans if span["kind"] == SERVER]
    expected = label["expected"].split("+")
    all_kept = True
    for kind, name in KINDS.items():
        found = [span for span in spans if span["name"] == name]
        wanted = kind in expected
        if not found and not wanted and (kind, expected) != ("blocked", ["none"]):
            continue
        places = [place(span) for span in found]
        right = [is_right(label, where) for where in places]
        bare = [where is None for where in places]
        wrong = [not good and not none for good, none in zip(right, bare)]
        hit = {id(request_of(span, requests)) for span, good in zip(found, right) if good}
        hits = len(hit - {id(None)})
        if wanted:
            least = len(requests) * HITS_MIN.get(kind, 1)
            kept = least <= hits and not any(wrong)
        else:
            kept = kind == label["may"] or all(
                is_cold(span, requests) or is_small(span, spans) for span in found
            )
        all_kept &= kept
        roots = sum(not span.get("parentSpanId") for span in found)
        others = collections.Counter(
            describe(span, requests) for span, good in zip(found, right) if not good or not wanted
        )
        named = kind if wanted else "(%s)" % kind
        numbers = (hits, len(requests), len(found), sum(right), sum(wrong), sum(bare), roots)
        told = "; ".join("%d x %s" % (n, what) for what, n in others.items())
        told = told if kept else "NOT KEPT " + told
        print(COLUMNS % (label["case"], named, *numbers, spread(found), told))
        if shown:
            for span in found:
                print("    ", span["millis"], span["attributes"])
    return all_kept


def is_right(label, where):
    """Without a labelled line no line of the user's code is at fault."""
    if not label["code_file"]:
        return where is None
    return (
        where is not None
        and where[0] == label["code_file"]
        and str(where[1]) in label["code_lines"].split()
    )


def describe(span, requests):
    where = place(span)
    where = (
        "%s:%s" % where if where else "bare in %s" % span["attributes"].get("timesink.callee", "?")
    )
    return where + (" (cold)" if is_cold(span, requests) else "")


def is_cold(span, requests):
    """While the first request of a process runs, which imports and connects."""
    first = [r for r in requests if r["attributes"].get("timesink.process.first_request")]
    return any(span["start"] < request["end"] for request in first)


def is_small(span, spans):
    """A serialization of which less than what rules look at is its own, and no call's."""
    if span["name"] != KINDS["serialize"]:
        return False
    own = span["end"] - span["start"]
    until = span["start"]
    for call in sorted((s for s in spans if s["kind"] == CLIENT), key=lambda call: call["start"]):
        if call["traceId"] == span["traceId"]:
            start, end = max(call["start"], until), min(call["end"], span["end"])
            own -= max(end - start, 0)
            until = max(until, end)
    return own < SERIALIZE_NANOS_MIN


def request_of(span, requests):
    for request in requests:
        if request["traceId"] == span["traceId"]:
            return request
    overlapping = [r for r in requests if r["start"] < span["end"] and span["start"] < r["end"]]
    return overlapping[0] if overlapping else None


def place(span):
    attributes = span["attributes"]
    if "code.file.path" not in attributes:
        return None
    return attributes["code.file.path"], attributes.get("code.line.number")


def spread(spans):
    millis = sorted(span["millis"] for span in spans)
    return "%.0f..%.0f..%.0f" % (millis[0], millis[len(millis) // 2], millis[-1]) if millis else ""


def read(path):
    with gzip.open(path, "rt") as lines:
        return [
            plain(span, scope["scope"]["name"])
            for line in lines
            for resource in json.loads(line)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]


def plain(span, scope):
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    attributes = {pair["key"]: value(pair["value"]) for pair in span.get("attributes", [])}
    more = {"attributes": attributes, "scope": scope, "start": start, "end": end}
    return span | more | {"millis": (end - start) / 1e6}


def value(any_value):
    kind, content = next(iter(any_value.items()))
    return int(content) if kind == "intValue" else content


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
