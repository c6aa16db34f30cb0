"""Waits for a pool's connection or a pool's thread, and none where nobody waited."""

from __future__ import annotations

import asyncio
import threading
import time

import anyio
import asgiref.sync
import psycopg_pool
import pytest
import sqlalchemy

POOL, THREADS = "timesink.pool.wait", "timesink.thread_pool.wait"


@pytest.fixture
def engine(companion):
    engine = sqlalchemy.create_engine(
        "sqlite://",
        poolclass=sqlalchemy.pool.QueuePool,
        pool_size=1,
        max_overflow=0,
        connect_args={"check_same_thread": False},
    )
    yield engine
    engine.dispose()


def test_checkout_of_an_exhausted_sqlalchemy_pool_is_a_wait_under_its_span(companion, engine):
    taken = engine.connect()
    threading.Timer(0.1, taken.close).start()
    with companion.tracer.start_as_current_span("request") as request:
        engine.connect().close()  # waits for the timer
    (wait,) = companion.named(POOL)
    assert wait.parent.span_id == request.get_span_context().span_id
    assert 50e6 < wait.end_time - wait.start_time
    expected = {"library": "sqlalchemy", "size": 1, "max": 1, "overflow": 0, "checked_out": 1}
    assert {key: wait.attributes["timesink.pool." + key] for key in expected} == expected
    assert wait.attributes["code.function.name"].endswith(
        "test_checkout_of_an_exhausted_sqlalchemy_pool_is_a_wait_under_its_span"
    )


def test_slow_connect_of_a_pool_with_room_is_no_wait(companion, engine):
    pool = engine.pool
    creator = pool._creator
    pool._creator = lambda *args: time.sleep(0.05) or creator()
    engine.connect().close()
    assert not companion.named(POOL)


def test_timeout_of_a_pool_is_a_wait_and_raises_as_ever(companion, engine):
    engine.pool._timeout = 0.05
    with engine.connect():
        with pytest.raises(sqlalchemy.exc.TimeoutError):
            engine.connect()
    assert len(companion.named(POOL)) == 1


def test_psycopg_pool_waits_are_told(companion):
    pool = psycopg_pool.ConnectionPool("host=127.0.0.1 port=1", min_size=0, max_size=1, open=False)
    pool.open()
    try:
        with pytest.raises(psycopg_pool.PoolTimeout):
            pool.getconn(timeout=0.05)
    finally:
        pool.close()
    (wait,) = companion.named(POOL)
    assert wait.attributes["timesink.pool.library"] == "psycopg_pool"
    assert wait.attributes["timesink.pool.max"] == 1


def test_anyio_limiter_that_is_full_is_a_wait_for_a_thread(companion):
    async def main():
        limiter = anyio.CapacityLimiter(1)
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(
                    lambda: anyio.to_thread.run_sync(time.sleep, 0.05, limiter=limiter)
                )

    anyio.run(main)
    (wait,) = companion.named(THREADS)
    assert wait.attributes["timesink.thread_pool.library"] == "anyio"
    assert wait.attributes["timesink.thread_pool.max"] == 1
    assert wait.attributes["timesink.thread_pool.waiting"] == 0
    assert 20e6 < wait.end_time - wait.start_time


def test_asgiref_calls_that_share_a_thread_wait_for_it(companion):
    async def one(name):
        with companion.tracer.start_as_current_span(name):
            assert await asgiref.sync.sync_to_async(lambda: time.sleep(0.05) or name)() == name

    async def main():
        await asyncio.gather(one("first"), one("second"))

    asyncio.run(main())
    (wait,) = companion.named(THREADS)
    (second,) = companion.named("second")
    assert wait.parent.span_id == second.context.span_id
    assert wait.attributes["timesink.thread_pool.library"] == "asgiref"
