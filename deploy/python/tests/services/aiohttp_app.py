import sys

import blocking
from aiohttp import web


def handler(name):
    async def handle(request):
        await getattr(blocking, name)()
        return web.json_response({"done": name})

    return handle


app = web.Application()
for name in [*blocking.CULPRITS, *blocking.TWINS]:
    app.router.add_get("/" + name, handler(name))

web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
