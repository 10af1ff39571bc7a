"""A real server with a trained run: hostile files, a killed child, many clients, the client of the documentation."""

import io
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from conftest import ROOT, TINY, unmask
from hostile_files import listening, snapshot
from hostile_media import SIGNATURE, Place, chunk, film, make, png

READS_PROC = "needs Linux: memory and open files of the server are read from /proc"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason=READS_PROC)]
LIMIT = 20  # s for one file
STATES = {200, 413, 415, 422}
TRICKS = [
    "../../etc/passwd.jpg", "/etc/shadow", "..\\..\\x.png", "a\0b.jpg", "con.mp4", "x" * 3000 + ".jpg",
    "\r\nSet-Cookie: a", "%2e%2e/x",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(workplace: Path) -> Path:
    """A detector that was trained for two steps on rendered faces."""
    options = ["data=demo_celebdf", *TINY, "module/network=meso4", "trainer=cpu", "trainer.max_epochs=1", "explain=0"]
    unmask("train", *options, "hydra.run.dir=served", cwd=workplace)
    return workplace / "served"


class Served:
    """`unmask serve` in a process of its own."""

    def __init__(self, run: Path, place: Path, *more: str) -> None:
        self.place, self.port = place, 20_000 + os.getpid() % 20_000
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            sys.executable,
            "-m",
            "unmask",
            "serve",
            f"run={run}",
            f"port={self.port}",
            f"spool={place / 'spool'}",
        ]
        log = (place / "log").open("wb")
        self.process = subprocess.Popen([*command, *more], stdout=log, stderr=log, cwd=place)
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            try:
                httpx.get(f"{self.url}/health").raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise AssertionError((place / "log").read_text())

    @property
    def children(self) -> list[int]:
        """IDs of the processes that read files."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(one) for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]

    @property
    def uploads(self) -> list[Path]:
        return [path for path in (self.place / "spool").rglob("*") if path.is_file() and path.name != "lock"]

    def send(self, content: bytes, name: str = "x.jpg", wait: float = 60) -> httpx.Response:
        return httpx.post(f"{self.url}/detect?wait={wait}", files={"file": (name, content)}, timeout=100)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(20)


@pytest.fixture(scope="module")
def served(run: Path, tmp_path_factory):
    found = Served(run, tmp_path_factory.mktemp("served"), f"limits.time={LIMIT}", "limits.upload=20")
    yield found
    found.stop()
    assert not any((found.place / "spool").iterdir()), "the folder of the uploads is deleted at the end"


def face(demo_root: Path) -> bytes:
    return next((demo_root / "Celeb-real").glob("*.mp4")).read_bytes()


def test_a_rendered_video_is_examined_and_reported(served, demo_root):
    found = served.send(face(demo_root), "clip.mp4")
    assert found.status_code == 200, found.text
    answer = found.json()
    assert answer["people"] and answer["models"][0]["score"] is not None and answer["caveats"]
    report = httpx.get(f"{served.url}/jobs/{found.headers['x-job']}/report").text
    assert "clip.mp4" in report and not re.search(r"(src|href)=.?https?:", report)
    about = httpx.get(f"{served.url}/model").json()
    assert about["models"][0]["demo"] is True and "no written file" in about["sandbox"]


def lies() -> dict[str, bytes]:
    """Files that are not in hostile_media.py."""
    wide = io.BytesIO()
    Image.new("L", (10_000, 10_000)).save(wide, "PNG")
    rows = zlib.compress((b"\0" + bytes(64 * 3)) * 48)
    jpeg = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(jpeg, "JPEG")
    return {
        "empty": b"",
        "10,000 x 10,000": wide.getvalue(),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "html": b"<html><script>alert(1)</script>",
        "jpeg and zip": jpeg.getvalue() + b"PK\x03\x04" + bytes(100),
        "jpeg and script": jpeg.getvalue()[:2] + b"\xff\xfe\x00\x1b<script>alert(1)</script>" + jpeg.getvalue()[2:],
        "png header alone": SIGNATURE + chunk(b"IHDR", b"\0" * 13),
        "png that lies": png(2**31 - 1, 1, 8, 2, b"", chunk(b"IDAT", rows)),
        "m3u8": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "pdf": b"%PDF-1.7\n", "elf": b"\x7fELF" + bytes(200), "zeros": bytes(100_000),
        "riff": b"RIFF\xff\xff\xff\xffWEBP",
    }  # fmt: skip


def test_hostile_files_do_no_harm(served, tmp_path):
    canary, seen, slowest = tmp_path / "canary" / "canary.mp4", Counter(), 0.0
    canary.parent.mkdir()
    canary.write_bytes(film(np.random.default_rng(7), "mp4", "libx264"))
    with listening() as (port, heard):
        made = make(Place(os.fsencode(tmp_path / "data"), canary, port), 5, 215)
        files = [one for one in made if one.kind not in ("not a regular file", "sparse")]  # cannot be uploaded
        before = snapshot(tmp_path, tmp_path / "nothing")
        sent = [
            (os.path.basename(one.path).decode("latin-1"), Path(os.fsdecode(one.path)).read_bytes()) for one in files
        ]
        sent += [(f"{name}.jpg", content) for name, content in lies().items()]
        sent += [(trick, lies()["jpeg and zip"]) for trick in TRICKS]
        for name, content in sent:
            began = time.monotonic()
            found = served.send(content, name)
            slowest = max(slowest, time.monotonic() - began)
            seen[found.status_code] += 1
            assert found.status_code in STATES, (name, found.text)
            assert found.headers["content-type"] == "application/json"
            if found.status_code == 200:
                assert set(found.json()["facts"]["name"]).isdisjoint("\0\r\n/\\")
        assert heard == [] and snapshot(tmp_path, tmp_path / "nothing") == before
    assert len(sent) >= 200 and slowest < LIMIT + 10, (len(sent), slowest)
    assert served.uploads == [] and served.process.poll() is None
    log = (served.place / "log").read_text()
    assert "Traceback" not in log and "passwd" not in log
    print(f"{len(sent)} files, answers {dict(seen)}, slowest {slowest:.1f} s")


def test_a_killed_child_fails_its_job_and_the_server_goes_on(served, demo_root):
    job = served.send(face(demo_root), "clip.mp4", wait=0).json()["id"]
    while httpx.get(f"{served.url}/jobs/{job}").json()["state"] == "waiting":
        time.sleep(0.02)
    os.kill(served.children[0], signal.SIGKILL)
    end = time.monotonic() + 20
    while (found := httpx.get(f"{served.url}/jobs/{job}").json())["state"] == "running" and time.monotonic() < end:
        time.sleep(0.1)
    assert found["state"] == "failed" and found["problem"]["code"] == "crashed"
    assert served.send(face(demo_root), "clip.mp4").status_code == 200 and served.uploads == []


def test_many_clients_for_a_short_time(served):
    code = [
        sys.executable,
        str(ROOT / "benchmarks/serve.py"),
        "--load",
        served.url,
        "--seconds",
        "15",
        "--clients",
        "50",
    ]
    done = subprocess.run(code, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert served.process.poll() is None and served.uploads == []


def test_the_client_of_the_documentation(served, demo_root, tmp_path):
    page = (ROOT / "docs/serving.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "def examine" in block)
    assert len(code.splitlines()) <= 42
    (tmp_path / "client.py").write_text(code)
    (tmp_path / "clip.mp4").write_bytes(face(demo_root))
    command = [sys.executable, "client.py", served.url, "clip.mp4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0 and "clip.mp4:" in done.stdout, done.stderr
    assert "clip.mp4" in (tmp_path / "clip.mp4.html").read_text()


def test_no_server_without_a_token_or_a_run(run, tmp_path):
    def said(*arguments: str, token: str | None = None) -> str:
        environment = {key: value for key, value in os.environ.items() if key != "UNMASK_TOKEN"}
        environment |= {} if token is None else {"UNMASK_TOKEN": token}
        command = [sys.executable, "-m", "unmask", "serve", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        return done.stderr

    assert "UNMASK_TOKEN" in said(f"run={run}", "host=0.0.0.0")
    assert "at least 16" in said(f"run={run}", "host=0.0.0.0", token="short")
    assert "run missing" in said()
    assert "not a run folder" in said(f"run={tmp_path}", "port=19999")
    assert "limits.queue=0" in said(f"run={run}", "limits.queue=0")
