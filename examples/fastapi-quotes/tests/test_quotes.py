import asyncio

import httpx
import pytest

from quotes.app import app

CLIENTS = 8  # half of them on each route
ROUNDS = 25

pytestmark = pytest.mark.anyio


async def test_many_clients(feed):
    await crowd("/quotes/ALFA", "/symbols")


async def test_many_clients_fixed(feed):
    await crowd("/fixed/quotes/ALFA", "/symbols")


async def crowd(*paths):
    """Each client asks for one path, again and again."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://quotes") as client,
    ):

        async def one_client(path):
            for _ in range(ROUNDS):
                assert (await client.get(path)).status_code == 200

        await asyncio.gather(*(one_client(paths[n % len(paths)]) for n in range(CLIENTS)))
