"""FastAPI with pools of `POOL` connections: too few for several clients, or enough."""

import contextlib
import os
import time

import anyio.to_thread
import asyncpg
from fastapi import FastAPI
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from shop.settings import POSTGRES, millis

SIZE = int(os.environ["POOL"])
SLOW = text("SELECT pg_sleep(:seconds)")
NAME = text("SELECT name FROM customers WHERE id = :id")

engine = create_engine(
    POSTGRES.replace("postgresql:", "postgresql+psycopg2:"), pool_size=SIZE, max_overflow=0
)
async_engine = create_async_engine(
    POSTGRES.replace("postgresql:", "postgresql+asyncpg:"), pool_size=SIZE, max_overflow=0
)


@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.db = await asyncpg.create_pool(POSTGRES, min_size=1, max_size=SIZE)
    if "THREADS" in os.environ:
        anyio.to_thread.current_default_thread_limiter().total_tokens = int(os.environ["THREADS"])
    yield
    await app.state.db.close()


app = FastAPI(lifespan=lifespan)


@app.get("/sqlalchemy/{order_id}")
def with_sqlalchemy(order_id: int):
    with engine.connect() as connection:  # WAITS sqlalchemy
        connection.execute(SLOW, {"seconds": millis(order_id) / 2000})
        return {"name": connection.execute(NAME, {"id": order_id}).scalar()}


@app.get("/sqlalchemy_async/{order_id}")
async def with_sqlalchemy_async(order_id: int):
    async with async_engine.connect() as connection:  # WAITS sqlalchemy_async
        await connection.execute(SLOW, {"seconds": millis(order_id) / 2000})
        return {"name": (await connection.execute(NAME, {"id": order_id})).scalar()}


@app.get("/asyncpg/{order_id}")
async def with_asyncpg(order_id: int):
    async with app.state.db.acquire() as connection:  # WAITS asyncpg
        await connection.execute("SELECT pg_sleep($1)", millis(order_id) / 2000)
        return {
            "name": await connection.fetchval("SELECT name FROM customers WHERE id = $1", order_id)
        }


@app.get("/threads/{order_id}")
def with_threads(order_id: int):
    time.sleep(millis(order_id) / 2000)
    return {"id": order_id}
