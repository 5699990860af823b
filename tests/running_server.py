"""Reward servers in threads of their own on free ports, and a scorer that can be held up."""

import socket
import threading
import time
from contextlib import contextmanager

import httpx2

from trl_dprm.serving.app import create_app
from trl_dprm.serving.options import ServingOptions
from trl_dprm.serving.scorer import Scorer
from trl_dprm.serving.server import listening_socket, make_server


class GatedScorer(Scorer):
    """Scores only while its gate is open, and keeps the sizes of its forwards."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.sizes = []

    def score(self, sequences):
        self.sizes.append(len(sequences))
        self.entered.set()
        assert self.gate.wait(30)
        return super().score(sequences)

    @contextmanager
    def closed(self):
        """Every forward waits until the end of this context; the first may have begun before it."""
        self.entered.clear()
        self.gate.clear()
        try:
            yield
        finally:
            self.gate.set()


class RunningServer:
    """A server in a thread."""

    def __init__(self, load, token=None, wait=True, **options):
        options = ServingOptions(**options)
        ready = threading.Event()
        app = create_app(load, options, token, on_ready=lambda scorer: ready.set())
        self.service = app.state.service
        self.server = make_server(app, options)
        listener = listening_socket("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.run, args=([listener],))
        self.thread.start()
        self.client = httpx2.Client(base_url=self.url, timeout=30)
        if wait:
            assert ready.wait(30), self.service.failure

    def post(self, path, body, **options):
        """Answer to a JSON body."""
        return self.client.post(path, json=body, **options)

    def scores(self, items, **options):
        """Results for items that can be scored."""
        answer = self.post("/score", {"items": items, **options})
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    def metric(self, line_start):
        """Value of the one sample that begins so, 0 where there is none."""
        lines = self.client.get("/metrics").text.splitlines()
        values = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(line_start)]
        assert len(values) <= 1, values
        return values[0] if values else 0.0

    def wait_for(self, condition, seconds=10):
        """Wait until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"
            time.sleep(0.005)

    def connect(self):
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def stop(self):
        """Stop and wait for the thread."""
        self.client.close()
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()
