"""A real server with the fake examiner, in a thread of the test's process."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from fake_examiner import load
from unmask.web.app import LOCAL, create_app
from unmask.web.child import Setup
from unmask.web.limits import Limits
from unmask.web.state import Server
from unmask.web.uploads import Spool


@contextlib.contextmanager
def listening(place: Path, token: str | None = None, **limits: float) -> Iterator[str]:
    """The URL of a server whose uploads are below `place`."""
    spool = Spool(place / "spool")
    setup = Setup(load, (Path(__file__).parent, spool.folder), Limits(**{"upload": 2, "time": 30, **limits}))
    app = create_app(Server(setup, spool), LOCAL, token)
    with socket.create_server(("127.0.0.1", 0)) as opened:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
        thread.start()
        end = time.monotonic() + 60
        while not server.started and time.monotonic() < end:
            time.sleep(0.05)
        assert server.started
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)
    assert list((place / "spool").iterdir()) == [], "uploads were left behind"
