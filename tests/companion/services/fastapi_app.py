"""FastAPI: ways to block the loop for 40 to 120 ms, and twins that do the same beside it."""

import asyncio
import contextlib
import json
import sqlite3
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal

import asyncpg
import httpx
import psycopg2
import requests
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from shop import postgres, pricing, rates, reports
from shop.settings import CUSTOMER, POSTGRES, REPORT, SQLITE, STOCK, millis, rates_url, report_rows


@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.db = await asyncpg.create_pool(POSTGRES, min_size=2, max_size=10)
    app.state.http = httpx.AsyncClient()
    app.state.threads = ThreadPoolExecutor(4)
    app.state.processes = ProcessPoolExecutor(1)
    app.state.processes.submit(millis, 1).result()
    app.state.psycopg2 = psycopg2.connect(POSTGRES)
    app.state.psycopg2.autocommit = True
    yield
    app.state.processes.shutdown()
    await app.state.http.aclose()
    await app.state.db.close()


app = FastAPI(lifespan=lifespan)


async def customer(order_id):
    return dict(await app.state.db.fetchrow(CUSTOMER, order_id))


async def stock(order_id):
    return dict(await app.state.db.fetchrow(STOCK, order_id))


# What blocks.


@app.get("/requests/{order_id}")
async def with_requests(order_id: int):
    who = await customer(order_id)
    rate = requests.get(rates_url(order_id), timeout=10).json()  # BLOCKS requests
    return {**who, **await stock(order_id), "rate": rate}


@app.get("/requests_helper/{order_id}")
async def with_requests_helper(order_id: int):
    who = await customer(order_id)
    return {**who, "rate": rates.fetch(order_id)}


@app.get("/sleep/{order_id}")
async def with_sleep(order_id: int):
    who = await customer(order_id)
    time.sleep(millis(order_id) / 1000)  # BLOCKS sleep
    return who


@app.get("/retry/{order_id}")
async def with_retry(order_id: int):
    who = await customer(order_id)
    rates.retry(order_id)
    return who


@app.get("/sqlite/{order_id}")
async def with_sqlite(order_id: int):
    who = await customer(order_id)
    with contextlib.closing(sqlite3.connect(SQLITE)) as connection:
        cursor = connection.cursor()
        cursor.execute(REPORT, (report_rows(order_id),))  # BLOCKS sqlite
        best = cursor.fetchmany(3)
    return {**who, "best": best}


@app.get("/psycopg2/{order_id}")
async def with_psycopg2(order_id: int):
    who = await customer(order_id)
    with app.state.psycopg2.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", (millis(order_id) / 1000,))  # BLOCKS psycopg2
    return {**who, **await stock(order_id)}


@app.get("/cpu/{order_id}")
async def with_cpu(order_id: int):
    who = await customer(order_id)
    return {**who, "total": pricing.total(order_id)}


@app.get("/sort/{order_id}")
async def with_sort(order_id: int):
    who = await customer(order_id)
    return {**who, "best": pricing.ranked(order_id)}


@app.get("/json/{order_id}")
async def with_json(order_id: int):
    await customer(order_id)
    return Response(pricing.exported(order_id), media_type="application/json")


async def checked(order_id: int):
    time.sleep(millis(order_id) / 1000)  # BLOCKS dependency
    return order_id


@app.get("/dependency/{order_id}")
async def with_dependency(checked: int = Depends(checked)):
    return await customer(checked)


@app.middleware("http")
async def authorize(request: Request, call_next):
    if request.url.path.startswith("/middleware/"):
        order_id = int(request.url.path.rsplit("/", 1)[1])
        requests.get(rates_url(order_id), timeout=10)  # BLOCKS middleware
    return await call_next(request)


@app.get("/middleware/{order_id}")
async def with_middleware(order_id: int):
    return await customer(order_id)


async def write_mail(order_id):
    who = await customer(order_id)
    time.sleep(millis(order_id) / 1000)  # BLOCKS background
    return who


@app.get("/background/{order_id}")
async def with_background(order_id: int, tasks: BackgroundTasks):
    tasks.add_task(write_mail, order_id)
    return await stock(order_id)


@app.get("/stream/{order_id}")
async def with_stream(order_id: int):
    await customer(order_id)

    async def lines():
        yield "first\n"
        requests.get(rates_url(order_id), timeout=10)  # BLOCKS stream
        yield "last\n"

    return StreamingResponse(lines())


# The twins, which do not.


@app.get("/httpx/{order_id}")
async def with_httpx(order_id: int):
    who = await customer(order_id)
    rate = (await app.state.http.get(rates_url(order_id))).json()
    return {**who, **await stock(order_id), "rate": rate}


@app.get("/def_requests/{order_id}")
def with_requests_in_def(order_id: int):
    return {"rate": requests.get(rates_url(order_id), timeout=10).json()}


@app.get("/executor_requests/{order_id}")
async def with_requests_in_executor(order_id: int):
    who = await customer(order_id)
    loop = asyncio.get_running_loop()
    rate = await loop.run_in_executor(app.state.threads, rates.fetch, order_id)
    return {**who, "rate": rate}


@app.get("/asyncio_sleep/{order_id}")
async def with_asyncio_sleep(order_id: int):
    who = await customer(order_id)
    await asyncio.sleep(millis(order_id) / 1000)
    return who


@app.get("/def_sleep/{order_id}")
def with_sleep_in_def(order_id: int):
    time.sleep(millis(order_id) / 1000)
    return {"id": order_id}


@app.get("/to_thread_sqlite/{order_id}")
async def with_sqlite_in_thread(order_id: int):
    who = await customer(order_id)
    return {**who, "best": await asyncio.to_thread(reports.best_customers, order_id)}


@app.get("/asyncpg/{order_id}")
async def with_asyncpg(order_id: int):
    who = await customer(order_id)
    await app.state.db.execute("SELECT pg_sleep($1)", millis(order_id) / 1000)
    return {**who, **await stock(order_id)}


@app.get("/def_psycopg2/{order_id}")
def with_psycopg2_in_def(order_id: int):
    postgres.slow_query(order_id)
    return {"id": order_id}


@app.get("/process_pool_cpu/{order_id}")
async def with_cpu_in_process(order_id: int):
    who = await customer(order_id)
    loop = asyncio.get_running_loop()
    total = await loop.run_in_executor(app.state.processes, pricing.total, order_id)
    return {**who, "total": total}


@app.get("/to_thread_cpu/{order_id}")
async def with_cpu_in_thread(order_id: int):
    who = await customer(order_id)
    return {**who, "total": await asyncio.to_thread(pricing.total, order_id)}


@app.get("/to_thread_sort/{order_id}")
async def with_sort_in_thread(order_id: int):
    who = await customer(order_id)
    return {**who, "best": await asyncio.to_thread(pricing.ranked, order_id)}


@app.get("/to_thread_json/{order_id}")
async def with_json_in_thread(order_id: int):
    await customer(order_id)
    body = await asyncio.to_thread(pricing.exported, order_id)
    return Response(body, media_type="application/json")


@app.get("/small_work/{order_id}")
async def with_small_work(order_id: int):
    """A little of everything on the loop: some milliseconds, which nobody need be told of."""
    who = await customer(order_id)
    time.sleep(0.003)
    best = sorted(pricing.ITEMS[:2000], key=lambda item: item["score"])[0]
    return {**who, "best": best["id"], "export": len(json.dumps(pricing.ROWS[:500]))}


# Serialization by the framework.


class Tag(BaseModel):
    name: str
    weight: float


class Product(BaseModel):
    id: int
    name: str
    price: Decimal
    changed: datetime
    tags: list[Tag]


class Catalog(BaseModel):
    products: list[Product]


def product(number):
    """As a database returns it."""
    return {
        "id": number,
        "name": "product %d" % number,
        "price": number * Decimal("1.19"),
        "changed": datetime(2026, 1, 1) + timedelta(hours=number),
        "tags": [{"name": "tag %d" % n, "weight": n / 4} for n in range(8)],
    }


PRODUCTS = [product(number) for number in range(3000)]
CATALOG = Catalog(products=PRODUCTS * 4)


@app.get("/products/{order_id}")
async def all_products(order_id: int) -> list[Product]:
    await customer(order_id)
    return PRODUCTS


@app.get("/few_products/{order_id}")
async def few_products(order_id: int) -> list[Product]:
    await customer(order_id)
    return PRODUCTS[:30]


@app.get("/def_products/{order_id}")
def all_products_in_def(order_id: int) -> list[Product]:
    return PRODUCTS


@app.get("/model_dump/{order_id}")
async def with_model_dump(order_id: int):
    await customer(order_id)
    body = CATALOG.model_dump_json()  # BLOCKS model_dump
    return Response(body, media_type="application/json")
