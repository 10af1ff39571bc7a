"""Run the application with uvicorn: address, token and log."""

import asyncio
import ipaddress
import logging
import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn

from unmask.console import say
from unmask.web.app import LOCAL, create_app
from unmask.web.child import Setup
from unmask.web.state import Server
from unmask.web.uploads import Spool

TOKEN = "UNMASK_TOKEN"
SHORTEST = 16  # minimum number of characters of a token
# Maximum number of open connections, also idle ones; above it, uvicorn itself answers with the status 503 and without
# Retry-After. It is higher than `guard.REQUESTS`, so that busy clients get an answer of the usual form.
CONNECTIONS = 500


@dataclass(frozen=True)
class Address:
    """Where the server listens.

    Args:
        host: address to listen on.
        port: port.
        hosts: host names that are accepted in the Host header, in addition to `host` and the loopback names.

    Raises:
        ValueError: the port is not in 1 to 65535.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError(f"port={self.port}: expected a number from 1 to 65535")

    @property
    def local(self) -> bool:
        """Whether only programs on this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def names(self) -> tuple[str, ...]:
        """Host names that are accepted in the Host header."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return tuple(dict.fromkeys((*LOCAL, own, *self.hosts)))


def token_for(address: Address) -> str | None:
    """Read the token from the environment and remove it there, so that no child process inherits it.

    Raises:
        ValueError: other machines can connect but there is no token, or the token is too short.
    """
    token = os.environ.pop(TOKEN, None)
    if token is None and not address.local:
        example = secrets.token_urlsafe(24)
        raise ValueError(
            f"host={address.host}: other machines could send files, so a token is required; set the environment "
            f"variable {TOKEN}, for example: export {TOKEN}={example}"
        )
    if token is not None and len(token) < SHORTEST:
        raise ValueError(f"{TOKEN} has {len(token)} characters; expected at least {SHORTEST}")
    return token


def default_spool() -> Path:
    """Return the default folder for uploads: one per user, in the system's folder for temporary files."""
    user = os.getuid() if os.name == "posix" else "all"
    return Path(tempfile.gettempdir()) / f"unmask-{user}"


def run(setup: Setup, address: Address, size: int, spool: Path, trusted: Sequence[str] = ()) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        setup: how the child processes are set up; the folder of the uploads is added to the paths that they can read.
        address: where to listen.
        size: number of child processes.
        spool: folder for the uploads.
        trusted: addresses of proxies whose X-Forwarded-For header is trusted.

    Raises:
        ValueError: a token is missing or too short, the folder for the uploads is open to other users, or the
            detectors could not be loaded.
    """
    token = token_for(address)
    kept = Spool(spool)
    setup = replace(setup, readable=(*setup.readable, kept.folder))
    server = Server(setup, kept, size)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("unmask.web").setLevel(logging.INFO)
    settings = uvicorn.Config(
        create_app(server, address.names, token), host=address.host, port=address.port, access_log=False,
        log_config=None, server_header=False, limit_concurrency=CONNECTIONS, timeout_keep_alive=15,
        timeout_graceful_shutdown=5, ws="none", proxy_headers=bool(trusted), forwarded_allow_ips=list(trusted),
    )  # fmt: skip
    asyncio.run(_serve(server, uvicorn.Server(settings), f"http://{address.host}:{address.port}"))


async def _serve(server: Server, listener: uvicorn.Server, url: str) -> None:
    """Load the detectors, then open the port. So an error in loading is reported as for other verbs."""
    say("loading the detectors")
    try:
        await server.pool.start()
        say(f"open {url} (Ctrl-C stops)")
        await listener.serve()
    finally:
        await server.pool.stop()
        server.spool.close()
