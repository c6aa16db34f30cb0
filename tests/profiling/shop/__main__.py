"""Serves for SHOP_SECONDS: a busy event loop in the main thread, one busy and one waiting thread."""

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
    for target in (work_until, wait_until):
        threading.Thread(target=target, args=(end,), name=target.__name__, daemon=True).start()
    asyncio.run(serve_until(end))


if __name__ == "__main__":
    main()
