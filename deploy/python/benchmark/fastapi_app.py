"""Three queries, a wait of 3 ms, a small JSON response, as a coroutine of FastAPI."""

import asyncio
import sqlite3

from fastapi import FastAPI
from pydantic import BaseModel
from shop import QUERIES, SCHEMA

app = FastAPI()
# autocommit; the loop's thread alone uses it.
connection = sqlite3.connect(":memory:", isolation_level=None)
connection.executescript(SCHEMA)


class Order(BaseModel):
    id: int
    customer: str
    items: list[str]
    total: float


@app.get("/orders/{number}")
async def order(number: int) -> Order:
    customer, items, total = [query(sql, number) for sql in QUERIES]
    await asyncio.sleep(0.003)
    return Order(
        id=number, customer=customer[0][0], items=[name for (name,) in items], total=total[0][0]
    )


def query(sql, number):
    return connection.cursor().execute(sql, (number % 100,)).fetchall()
