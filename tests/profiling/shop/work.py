"""Says how many seconds one kind of work takes, whoever looks on: `python -m shop.work loop`."""

import sys
import time

import shop


def loop():
    for _ in range(20):
        shop.hot_loop(500_000)


def calls():
    for _ in range(100):
        shop.small_calls()


def objects():
    for _ in range(50):
        shop.pack_without_zlib()


def main():
    kind = {"loop": loop, "calls": calls, "objects": objects}[sys.argv[1]]
    begin = time.perf_counter()
    kind()
    print(f"seconds {time.perf_counter() - begin:.4f}", flush=True)


if __name__ == "__main__":
    main()
