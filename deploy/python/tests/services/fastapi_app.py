import contextlib
import time

import blocking
from fastapi import FastAPI


@contextlib.asynccontextmanager
async def lifespan(app):
    yield
    await blocking.close()


app = FastAPI(lifespan=lifespan)


def add(name):
    async def handler():
        return {"share": await getattr(blocking, name)()}

    app.get("/" + name)(handler)


for name in [*blocking.CULPRITS, *blocking.TWINS]:
    add(name)


@app.get("/sync_twin")
def sync_twin():
    time.sleep(0.06)
    return {}
