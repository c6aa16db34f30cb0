"""Ways to block an event loop for about 60 ms, and their twins that do not."""

import asyncio
import json
import os
import sqlite3
import time

import aiosqlite
import httpx
import requests

ROWS = [{"id": i, "name": "x" * 20} for i in range(60_000)]
COUNT = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600000)
SELECT count(*) FROM n
"""


def spin(seconds=0.06):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(100))  # spin


async def sleep():
    time.sleep(0.06)  # sleep


async def call():
    requests.get(os.environ["UPSTREAM"])  # call


async def query():
    connection = sqlite3.connect(":memory:")
    connection.cursor().execute(COUNT)  # query
    connection.close()


async def cpu():
    spin()


async def encode():
    """Returns how much of its time the machine let it compute, from 0 to 1."""
    computed, started = time.thread_time(), time.perf_counter()
    json.dumps(ROWS)  # encode
    return (time.thread_time() - computed) / (time.perf_counter() - started)


async def after_await():
    await asyncio.sleep(0.03)
    time.sleep(0.06)  # after_await


async def sleep_twin():
    await asyncio.sleep(0.06)


# One client for all: making one loads the certificates, some 30 ms of block a request.
CLIENT = httpx.AsyncClient()


async def call_twin():
    await CLIENT.get(os.environ["UPSTREAM"])


# One for all as well: making one starts a thread, for which the loop waits long on a busy machine.
CONNECTIONS = []


async def query_twin():
    if not CONNECTIONS:
        CONNECTIONS.append(await aiosqlite.connect(":memory:"))
    await CONNECTIONS[0].execute_fetchall(COUNT)


async def close():
    """Ends the connection's thread, without which the process does not end."""
    for connection in CONNECTIONS:
        await connection.close()


async def cpu_twin():
    await asyncio.to_thread(spin)


async def encode_twin():
    await asyncio.to_thread(json.dumps, ROWS)


async def thread_twin():
    await asyncio.to_thread(time.sleep, 0.06)


CULPRITS = {
    "sleep": "sleep",
    "call": "call",
    "query": "query",
    "cpu": "spin",
    "encode": "encode",
    "after_await": "after_await",
}
TWINS = ["sleep_twin", "call_twin", "query_twin", "cpu_twin", "encode_twin", "thread_twin"]
