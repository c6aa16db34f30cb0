"""Blocks its loop with psycopg2, and its twins that wait for the same query and do not."""

import asyncio
import os

import asyncpg
import psycopg2
import uvloop  # noqa: F401  A service that cannot run on uvloop would run on asyncio in silence.
from fastapi import FastAPI

DSN = os.environ["TESTED_DSN"]
SLEEP = "SELECT pg_sleep(0.06)"

app = FastAPI()


def query():
    connection = psycopg2.connect(DSN)
    with connection.cursor() as cursor:
        cursor.execute(SLEEP)  # psycopg2
    connection.close()


@app.get("/psycopg2")
async def blocking():
    query()
    return {}


@app.get("/psycopg2_twin")
async def in_thread():
    await asyncio.to_thread(query)
    return {}


@app.get("/asyncpg_twin")
async def asynchronous():
    connection = await asyncpg.connect(os.environ["TESTED_URL"])
    await connection.execute(SLEEP)
    await connection.close()
    return {}
