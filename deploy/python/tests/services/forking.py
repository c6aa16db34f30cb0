"""Blocks a loop, forks, blocks a loop in the child.

Both must be told, the child's by its own watchdog.
"""

import asyncio
import os
import sys
import time

from opentelemetry import trace

tracer = trace.get_tracer("app")


async def block(name):
    with tracer.start_as_current_span(name, kind=trace.SpanKind.SERVER):
        time.sleep(0.08)
    # The watchdog judges after the block has ended.
    await asyncio.sleep(0.3)


asyncio.run(block("parent"))
pid = os.fork()
if pid == 0:
    asyncio.run(block("child"))
    trace.get_tracer_provider().force_flush()
    os._exit(0)
os.waitpid(pid, 0)
asyncio.run(block("parent again"))
sys.exit(0)
