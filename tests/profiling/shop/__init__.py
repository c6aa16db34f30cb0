"""A service whose hot spots are known: what each profiler of docs/profiling.md has to find."""

import json
import threading
import time
import zlib

ORDERS = []
CLOSED = threading.Event()


def hot_loop(rounds=400_000):
    """Is pure Python: the widest box of every profile of CPU time."""
    total = 0
    for number in range(rounds):
        total += number * number % 7
    return total


def small_calls(calls=100_000):
    """Calls much and does little: what a tracing profiler makes look dear."""
    return sum(one_small_call(number) for number in range(calls))


def one_small_call(number):
    return number & 1


def row(number=1):
    return {"id": number, "name": f"item {number}", "price": number * 1.19}


def render(one_row):
    return ", ".join(f"{key}={value}" for key, value in one_row.items())


def pack(rows=4_000):
    """Is native code: zlib lets go of the GIL, json does not."""
    return zlib.compress(json.dumps([row(number) for number in range(rows)]).encode() * 4, 9)


def pack_without_zlib(rows=10_000):
    """Allocates: what a memory profiler makes dear."""
    return json.loads(json.dumps([row(number) for number in range(rows)]))


class Order:
    """What grows."""

    def __init__(self, page):
        self.page = page


def grow(orders=5):
    """Keeps what it allocates, up to a limit that a test does not reach in its few seconds."""
    for _ in range(orders if len(ORDERS) < 400 else 0):
        ORDERS.append(Order(bytearray(400_000)))


def blocking_wait(seconds=0.02):
    """Waits in a thread, and does nothing else."""
    CLOSED.wait(seconds)


def serve_one():
    grow()
    hot_loop()
    pack()
    blocking_wait()


def serve_some_requests(count=20):
    for _ in range(count):
        grow()
        blocking_wait(0.001)


def block_the_loop():
    """What an `async def` must not do."""
    serve_one()
    time.sleep(0.1)
