"""Every probe, in the order they start. The list is the one place that knows them all."""

from timesink_otel.probes.anyio_threads import AnyioThreads
from timesink_otel.probes.asgiref_threads import AsgirefThreads
from timesink_otel.probes.asyncpg_pool import AsyncpgPool
from timesink_otel.probes.code import Code
from timesink_otel.probes.db_rows import DbRows
from timesink_otel.probes.event_loop import EventLoop
from timesink_otel.probes.fastapi import FastApi
from timesink_otel.probes.first_request import FirstRequest
from timesink_otel.probes.gc import Gc
from timesink_otel.probes.http_body import HttpBody
from timesink_otel.probes.imports import ImportTime
from timesink_otel.probes.json import Json
from timesink_otel.probes.orjson import Orjson
from timesink_otel.probes.psycopg_pool import PsycopgPool
from timesink_otel.probes.pydantic import Pydantic
from timesink_otel.probes.resource_hash import ResourceHash
from timesink_otel.probes.rest_framework import RestFramework
from timesink_otel.probes.sqlalchemy_pool import SqlalchemyPool
from timesink_otel.probes.thread import Thread

PROBES = (
    Thread,
    Code,
    FirstRequest,
    EventLoop,
    Gc,
    HttpBody,
    DbRows,
    SqlalchemyPool,
    AsyncpgPool,
    PsycopgPool,
    AnyioThreads,
    AsgirefThreads,
    Json,
    Orjson,
    Pydantic,
    RestFramework,
    FastApi,
    ImportTime,
    ResourceHash,
)
