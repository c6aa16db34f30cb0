import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

ANSWERS = {"/prices/ALFA": (0.03, b'{"price": 42}'), "/symbols": (0.01, b'["ALFA"]')}


class Feed(BaseHTTPRequestHandler):
    """The upstream: thinks for 30 ms about a price, 10 ms about the symbols."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def do_GET(self):
        seconds, body = ANSWERS[self.path]
        time.sleep(seconds)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class FeedServer(ThreadingHTTPServer):
    request_queue_size = 64


@pytest.fixture
def feed(monkeypatch):
    server = FeedServer(("127.0.0.1", 0), Feed)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("FEED_URL", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()


@pytest.fixture
def anyio_backend():
    return "asyncio"
