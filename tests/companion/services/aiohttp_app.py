"""aiohttp: ways to block the loop for 40 to 120 ms, and twins that do the same beside it."""

import asyncio
import contextlib
import functools
import json
import sqlite3
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import aiohttp
import aiosqlite
import asyncpg
import psycopg2
import requests
from aiohttp import web

from shop import postgres, pricing, rates, reports
from shop.settings import CUSTOMER, POSTGRES, REPORT, SQLITE, STOCK, millis, rates_url, report_rows

routes = web.RouteTableDef()


async def neighbours(app):
    app["db"] = await asyncpg.create_pool(POSTGRES, min_size=2, max_size=10)
    app["http"] = aiohttp.ClientSession()
    app["threads"] = ThreadPoolExecutor(4)
    app["processes"] = ProcessPoolExecutor(1)
    app["processes"].submit(millis, 1).result()
    app["psycopg2"] = psycopg2.connect(POSTGRES)
    app["psycopg2"].autocommit = True
    app["tasks"] = set()
    yield
    app["processes"].shutdown()
    await app["http"].close()
    await app["db"].close()


async def customer(request):
    order_id = int(request.match_info["order_id"])
    return order_id, dict(await request.app["db"].fetchrow(CUSTOMER, order_id))


async def stock(request, order_id):
    return dict(await request.app["db"].fetchrow(STOCK, order_id))


def logged(handler):
    @functools.wraps(handler)
    async def call(request):
        answer = await handler(request)
        return web.json_response(answer)

    return call


# What blocks.


@routes.get("/requests/{order_id}")
@logged
async def with_requests(request):
    order_id, who = await customer(request)
    rate = requests.get(  # BLOCKS requests
        rates_url(order_id),
        timeout=10,
    )
    return {**who, **await stock(request, order_id), "rate": rate.json()}


@routes.view("/requests_helper/{order_id}")
class WithRequestsHelper(web.View):
    async def get(self):
        order_id, who = await customer(self.request)
        return web.json_response({**who, "rate": rates.fetch(order_id)})


@routes.get("/sleep/{order_id}")
@logged
async def with_sleep(request):
    order_id, who = await customer(request)
    time.sleep(millis(order_id) / 1000)  # BLOCKS sleep
    return who


@routes.get("/retry/{order_id}")
@logged
async def with_retry(request):
    order_id, who = await customer(request)
    rates.retry(order_id)
    return who


@routes.get("/sqlite/{order_id}")
@logged
async def with_sqlite(request):
    order_id, who = await customer(request)
    with contextlib.closing(sqlite3.connect(SQLITE)) as connection:
        cursor = connection.cursor()
        cursor.execute(REPORT, (report_rows(order_id),))  # BLOCKS sqlite
        return {**who, "best": cursor.fetchmany(3)}


@routes.get("/psycopg2/{order_id}")
@logged
async def with_psycopg2(request):
    order_id, who = await customer(request)
    with request.app["psycopg2"].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", (millis(order_id) / 1000,))  # BLOCKS psycopg2
    return {**who, **await stock(request, order_id)}


@routes.get("/cpu/{order_id}")
@logged
async def with_cpu(request):
    order_id, who = await customer(request)
    return {**who, "total": pricing.total(order_id)}


@routes.get("/sort/{order_id}")
@logged
async def with_sort(request):
    order_id, who = await customer(request)
    return {**who, "best": pricing.ranked(order_id)}


@routes.get("/json/{order_id}")
async def with_json(request):
    order_id, _ = await customer(request)
    return web.Response(text=pricing.exported(order_id), content_type="application/json")


async def write_mail(order_id):
    await asyncio.sleep(0)
    time.sleep(millis(order_id) / 1000)  # BLOCKS task


@routes.get("/task/{order_id}")
@logged
async def with_task(request):
    """A task that nobody waits for blocks while the request waits for the database."""
    order_id = int(request.match_info["order_id"])
    task = asyncio.create_task(write_mail(order_id))
    request.app["tasks"].add(task)
    task.add_done_callback(request.app["tasks"].discard)
    return await stock(request, order_id)


async def part(request, order_id):
    left = await stock(request, order_id)
    rates.fetch(order_id)
    return left


@routes.get("/gather/{order_id}")
@logged
async def with_gather(request):
    """Two tasks that the author believes to run at the same time."""
    order_id, who = await customer(request)
    parts = await asyncio.gather(part(request, order_id), part(request, order_id + 1))
    return {**who, "parts": parts}


# The twins, which do not.


@routes.get("/aiohttp_client/{order_id}")
@logged
async def with_aiohttp_client(request):
    order_id, who = await customer(request)
    async with request.app["http"].get(rates_url(order_id)) as response:
        rate = await response.json()
    return {**who, **await stock(request, order_id), "rate": rate}


@routes.get("/executor_requests/{order_id}")
@logged
async def with_requests_in_executor(request):
    order_id, who = await customer(request)
    loop = asyncio.get_running_loop()
    return {**who, "rate": await loop.run_in_executor(None, rates.fetch, order_id)}


@routes.get("/asyncio_sleep/{order_id}")
@logged
async def with_asyncio_sleep(request):
    order_id, who = await customer(request)
    await asyncio.sleep(millis(order_id) / 1000)
    return who


@routes.get("/to_thread_sleep/{order_id}")
@logged
async def with_sleep_in_thread(request):
    order_id, who = await customer(request)
    await asyncio.to_thread(time.sleep, millis(order_id) / 1000)
    return who


@routes.get("/to_thread_sqlite/{order_id}")
@logged
async def with_sqlite_in_thread(request):
    order_id, who = await customer(request)
    return {**who, "best": await asyncio.to_thread(reports.best_customers, order_id)}


@routes.get("/aiosqlite/{order_id}")
@logged
async def with_aiosqlite(request):
    order_id, who = await customer(request)
    async with aiosqlite.connect(SQLITE) as connection:
        async with connection.execute(REPORT, (report_rows(order_id),)) as cursor:
            best = [list(row) for row in await cursor.fetchmany(3)]
    return {**who, "best": best}


@routes.get("/asyncpg/{order_id}")
@logged
async def with_asyncpg(request):
    order_id, who = await customer(request)
    await request.app["db"].execute("SELECT pg_sleep($1)", millis(order_id) / 1000)
    return {**who, **await stock(request, order_id)}


@routes.get("/executor_psycopg2/{order_id}")
@logged
async def with_psycopg2_in_executor(request):
    order_id, who = await customer(request)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(request.app["threads"], postgres.slow_query, order_id)
    return who


@routes.get("/process_pool_cpu/{order_id}")
@logged
async def with_cpu_in_process(request):
    order_id, who = await customer(request)
    loop = asyncio.get_running_loop()
    total = await loop.run_in_executor(request.app["processes"], pricing.total, order_id)
    return {**who, "total": total}


@routes.get("/to_thread_cpu/{order_id}")
@logged
async def with_cpu_in_thread(request):
    order_id, who = await customer(request)
    return {**who, "total": await asyncio.to_thread(pricing.total, order_id)}


@routes.get("/to_thread_sort/{order_id}")
@logged
async def with_sort_in_thread(request):
    order_id, who = await customer(request)
    return {**who, "best": await asyncio.to_thread(pricing.ranked, order_id)}


@routes.get("/to_thread_json/{order_id}")
async def with_json_in_thread(request):
    order_id, _ = await customer(request)
    body = await asyncio.to_thread(pricing.exported, order_id)
    return web.Response(text=body, content_type="application/json")


@routes.get("/small_work/{order_id}")
@logged
async def with_small_work(request):
    order_id, who = await customer(request)
    time.sleep(0.003)
    best = sorted(pricing.ITEMS[:2000], key=lambda item: item["score"])[0]
    return {**who, "best": best["id"], "export": len(json.dumps(pricing.ROWS[:500]))}


if __name__ == "__main__":
    app = web.Application()
    app.add_routes(routes)
    app.cleanup_ctx.append(neighbours)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
