"""The process around the application: its socket, its signals, its end."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from .access import check_binding
from .app import create_app
from .options import ServingOptions
from .scorer import Scorer
from .slow_heads import head_deadline


def serve(
    load: Callable[[], Scorer],
    options: ServingOptions | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    max_connections: int = 1024,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve until a signal comes; then finish what is in flight, refuse what is new, and return. In the main thread.

    The port is taken before the model is loaded, so that a fault there shows at once.

    Args:
        load (`Callable`): Returns the [`Scorer`].
        options ([`ServingOptions`], *optional*): Bounds and the default statistic.
        host (`str`): Address to bind to; others than loopback need a token.
        port (`int`): 0 takes a free one.
        token (`str`, *optional*): That clients must show.
        max_connections (`int`): Connections at a time; those beyond get a 503.
        announce (`Callable`): Gets a line when the server listens, and when it is ready.

    Raises:
        OSError: if the port cannot be had.
        ValueError: for a binding beyond this machine without a token.
        Exception: what loading the model raised.
    """
    options = options or ServingOptions()
    check_binding(host, token)
    listener = listening_socket(host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"

    def on_ready(scorer):
        announce(f"Ready: {address}/docs says how to ask.")
        if not scorer.reads_joined_text:
            announce(
                "Requests of OpenRLHF and LLaMA-Factory are refused: start with `--joined_text chat` if the model was "
                "trained on conversations, with `--joined_text plain` if on plain text."
            )

    def on_failure():
        server.should_exit = True

    app = create_app(load, options, token, on_ready, on_failure)
    server = make_server(app, options, max_connections)
    announce(f"Listening: {address}, loading the model.")
    with _ending_at_signals(server):
        server.run(sockets=[listener])
    if app.state.service.failure is not None:
        raise app.state.service.failure


def make_server(app: FastAPI, options: ServingOptions, max_connections: int = 1024) -> uvicorn.Server:
    """uvicorn around the application, with its limits.

    Args:
        app (`FastAPI`): Of [`create_app`].
        options ([`ServingOptions`]): The same as the application's.
        max_connections (`int`): Connections at a time.

    Returns:
        `uvicorn.Server`: call `run(sockets=[...])`; it stops when its `should_exit` is set.
    """
    config = uvicorn.Config(
        app,
        http=head_deadline(options.receive_timeout),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=max_connections,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=int(options.receive_timeout + options.request_timeout) + 1,
    )
    return uvicorn.Server(config)


def listening_socket(host: str, port: int) -> socket.socket:
    """Take a port, for connections that send at once.

    An answer is sent in two pieces, head and body; without `TCP_NODELAY`, which asyncio does not set on sockets that
    it did not make, the second waits some 40 ms for the client to acknowledge the first.

    Args:
        host (`str`): Address to bind to.
        port (`int`): 0 takes a free one.

    Returns:
        `socket.socket`: listening; the connections it accepts inherit the option.

    Raises:
        OSError: if the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(f"The server cannot listen at `host` {host!r}, `port` {port}: {error}.") from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextmanager
def _ending_at_signals(server: uvicorn.Server) -> Iterator[None]:
    """Signals stop the server and nothing else: uvicorn raises them anew when it has stopped, which would end the
    process with the signal's number instead of 0."""

    def stop(number, frame):
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
