"""The web application: its routes, its middleware and its error messages."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from unmask.web import pages, routes
from unmask.web.answers import Problem
from unmask.web.guard import BODY, Doorman, Guard, respond
from unmask.web.jobs import RefusedError
from unmask.web.state import Server

HERE = Path(__file__).parent
LOCAL = ("127.0.0.1", "localhost", "[::1]")
ABOUT = """\
Examine a picture or a video for signs of manipulation. A score is evidence, not proof.

All errors have the same form: a `code` for programs and a `message` for people. If a file is refused because the
server is busy (429 or 503), the header `Retry-After` gives the seconds after which to try again. If the server has a
token, every request except those for the page and for `/health` needs `Authorization: Bearer TOKEN`.
"""
CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported"}


def create_app(server: Server, hosts: Sequence[str] = LOCAL, token: str | None = None) -> FastAPI:
    """Return the application. The child processes start and end with the application.

    Args:
        server: queue, processes and folder of the uploads.
        hosts: host names that are accepted in the Host header; `*` accepts all.
        token: the token that each request must send as `Authorization: Bearer TOKEN`; None for no token.
    """
    app = FastAPI(
        title="unmask", version=version("unmask"), description=ABOUT, docs_url=None, redoc_url=None,
        lifespan=partial(_lifespan, server), redirect_slashes=False,
        middleware=[
            Middleware(Guard, hosts=hosts, token=token, gauges=server.gauges),
            Middleware(Doorman, desk=server.desk, path=routes.DETECT),
        ],
    )  # fmt: skip
    app.state.server = server
    app.include_router(routes.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _failed)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(Exception, _broken)
    return app


@asynccontextmanager
async def _lifespan(server: Server, app: FastAPI) -> AsyncIterator[None]:
    try:
        await server.pool.start()
        yield
    finally:
        await server.pool.stop()
        server.spool.close()


async def _invalid(request: Request, error: Exception) -> Response:
    """Return an error that names the first invalid parameter."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return respond(422, Problem(code="invalid", message=f"{where}: {first['msg']}."))


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, "failed")
    message = "There is no such page." if error.status_code == 404 else f"{error.detail}."
    return respond(error.status_code, Problem(code=code, message=message), **dict(error.headers or {}))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    if body := request.scope.get(BODY):
        await body.drain()
    return respond(error.status, error.problem)


async def _broken(request: Request, error: Exception) -> Response:
    return respond(500, Problem(code="internal", message="An internal error occurred. It was logged."))
