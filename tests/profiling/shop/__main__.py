"""Serves for SHOP_SECONDS: a busy event loop in the main thread, a busy and a waiting thread."""

import asyncio
import faulthandler
import os
import signal
import threading
import time

import shop


def work_until(end):
    while time.monotonic() < end:
        shop.hot_loop()
        time.sleep(0.02)


def wait_until(end):
    while time.monotonic() < end:
        shop.blocking_wait(0.5)


async def serve_until(end):
    while time.monotonic() < end:
        shop.block_the_loop()
        await asyncio.sleep(0.01)


def main():
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    if "LINE_PROFILE" in os.environ:
        from line_profiler import profile

        shop.hot_loop = profile(shop.hot_loop)
    end = time.monotonic() + float(os.environ.get("SHOP_SECONDS", "2"))
    # The names that AnyIO and `concurrent.futures` give their threads.
    for target, name in ((work_until, "AnyIO worker thread"), (wait_until, "ThreadPoolExecutor-0_0")):
        threading.Thread(target=target, args=(end,), name=name, daemon=True).start()
    asyncio.run(serve_until(end))


if __name__ == "__main__":
    main()
