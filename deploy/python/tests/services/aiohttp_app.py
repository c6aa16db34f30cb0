import sys

import blocking
from aiohttp import web


def handler(name):
    async def handle(request):
        return web.json_response({"share": await getattr(blocking, name)()})

    return handle


app = web.Application()
for name in [*blocking.CULPRITS, *blocking.TWINS]:
    app.router.add_get("/" + name, handler(name))


async def cleanup(app):
    await blocking.close()


app.on_cleanup.append(cleanup)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
