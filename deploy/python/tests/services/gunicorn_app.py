"""Loaded once in gunicorn's master (`preload_app`), run in forked workers."""

import asyncio
import os
import time

from flask import Flask
from opentelemetry import trace

flask = Flask(__name__)


@flask.route("/pid")
def pid():
    async def block():
        with trace.get_tracer("app").start_as_current_span("on loop"):
            time.sleep(0.06)

    asyncio.run(block())
    return str(os.getpid())
