"""The socket under the server: an answer is not held back."""

import errno
import socket

import pytest

from trl_dprm.serving.server import listening_socket


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connections_send_at_once(host):
    """Else the body of an answer waits for the client to acknowledge its head, some 40 ms."""
    try:
        listener = listening_socket(host, 0)
    except OSError as error:
        if host == "::1" and error.__cause__.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            pytest.skip("no IPv6 here")
        raise
    with listener, socket.create_connection((host, listener.getsockname()[1])):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_connections_of_a_running_server_do_too(server):
    """uvicorn and asyncio leave the option as it is."""
    with server.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        (served,) = [
            each.transport.get_extra_info("socket")
            for each in server.server.server_state.connections
            if each.transport.get_extra_info("peername") == connection.getsockname()
        ]
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_port_that_is_taken_is_an_error_at_once():
    with listening_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen at `host` '127\.0\.0\.1', `port` {port}"):
            listening_socket("127.0.0.1", port)
