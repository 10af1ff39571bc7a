"""The API with a fake examiner in a real child process."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.responses import JSONResponse

from conftest import unmask
from fake_examiner import broken, jpeg, load
from unmask.web.app import create_app
from unmask.web.child import Setup
from unmask.web.guard import Guard
from unmask.web.limits import Limits
from unmask.web.pool import StartError
from unmask.web.state import Server
from unmask.web.uploads import Spool

TESTS = Path(__file__).parent
LIMITS = {"time": 20, "upload": 2, "memory": 1, "per_client": 16}


@contextmanager
def serving(place: Path, token: str | None = None, loader=load, **limits: float) -> Iterator[TestClient]:
    """A client of an application with its own child process."""
    spool = Spool(place / "spool")
    setup = Setup(loader, (TESTS, spool.folder), Limits(**{**LIMITS, **limits}))
    with TestClient(create_app(Server(setup, spool), token=token), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("serve")) as found:
        yield found


def send(client: TestClient, content: bytes, name: str = "photo.jpg", **params: object):
    return client.post("/detect", files={"file": (name, content)}, params=params)


def spool_of(client: TestClient) -> list[str]:
    folder = client.app.state.server.spool.folder
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


def until_over(client: TestClient, job: str, seconds: float = 20) -> dict:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = client.get(f"/jobs/{job}").json()
        if found["state"] in ("done", "failed"):
            return found
        time.sleep(0.05)
    raise AssertionError(f"not over after {seconds} s: {found}")


def test_a_picture_is_answered(client):
    found = send(client, jpeg(), r"C:\secret\..\me.jpg")
    assert found.status_code == 200
    answer = found.json()
    assert answer["answer"] == "signs of manipulation" and answer["not_proof"]
    assert answer["facts"]["name"] == "me.jpg"
    assert answer["models"][0]["run"] == "meso4", "the folder of the run stays unknown"
    assert answer["trials"][1]["score"] is None, "NaN is null"
    assert [moment["pictures"] for moment in answer["people"][0]["moments"][2:4]] == [["crop"], ["crop", "heat"]]
    assert spool_of(client) == []


def test_a_job_is_followed_to_its_end(client):
    found = send(client, jpeg(order=b"SLOW"), wait=0)
    assert found.status_code == 202
    job = found.json()
    assert found.headers["location"] == f"/jobs/{job['id']}" and job["state"] in ("waiting", "running")
    assert client.get(f"/jobs/{job['id']}/report").status_code == 409
    names, seen = [], []
    with client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            key, _, value = line.partition(": ")
            names += [value] if key == "event" else []
            seen += [json.loads(value)] if key == "data" else []
    fractions = [one["fraction"] for one in seen]
    assert names[-1] == "done" and set(names[:-1]) == {"progress"} and len(names) > 5
    assert fractions == sorted(fractions) and seen[-1]["result"]["answer"] == "signs of manipulation"
    report = client.get(f"/jobs/{job['id']}/report")
    assert report.status_code == 200 and "photo.jpg" in report.text
    assert "sandbox" in report.headers["content-security-policy"]
    assert client.delete(f"/jobs/{job['id']}").status_code == 204
    assert client.get(f"/jobs/{job['id']}").status_code == 404
    assert spool_of(client) == []


def test_pictures_of_a_job(client):
    job = send(client, jpeg()).headers["x-job"]
    crop = client.get(f"/jobs/{job}/people/2/3/heat")
    assert crop.status_code == 200 and crop.headers["content-type"] == "image/jpeg" and crop.content == jpeg(200)
    assert client.get(f"/jobs/{job}/people/2/4/heat").status_code == 404
    assert client.get(f"/jobs/{job}/people/3/0/crop").status_code == 404
    assert client.get(f"/jobs/{job}/people/1/0/face").status_code == 422


def test_a_file_that_cannot_be_analysed_has_an_answer(client):
    answer = send(client, jpeg(order=b"NOFACE")).json()
    assert answer["answer"] == "cannot analyse" and answer["reasons"][0]["code"] == "no_face"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello", "neither a picture, a video nor a sound file"),
        (b"#EXTM3U\nhttp://127.0.0.1/x.ts\n", "neither"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "neither"),
        (b"GIF89a" + bytes(20), "GIF"),
        (b"PK\x03\x04" + bytes(100), "neither"),
    ],
)
def test_other_files_are_refused_in_plain_words(client, content, says):
    found = send(client, content, "clip.mp4")
    assert found.status_code == 415 and says in found.json()["message"]
    assert spool_of(client) == []


@pytest.mark.parametrize(
    ("order", "code"), [(b"CRASH", "crashed"), (b"LEAVE", "crashed"), (b"RAISE", "failed"), (b"WRITE", "failed")]
)
def test_a_crash_is_the_files_problem_alone(client, order, code):
    found = send(client, jpeg(order=order))
    assert found.status_code == 422 and found.json()["code"] == code
    assert "secret" not in found.text and "photo" not in found.text
    assert spool_of(client) == []
    assert send(client, jpeg()).status_code == 200, "the process was started again"


def test_what_hangs_or_fills_the_memory_is_ended(tmp_path):
    with serving(tmp_path, time=4, memory=0.5) as client:
        assert send(client, jpeg(order=b"HANG")).json()["code"] == "timeout"
        assert send(client, jpeg(order=b"MEMORY")).json()["code"] == "memory"
        assert send(client, jpeg()).status_code == 200


def test_a_killed_process_fails_its_job_and_is_replaced(client):
    job = send(client, jpeg(order=b"HANG"), wait=0).json()["id"]
    pool = client.app.state.server.pool
    while client.get(f"/jobs/{job}").json()["state"] == "waiting":
        time.sleep(0.05)
    os.kill(pool.pids[0], signal.SIGKILL)
    assert until_over(client, job)["problem"]["code"] == "crashed"
    assert send(client, jpeg()).status_code == 200
    os.kill(pool.pids[0], signal.SIGKILL)  # while it waits for work
    time.sleep(0.2)
    assert send(client, jpeg()).status_code == 200


def test_a_running_job_is_cancelled_without_killing_its_process(client):
    pool = client.app.state.server.pool
    send(client, jpeg())
    before = pool.pids
    job = send(client, jpeg(order=b"SLOW"), wait=0).json()["id"]
    waits = send(client, jpeg(order=b"SLOW"), wait=0).json()["id"]
    while client.get(f"/jobs/{job}").json()["fraction"] == 0:
        time.sleep(0.02)
    assert client.delete(f"/jobs/{waits}").status_code == client.delete(f"/jobs/{job}").status_code == 204
    began = time.monotonic()
    assert send(client, jpeg()).status_code == 200 and time.monotonic() - began < 2
    assert pool.pids == before and spool_of(client) == []


def test_limits_of_size(tmp_path):
    with serving(tmp_path, upload=0.1, pixels=0.01) as client:
        large = send(client, jpeg() + bytes(200_000))
        assert large.status_code == 413 and "0.1 MB" in large.json()["message"]
        wide = send(client, jpeg(size=(200, 100)))
        assert wide.status_code == 422 and wide.json()["code"] == "too_large" and "200 x 100" in wide.json()["message"]
        assert spool_of(client) == []


def test_the_queue_pushes_back(tmp_path):
    with serving(tmp_path, queue=2, per_client=2) as client:
        jobs = [send(client, jpeg(order=b"SLOW"), wait=0) for _ in range(2)]
        assert [one.status_code for one in jobs] == [202, 202]
        third = send(client, jpeg(), wait=0)
        assert third.status_code == 429 and int(third.headers["retry-after"]) > 0
        for one in jobs:
            client.delete(f"/jobs/{one.json()['id']}")
    with serving(tmp_path, queue=1, per_client=9) as client:
        first = send(client, jpeg(order=b"SLOW"), wait=0).json()["id"]
        while client.get(f"/jobs/{first}").json()["state"] == "waiting":
            time.sleep(0.02)
        assert send(client, jpeg(order=b"SLOW"), wait=0).status_code == 202
        full = send(client, jpeg(), wait=0)
        assert full.status_code == 503 and int(full.headers["retry-after"]) > 0
        assert full.json()["code"] == "queue_full"


def test_results_expire(tmp_path):
    with serving(tmp_path, kept=3, keep=1) as client:
        jobs = [send(client, jpeg()).headers["x-job"] for _ in range(5)]
        states = [client.get(f"/jobs/{job}").status_code for job in jobs]
        assert states == [404, 404, 200, 200, 200]
        time.sleep(1.1)
        assert client.get(f"/jobs/{jobs[-1]}").status_code == 404
        assert client.app.state.server.desk.jobs == {}


def test_token_host_and_origin(tmp_path):
    with serving(tmp_path, token="right-token-right-token") as client:
        for path in ("/model", "/metrics", "/openapi.json", "/jobs/x"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert send(client, jpeg()).status_code == 401
        assert client.get("/health").status_code == client.get("/").status_code == 200
        client.headers["Authorization"] = "Bearer right-token-right-token"
        assert client.get("/model").json()["models"][0]["name"] == "fake"
        assert send(client, jpeg()).status_code == 200
        assert client.get("/model", headers={"Host": "evil.example"}).status_code == 400
        assert client.get("/model", headers={"Host": "127.0.0.1.evil.example:8000"}).status_code == 400
        assert client.get("/model", headers={"Host": "localhost:8000"}).status_code == 200
        foreign = client.post("/detect", files={"file": jpeg()}, headers={"Origin": "http://evil.example"})
        assert foreign.status_code == 403
        assert client.post("/detect", files={"file": jpeg()}, headers={"Origin": "null"}).status_code == 403
        assert "access-control-allow-origin" not in client.get("/model", headers={"Origin": "http://127.0.0.1"}).headers


def test_headers_model_health_and_metrics(client):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert client.get("/health").json() == {"status": "ok", "processes": 1, "waiting": 0}
    about = client.get("/model").json()
    assert about["limits"]["upload"] == 2 and "JPEG" in about["formats"] and about["models"][0]["demo"] is True
    client.get(f"/jobs/{send(client, jpeg(), 'very-secret-name.jpg').headers['x-job']}")
    text = client.get("/metrics").text
    assert 'unmask_jobs_total{outcome="signs"}' in text and "process_resident_memory_bytes" in text
    assert 'route="/jobs/{id}"' in text and "secret" not in text


def test_the_log_holds_no_names(client, caplog):
    caplog.set_level("INFO", "unmask.web")
    send(client, jpeg(), "very-secret-name.jpg")
    client.get("/jobs/very-secret-id")
    text = [record.getMessage() for record in caplog.records if record.name == "unmask.web"]
    assert text[0].startswith("POST /detect 200") and "secret" not in str(text)


def test_parameters_are_checked(client):
    assert send(client, jpeg(), wait=61).json()["code"] == "invalid"
    assert client.post("/detect").json()["message"].startswith("file: Field required")
    assert client.get("/nothing").json()["code"] == "not_found"
    assert client.put("/detect").status_code == 405


def test_leftovers_of_a_killed_server_are_deleted(tmp_path):
    base = tmp_path / "spool"
    running = Spool(base)
    left = base / "uploads-1"
    left.mkdir()
    (left / "lock").touch()
    (left / "a.jpg").write_bytes(b"x")
    (base / "other").mkdir()
    again = Spool(base)
    assert sorted(base.iterdir()) == sorted([running.folder, again.folder, base / "other"])
    again.close()
    running.close()
    os.chmod(base, 0o755)
    with pytest.raises(ValueError, match="only you can read"):
        Spool(base)


def test_a_detector_that_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(StartError, match="nowhere: not a run folder"), serving(tmp_path, loader=broken):
        pass


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("trials=3", "trials=3: expected true or false"),
        ("explain=all", "explain=all: expected true or false"),
        ("processes=0", "processes=0: expected a whole number of 1 or more"),
        ("port=70000", "port=70000: expected a number from 1 to 65535"),
        ("limits.time=0", "limits.time=0: expected a positive number"),
    ],
)
def test_a_wrong_setting_is_refused_before_the_detectors_are_loaded(wrong, says, tmp_path):
    assert says in unmask("serve", "run=DIR", wrong, cwd=tmp_path, expect=1).stderr


def test_too_many_requests_at_once_get_a_time_after_which_to_try_again():
    """A request above the limit is refused at once, in the usual form; later ones are answered again."""
    from unmask.web.gauges import Gauges

    async def slow(scope, receive, send):
        await held.wait()
        await JSONResponse({"fine": True})(scope, receive, send)

    async def ask(client):
        return await client.get("http://localhost/x")

    async def several():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard)) as client:
            first = [asyncio.create_task(ask(client)) for _ in range(2)]
            await asyncio.sleep(0.05)
            refused = await ask(client)
            held.set()
            return [*(await asyncio.gather(*first)), refused, await ask(client)]

    held = asyncio.Event()
    guard = Guard(slow, ("localhost",), None, Gauges(), most=2)
    first, second, refused, later = asyncio.run(several())
    assert [one.status_code for one in (first, second, refused, later)] == [200, 200, 503, 200]
    assert refused.json()["code"] == "busy" and refused.headers["retry-after"] == "5" == str(
        refused.json()["retry_after"]
    )
