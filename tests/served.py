"""A real server for tests."""

from __future__ import annotations

import threading
from contextlib import contextmanager


@contextmanager
def serving(app, servers=None):
    """The address of a real server, in a thread of its own, on any free port.

    The server itself becomes the first of `servers`.
    """
    from keras_classics.web.server import Server, address_of, listen, serve

    servers = [] if servers is None else servers

    def server_of(*settings):
        servers.append(Server(*settings))
        return servers[0]

    ready = threading.Event()
    with listen("127.0.0.1", 0) as listening:
        options = {"started": ready.set, "server_of": server_of}
        thread = threading.Thread(target=serve, args=(app, listening), kwargs=options)
        thread.start()
        assert ready.wait(10)
        try:
            yield address_of(listening, "127.0.0.1")
        finally:
            servers[0].should_exit = True
            thread.join(20)
            assert not thread.is_alive()
