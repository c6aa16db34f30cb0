"""With a real PostgreSQL: blocks by a driver, rows that drivers know, waits for their pools."""

from __future__ import annotations

import asyncio
import threading
import time

import asyncpg
import psycopg
import psycopg2
import psycopg_pool
import pytest
import sqlalchemy
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.instrumentation.psycopg2 import Psycopg2Instrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from sqlalchemy.ext.asyncio import create_async_engine

from support import SERVICES, blocks_within, free_port, get, line_of, requests_of, service, uvicorn

REQUESTS = 3
ROWS = "db.response.returned_rows"
SELECT = "SELECT * FROM generate_series(1, 7)"


def url_of(dsn, scheme="postgresql"):
    parts = dict(pair.split("=") for pair in dsn.split())
    return "%s://{user}@{host}:{port}/{dbname}".format(**parts) % scheme


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_psycopg2_in_a_coroutine_blocks_and_its_twins_do_not(collector, postgres, loop):
    port = free_port()
    known = {"TESTED_DSN": postgres, "TESTED_URL": url_of(postgres)}
    with service(collector, uvicorn("postgres_app:app", port, loop), port, **known):
        for path in ("psycopg2", "psycopg2_twin", "asyncpg_twin") * (1 + REQUESTS):
            get(port, "/" + path)
    line = line_of(SERVICES / "postgres_app.py", "psycopg2")
    assert places_of_blocks(collector, "psycopg2") == REQUESTS * [("postgres_app.py", line)]
    assert not places_of_blocks(collector, "psycopg2_twin")
    assert not places_of_blocks(collector, "asyncpg_twin")


def places_of_blocks(collector, path):
    """Leaves out the first request, which connects and imports for the first time."""
    blocks = []
    for request in requests_of(collector, path, 1 + REQUESTS)[1:]:
        blocks += [block["attributes"] for block in blocks_within(collector, request)]
    return [(b.get("code.file.path"), b.get("code.line.number")) for b in blocks]


@pytest.fixture
def instrumented(companion):
    """Instruments a library for one test, on the test's own provider."""
    done = []

    def instrument(instrumentor, **options):
        done.append(instrumentor)
        instrumentor.instrument(
            tracer_provider=companion.provider, raise_exception_on_conflict=True, **options
        )

    yield instrument
    for instrumentor in done:
        instrumentor.uninstrument()


def rows_of_queries(recorded):
    queries = [span for span in recorded.spans if span.name.startswith("SELECT")]
    return [span.attributes.get(ROWS) for span in queries]


def test_psycopg2_tells_its_rows(companion, instrumented, postgres):
    instrumented(Psycopg2Instrumentor())
    connection = psycopg2.connect(postgres)
    with connection.cursor() as cursor:
        cursor.execute(SELECT)
        assert len(cursor.fetchall()) == 7
    connection.close()
    assert rows_of_queries(companion) == [7]


def test_psycopg_tells_its_rows_also_under_asyncio(companion, instrumented, postgres):
    instrumented(PsycopgInstrumentor())

    async def main():
        connection = await psycopg.AsyncConnection.connect(postgres)
        async with connection, connection.cursor() as cursor:
            await cursor.execute(SELECT)
            assert len(await cursor.fetchall()) == 7

    with psycopg.connect(postgres) as connection, connection.cursor() as cursor:
        cursor.execute(SELECT)
        assert len(cursor.fetchall()) == 7
    asyncio.run(main())
    assert rows_of_queries(companion) == [7, 7]


def test_sqlalchemy_tells_the_rows_of_its_driver(companion, instrumented, postgres):
    engine = sqlalchemy.create_engine(url_of(postgres, "postgresql+psycopg2"))
    instrumented(SQLAlchemyInstrumentor(), engine=engine)
    with engine.connect() as connection:
        assert len(connection.execute(sqlalchemy.text(SELECT)).all()) == 7
    engine.dispose()
    assert rows_of_queries(companion) == [7]


def test_sqlite3_does_not_know_its_rows(companion, instrumented):
    instrumented(SQLite3Instrumentor())
    import sqlite3

    connection = sqlite3.connect(":memory:")
    assert connection.cursor().execute("SELECT 1").fetchall() == [(1,)]
    connection.close()
    assert rows_of_queries(companion) == [None]


def the_wait(recorded, library):
    (wait,) = recorded.named("timesink.pool.wait")
    assert 20e6 < wait.end_time - wait.start_time
    prefix = "timesink.pool."
    pool = {k[len(prefix) :]: v for k, v in wait.attributes.items() if k.startswith(prefix)}
    assert pool.pop("library") == library
    assert wait.attributes["code.file.path"].endswith("test_postgres.py")
    assert "thread.id" in wait.attributes
    return pool


def test_asyncpg_pool_without_a_free_connection_is_a_wait(companion, postgres):
    async def main():
        async with asyncpg.create_pool(url_of(postgres), min_size=1, max_size=1) as pool:
            taken = await pool.acquire()
            asyncio.get_running_loop().call_later(0.05, give_back, pool, taken)
            async with pool.acquire() as connection:
                assert await connection.fetchval("SELECT 1") == 1
            # And none when the connection is free.
            async with pool.acquire() as connection:
                assert await connection.fetchval("SELECT 2") == 2

    def give_back(pool, taken):
        returning.append(asyncio.ensure_future(pool.release(taken)))

    returning = []
    asyncio.run(main())
    assert the_wait(companion, "asyncpg") == {"size": 1, "checked_out": 1, "max": 1}


def test_psycopg_pool_without_a_free_connection_is_a_wait(companion, postgres):
    with psycopg_pool.ConnectionPool(postgres, min_size=1, max_size=1) as pool:
        pool.wait()
        taken = pool.getconn()
        threading.Timer(0.05, pool.putconn, [taken]).start()
        with pool.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert the_wait(companion, "psycopg_pool") == {"size": 1, "checked_out": 1, "max": 1}


def test_psycopg_pool_that_connects_in_the_background_is_a_wait_and_says_its_size(
    companion, postgres
):
    class Slow(psycopg.Connection):
        @classmethod
        def connect(cls, *args, **kwargs):
            time.sleep(0.05)
            return super().connect(*args, **kwargs)

    with psycopg_pool.ConnectionPool(
        postgres, connection_class=Slow, min_size=0, max_size=2
    ) as pool:
        with pool.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert the_wait(companion, "psycopg_pool") == {"size": 1, "checked_out": 1, "max": 2}


def test_psycopgs_asynchronous_pool_without_a_free_connection_is_a_wait(companion, postgres):
    async def main():
        pool = psycopg_pool.AsyncConnectionPool(postgres, min_size=1, max_size=1, open=False)
        async with pool:
            await pool.wait()
            taken = await pool.getconn()
            returning = asyncio.ensure_future(give_back(pool, taken))
            async with pool.connection() as connection:
                cursor = await connection.execute("SELECT 1")
                assert await cursor.fetchone() == (1,)
            await returning

    async def give_back(pool, taken):
        await asyncio.sleep(0.05)
        await pool.putconn(taken)

    asyncio.run(main())
    assert the_wait(companion, "psycopg_pool") == {"size": 1, "checked_out": 1, "max": 1}


def test_sqlalchemys_pool_under_asyncio_is_a_wait(companion, postgres):
    async def main():
        engine = create_async_engine(
            url_of(postgres, "postgresql+asyncpg"), pool_size=1, max_overflow=0
        )
        taken = await engine.connect()
        returning = asyncio.ensure_future(give_back(taken))
        async with engine.connect() as connection:
            assert (await connection.execute(sqlalchemy.text("SELECT 1"))).scalar() == 1
        await returning
        await engine.dispose()

    async def give_back(taken):
        await asyncio.sleep(0.05)
        await taken.close()

    asyncio.run(main())
    assert the_wait(companion, "sqlalchemy") == {
        "size": 1,
        "checked_out": 1,
        "overflow": 0,
        "max": 1,
    }


def test_connecting_is_no_wait(companion, postgres):
    """*Scenario*: a pool with room grows, which takes longer than the floor."""
    engine = sqlalchemy.create_engine(url_of(postgres, "postgresql+psycopg2"), pool_size=2)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
        creator = engine.pool._creator
        engine.pool._creator = lambda *args: time.sleep(0.05) or creator()
        engine.connect().close()
    engine.dispose()
    assert not companion.named("timesink.pool.wait")
