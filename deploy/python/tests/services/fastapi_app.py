import time

import blocking
from fastapi import FastAPI

app = FastAPI()


def add(name):
    async def handler():
        await getattr(blocking, name)()
        return {"done": name}

    app.get("/" + name)(handler)


for name in [*blocking.CULPRITS, *blocking.TWINS]:
    add(name)


@app.get("/sync_twin")
def sync_twin():
    time.sleep(0.06)
    return {}
