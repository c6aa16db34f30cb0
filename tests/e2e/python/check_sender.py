"""Sends recordings through both exporters into a sink and prints every difference from the input.

    check_sender.py FILE...

One line a file and transport; exits with 1 if a difference was found. Compared is each span with
its resource and scope, whatever the batch it travels in: attributes in their order with their
types, events, links, status, flags, times, counts and schema URLs.
"""

import collections
import json
import subprocess
import sys
from pathlib import Path

from send_recording import read_messages
from sink import Sink

SENDER = Path(__file__).with_name("send_recording.py")
EMPTY = (None, "", 0, "0", [], {})


def main(*files):
    sink = Sink()
    different = 0
    for protocol, endpoint in (("grpc", sink.grpc), ("http", sink.http)):
        for compression in ("none", "gzip"):
            for file in files:
                command = [sys.executable, SENDER, "--endpoint", endpoint, file]
                command += ["--protocol", protocol, "--compression", compression]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                sent, got = spans(read_messages(file)), spans(sink.take())
                found = differences(sent, got)
                different += sum(found.values())
                report = {"file": file, "protocol": protocol, "compression": compression}
                report |= {"spans": len(got), "differences": found}
                print(json.dumps(report), flush=True)
    sink.close()
    return 1 if different else 0


def spans(messages):
    """Returns the spans by id, with resource and scope; a span sent twice is a list of two."""
    found = collections.defaultdict(list)
    for message in messages:
        for resource_spans in message.get("resourceSpans", []):
            for scope_spans in resource_spans.get("scopeSpans", []):
                for span in scope_spans.get("spans", []):
                    found[span["traceId"], span["spanId"]].append(
                        {
                            "span": span,
                            "scope": scope_spans.get("scope", {}),
                            "scope_schema_url": scope_spans.get("schemaUrl"),
                            "resource": resource_spans.get("resource", {}),
                            "resource_schema_url": resource_spans.get("schemaUrl"),
                        }
                    )
    return found


def differences(sent, got):
    """Counts the places that differ, by path, the first example of each in the key."""
    counts = collections.Counter()
    examples = {}
    for key in sent.keys() | got.keys():
        for path, before, after in diff("", sent.get(key, []), got.get(key, [])):
            counts[path] += 1
            examples.setdefault(path, f"{path}: {before!r} became {after!r}"[:200])
    return {examples[path]: count for path, count in sorted(counts.items())}


def diff(path, before, after):
    if path.endswith(".value"):  # a oneof: an empty text is not an empty value
        if before != after:
            yield path, before, after
        return
    if before in EMPTY and after in EMPTY:
        return  # absent and default are the same in protobuf
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() | after.keys():
            yield from diff(f"{path}.{key}", before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after):
            yield from diff(f"{path}[]", one, other)
    elif before != after:
        yield path, before, after


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
