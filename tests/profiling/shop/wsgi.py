"""The same work behind a WSGI server."""

import shop


def application(environ, start_response):
    shop.serve_one()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served\n"]
