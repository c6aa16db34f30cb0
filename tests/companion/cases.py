"""The cases: which service is asked for which route, and what is to be found there.

`expected` names what a recording holds, joined by `+`: `blocked`, `serialize`, `pool-wait`,
`thread-pool-wait`; `none` is a twin. `marker` stands behind the lines of the source that are to be
named (`# BLOCKS marker`); without one no line of the user's code is at fault.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    service: str
    route: str
    expected: str
    operation: str
    marker: str = ""
    clients: int = 1
    requests: int = 25
    environment: dict = field(default_factory=dict)
    variant: str = ""
    # What a slow machine adds in truth: it may be there.
    may: str = ""

    @property
    def name(self):
        return "_".join(part for part in (self.service, self.variant, self.route) if part)


SERIALIZES = "blocked+serialize"
NONE = "none"

BLOCKS = [
    ("requests", "requests.get", "requests"),
    ("requests_helper", "requests.Session.get", "requests-helper"),
    ("sleep", "time.sleep", "sleep"),
    ("retry", "time.sleep twice, 20 to 36 ms each", "retry"),
    ("sqlite", "sqlite3.Cursor.execute", "sqlite"),
    ("psycopg2", "psycopg2 cursor.execute", "psycopg2"),
    ("cpu", "a loop in Python", "cpu"),
    ("sort", "sorted with a key", "sort"),
]
TWINS = [
    ("executor_requests", "requests.get in run_in_executor"),
    ("asyncio_sleep", "asyncio.sleep"),
    ("to_thread_sqlite", "sqlite3 in asyncio.to_thread"),
    ("asyncpg", "asyncpg"),
    ("process_pool_cpu", "a loop in Python in a process pool"),
    ("to_thread_cpu", "guard: a loop in Python in asyncio.to_thread, which shares the interpreter"),
    ("to_thread_sort", "guard: sorted in asyncio.to_thread, which shares the interpreter"),
    ("small_work", "3 ms of sleep, a small sort, a small json.dumps"),
]
FASTAPI_BLOCKS = [
    ("dependency", "time.sleep in an async dependency", "dependency"),
    ("middleware", "requests.get in an async middleware", "middleware"),
    ("background", "time.sleep in an async background task", "background"),
    ("stream", "requests.get in an async generator of a streamed body", "stream"),
]
FASTAPI_TWINS = [
    ("httpx", "httpx.AsyncClient"),
    ("def_requests", "requests.get in a def route"),
    ("def_sleep", "time.sleep in a def route"),
    ("def_psycopg2", "psycopg2 in a def route"),
    ("few_products", "30 pydantic objects as response_model"),
]
AIOHTTP_BLOCKS = [
    ("task", "time.sleep in a task that nobody waits for", "task"),
    ("gather", "requests.Session.get in two gathered tasks", "requests-helper"),
]
AIOHTTP_TWINS = [
    ("aiohttp_client", "aiohttp.ClientSession"),
    ("to_thread_sleep", "time.sleep in asyncio.to_thread"),
    ("aiosqlite", "aiosqlite"),
    ("executor_psycopg2", "psycopg2 in run_in_executor"),
]
# In a thread it blocks no loop, but is slow serialization still.
JSON_TWIN = "guard: json.dumps in asyncio.to_thread, which keeps the interpreter"


def _async(service, blocks, twins, **more):
    yield from (Case(service, r, "blocked", o, m, **more) for r, o, m in blocks)
    yield Case(service, "json", SERIALIZES, "json.dumps of a large list", "json", **more)
    yield Case(service, "to_thread_json", "serialize", JSON_TWIN, "json", **more)
    yield from (Case(service, r, NONE, o, **more) for r, o in twins)


def _uvloop():
    return {"variant": "uvloop", "environment": {"LOOP": "uvloop"}}


CASES = [
    *_async("fastapi", BLOCKS + FASTAPI_BLOCKS, TWINS + FASTAPI_TWINS),
    Case("fastapi", "products", SERIALIZES, "3,000 objects as response_model", requests=15),
    # Validated in a thread, turned into JSON on the loop: 10 to 50 ms.
    Case("fastapi", "def_products", "serialize", "from a def route", requests=15, may="blocked"),
    Case(
        "fastapi",
        "model_dump",
        SERIALIZES,
        "model_dump_json of pydantic",
        "model_dump",
        requests=15,
    ),
    *_async("aiohttp", BLOCKS + AIOHTTP_BLOCKS, TWINS + AIOHTTP_TWINS),
    *_async("fastapi", BLOCKS, TWINS, **_uvloop()),
    Case("flask", "export", "serialize", "json.dumps of 15,000 rows and more", "json"),
    Case("flask", "jsonify", "serialize", "jsonify of 15,000 rows and more", "jsonify"),
    Case("flask", "page", NONE, "jsonify of some 40 rows"),
    Case("django", "lines", "serialize", "REST framework: 1,500 rows and more"),
    Case("django", "few_lines", NONE, "REST framework: 30 rows"),
    Case("django", "export", "serialize", "JsonResponse of 10,000 rows and more", "json_response"),
]

for route, expected, operation, marker in [
    ("sqlalchemy", "pool-wait", "SQLAlchemy QueuePool, psycopg2", "sqlalchemy"),
    (
        "sqlalchemy_async",
        "pool-wait",
        "SQLAlchemy AsyncAdaptedQueuePool",
        "sqlalchemy_async",
    ),
    ("asyncpg", "pool-wait", "asyncpg.Pool", "asyncpg"),
]:
    CASES += [
        Case("pool", route, expected, operation + " of 2", marker, 4, 24, {"POOL": "2"}, "small"),
        Case("pool", route, NONE, operation + " of 8", "", 4, 24, {"POOL": "8"}, "large"),
    ]
CASES += [
    Case(
        "pool",
        "threads",
        "thread-pool-wait",
        "def routes on 2 threads",
        "",
        4,
        24,
        {"POOL": "2", "THREADS": "2"},
        "small",
    ),
    Case("pool", "threads", NONE, "def routes on 40 threads", "", 4, 24, {"POOL": "2"}, "large"),
]
