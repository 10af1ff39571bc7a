"""The routes of the API: upload a file, follow the job, and read the answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Path, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from unmask.files import printable
from unmask.web import answers
from unmask.web.answers import Problem
from unmask.web.guard import client
from unmask.web.jobs import Job, RefusedError
from unmask.web.state import Server
from unmask.web.uploads import FORMATS_IN_WORDS, UnsupportedError

DETECT = "/detect"
PING = 10.0  # s after which an event is sent even without a change, so that no proxy closes the connection
LONGEST_NAME = 120  # characters of a file name that are kept
UNPARSED = 4096  # maximum size of a form field, bytes

router = APIRouter()
Errors = dict[int | str, dict[str, Any]]
REASONS = {
    400: "The request is malformed, or its Host header names another host",
    401: "The token is missing or wrong",
    403: "The request comes from a page of another website",
    404: "There is no such job, or its result has expired",
    408: "The upload took too long",
    409: "The job has not ended, or it failed",
    413: "The file is too large",
    415: "The file is not a picture or a video in a supported format",
    422: "A parameter is invalid; or the examination crashed, exceeded a limit or took too long",
    429: "The client has too many unfinished files",
    503: "Too many files are waiting, or the server has no space for the file",
}


def errors(*codes: int) -> Errors:
    """Describe the errors of a route for OpenAPI: they are JSON, even if the answer of the route is not."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {code: {"content": content, "description": REASONS[code]} for code in (400, 401, 403, *codes)}


def _server(request: Request) -> Server:
    server = request.app.state.server
    assert isinstance(server, Server)
    return server


Held = Annotated[Server, Depends(_server)]
JobId = Annotated[str, Path(description="ID from `POST /detect`", max_length=64)]


def job_of(server: Held, id: JobId) -> Job:
    """Return the job with the ID in the path.

    Raises:
        RefusedError: 404 if there is no such job.
    """
    job: Job | None = server.desk.find(id)
    if job is None:
        message = "There is no such job. Results are deleted some time after the examination."
        raise RefusedError(404, Problem(code="no_job", message=message))
    return job


Found = Annotated[Job, Depends(job_of)]
ACCEPTED: Errors = {
    202: {
        "model": answers.Job,
        "description": "The file is being examined: poll `GET /jobs/{id}`, or read `GET /jobs/{id}/events`",
        "headers": {"Location": {"schema": {"type": "string"}, "description": "path of the job"}},
    }
}


@router.post(
    DETECT,
    response_model=answers.Examined,
    responses={**ACCEPTED, **errors(408, 413, 415, 422, 429, 503)},
    form_limits={"max_files": 1, "max_fields": 4, "max_part_size": UNPARSED},
    summary="Examine a picture or a video",
)
async def detect(
    request: Request,
    server: Held,
    file: Annotated[UploadFile, File(description="a picture or a video; the format is recognised by its content")],
    wait: Annotated[float, Query(ge=0, le=60, description="s to wait for the result before 202")] = 20.0,
) -> Response:
    """Upload one file. The status is 200 with the result, or 202 with a job after `wait` seconds.

    If the client disconnects while it waits, the examination is cancelled.
    """
    try:
        path = await asyncio.to_thread(server.spool.keep, file.file)
    except UnsupportedError as error:
        raise RefusedError(415, Problem(code="unsupported", message=str(error))) from None
    except OSError:
        message = "The server has no space for this file at the moment."
        raise RefusedError(503, Problem(code="disk_full", message=message, retry_after=60)) from None
    finally:
        await file.close()
    job = Job(path, _name(file.filename), client(request.scope))
    await server.desk.add(job)
    await _finished(request, server, job, wait)
    if job.problem is not None:
        raise RefusedError(422, job.problem)
    if job.found is not None:
        return Response(job.found.answer.model_dump_json(), media_type="application/json", headers={"X-Job": job.id})
    found = server.desk.show(job).model_dump(mode="json")
    return JSONResponse(found, 202, headers={"Location": f"/jobs/{job.id}"})


async def _finished(request: Request, server: Server, job: Job, seconds: float) -> None:
    """Wait until a job has ended, for at most `seconds`; cancel the job if the client disconnects."""
    end = time.monotonic() + seconds
    while not job.over and time.monotonic() < end:
        news = job.news  # taken before the first `await`, so that no change is missed
        if await request.is_disconnected():
            server.desk.forget(job)
            return
        await job.wait(news, min(0.5, end - time.monotonic()))


def _name(given: str | None) -> str:
    """Return a file name for display: without folders and control characters, and not too long."""
    name = printable((given or "").replace("\\", "/").rpartition("/")[2]).strip()
    return name[:LONGEST_NAME] or "unnamed"


@router.get("/jobs/{id}", response_model=answers.Job, responses=errors(404, 422), summary="State of a job")
async def job(server: Held, found: Found) -> answers.Job:
    """Return the progress of a job and, if it has ended, its result or the reason why it failed."""
    return server.desk.show(found)


@router.get(
    "/jobs/{id}/events",
    response_class=EventSourceResponse,
    responses=errors(404, 422),
    summary="Progress of a job as server-sent events",
)
async def events(server: Held, found: Found) -> AsyncIterator[ServerSentEvent]:
    """Send an event `progress` after each change, and one event `done` or `failed` at the end.

    The data of each event is the job as `GET /jobs/{id}` returns it.
    """
    while not found.over:
        news = found.news
        yield ServerSentEvent(event="progress", data=server.desk.show(found).model_dump(mode="json"))
        await found.wait(news, PING)
    yield ServerSentEvent(event=found.state, data=server.desk.show(found).model_dump(mode="json"))


@router.delete(
    "/jobs/{id}", status_code=204, response_class=Response, responses=errors(404, 422), summary="Cancel or delete a job"
)
async def delete(server: Held, found: Found) -> Response:
    """Cancel a job that has not ended, and delete the file, the result and the pictures."""
    server.desk.forget(found)
    return Response(status_code=204)


@router.get("/model", response_model=answers.About, responses=errors(), summary="The detectors and the limits")
async def model(server: Held) -> answers.About:
    """Return the detectors and the limits of the server."""
    limits: Mapping[str, float] = asdict(server.limits)
    return answers.About(
        version=version("unmask"), models=list(server.pool.models), limits=dict(limits),
        formats=list(FORMATS_IN_WORDS), sandbox=server.pool.sandbox,
    )  # fmt: skip


@router.get(
    "/health",
    response_model=answers.Health,
    responses={**errors(), 503: {"model": answers.Health, "description": "No process is ready yet"}},
    summary="Whether files can be examined",
)
async def health(server: Held) -> Response:
    """Answer without a token: 200 if at least one process can examine files, else 503."""
    ready = server.pool.ready
    found = answers.Health(status="ok" if ready else "starting", processes=ready, waiting=server.desk.waiting)
    return JSONResponse(found.model_dump(), 200 if ready else 503)
