"""Runs a command and records the spans it sends: `record.py OUT.jsonl.gz -- COMMAND...`.

It sets the environment that `timesink run` sets; the exit code is the command's.
"""

import os
import subprocess
import sys

from sink import Sink, write_lines


def main(out, separator, *command):
    assert separator == "--", "usage: record.py OUT.jsonl.gz -- COMMAND..."
    sink = Sink()
    environment = os.environ | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink.http,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    code = subprocess.run(command, check=False, env=environment).returncode
    messages = sink.take()
    sink.close()
    write_lines(out, messages)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
