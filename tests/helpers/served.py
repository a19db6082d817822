"""A server of `redoseg serve` in a thread of this process, and requests to it."""

import asyncio
import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager

import uvicorn

from redoseg.serving.app import make_app


class Answered:
    """An answer: its `status`, `headers`, `body`, and the body as JSON."""

    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """What it says no with: one line."""
        text = self.json()["error"]
        assert "\n" not in text
        return text


class Served:
    """A server that listens at `port`."""

    def __init__(self, port):
        self.port = port
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            return Answered(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, body=b"", **headers):
        return self.ask("POST", path, body, **headers)

    def put(self, path, body=b"", **headers):
        return self.ask("PUT", path, body, **headers)


@contextmanager
def serving(model, photos=(), **options):
    """A `Served` for the length of the block, with the options of `make_app`."""
    server = uvicorn.Server(uvicorn.Config(make_app(model, photos, **options), log_level="error"))
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
        thread.start()
        for _ in range(600):
            if server.started:
                break
            time.sleep(0.05)
        assert server.started
        yield Served(listening.getsockname()[1])
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
