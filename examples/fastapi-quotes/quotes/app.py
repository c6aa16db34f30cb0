"""Quotes of shares from an upstream feed: one route that blocks the event loop, and its fix."""

import os
from contextlib import asynccontextmanager

import httpx
import requests
from fastapi import FastAPI, HTTPException


@asynccontextmanager
async def lifespan(app):
    async with httpx.AsyncClient(base_url=os.environ["FEED_URL"]) as feed:
        app.state.feed = feed
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/quotes/{symbol}")
async def quote(symbol: str):
    """`requests` waits for the price, and with it waits every other request of this process."""
    if symbol not in await symbols():
        raise HTTPException(404)
    return requests.get(f"{os.environ['FEED_URL']}/prices/{symbol}").json()


@app.get("/fixed/quotes/{symbol}")
async def quote_fixed(symbol: str):
    """While this waits for the price, the event loop serves the others."""
    if symbol not in await symbols():
        raise HTTPException(404)
    return (await app.state.feed.get(f"/prices/{symbol}")).json()


@app.get("/symbols")
async def symbols():
    """A healthy neighbour."""
    return (await app.state.feed.get("/symbols")).json()
