"""Routes for the web page, the pictures and the report of a job, and the metrics for Prometheus."""

import zlib
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse

from unmask.inference.examination import Moment
from unmask.web.answers import Kind, Problem
from unmask.web.jobs import Found as Result
from unmask.web.jobs import Job, RefusedError
from unmask.web.routes import Found, Held, errors

INDEX = Path(__file__).parent / "static" / "index.html"
# The report is one file. With this policy, a browser runs no script in it and loads nothing else.
ALONE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
PNG = b"\x89PNG"

router = APIRouter()


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def index() -> Response:
    """Return the page."""
    return FileResponse(INDEX, media_type="text/html; charset=utf-8")


def _done(job: Job) -> Result:
    """Return the result of a job.

    Raises:
        RefusedError: 409 if the job has not ended or failed.
    """
    if job.found is None:
        message = job.problem.message if job.problem else "The file is still being examined."
        raise RefusedError(409, Problem(code="failed" if job.problem else "not_done", message=message))
    return job.found


@router.get(
    "/jobs/{id}/report",
    response_class=HTMLResponse,
    responses={**errors(404, 409, 422), 200: {"content": {"text/html": {}}, "description": "one self-contained page"}},
    summary="Report of a finished job",
)
async def report(found: Found) -> Response:
    """Return a report as one HTML file that needs no network and runs no script."""
    headers = {
        "Content-Security-Policy": ALONE,
        "Content-Disposition": 'attachment; filename="unmask-report.html"',
    }
    return HTMLResponse(zlib.decompress(_done(found).report), headers=headers)


@router.get(
    "/jobs/{id}/people/{number}/{moment}/{kind}",
    response_class=Response,
    responses={
        **errors(404, 409, 422),
        200: {"content": {"image/jpeg": {}, "image/png": {}}, "description": "a small picture"},
    },
    summary="Face crop, heat map or mask of one moment",
)
async def picture(
    found: Found,
    number: Annotated[int, InPath(description="number of the person", ge=0, le=10**6)],
    moment: Annotated[int, InPath(description="position in the person's `moments`, from 0", ge=0, le=10**6)],
    kind: Annotated[Kind, InPath(description="which picture")],
) -> Response:
    """Return a picture. The field `pictures` of each moment in the answer lists the pictures that exist."""
    person = next((one for one in _done(found).examination.people if one.number == number), None)
    moments: tuple[Moment, ...] = person.moments if person else ()
    content = b""
    if moment < len(moments):
        shown = moments[moment]
        content = {"crop": shown.crop, "heat": shown.heat, "mask": shown.mask}[kind]
    if not content:
        raise RefusedError(404, Problem(code="no_picture", message="There is no such picture."))
    return Response(content, media_type="image/png" if content.startswith(PNG) else "image/jpeg")


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={**errors(), 200: {"content": {"text/plain": {}}, "description": "Prometheus's text format"}},
    summary="Counters for Prometheus",
)
async def metrics(request: Request, server: Held) -> Response:
    """Return counters of requests and files, the length of the queue, and the resource use of the server process."""
    return PlainTextResponse(server.gauges.text(server.desk, server.pool))
