"""Says how many seconds one kind of work takes, whoever looks on: `python -m shop.work loop`."""

import os
import sys
import time

import shop

# A test that only asks whether all runs does a part of it.
PORTION = float(os.environ.get("PORTION", "1"))


def times(count):
    return max(1, round(count * PORTION))


def loop():
    for _ in range(times(5)):
        shop.hot_loop(500_000)


def calls():
    for _ in range(times(20)):
        shop.small_calls()


def objects():
    for _ in range(times(8)):
        shop.pack_without_zlib()


def main():
    kind = {"loop": loop, "calls": calls, "objects": objects}[sys.argv[1]]
    wall, cpu = time.perf_counter(), time.process_time()
    kind()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"seconds {wall:.4f} cpu {cpu:.4f}", flush=True)


if __name__ == "__main__":
    main()
