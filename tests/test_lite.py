"""The page that scores pictures in the browser: its score is Python's, and no request leaves the machine."""

import contextlib
import functools
import json
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from chromium import launched, needs_chromium
from conftest import ROOT
from published import SIZE, run_folder
from unmask.inference.score import Scorer
from unmask.runs.run import Run

sys.path.insert(0, str(ROOT / "lite"))
import make_lite

RUNTIME = ROOT / make_lite.KEPT / make_lite.VERSION
pytestmark = [
    pytest.mark.slow,
    needs_chromium,
    pytest.mark.skipif(
        not all((RUNTIME / name).is_file() for name in make_lite.RUNTIME),
        reason="onnxruntime-web (14 MB) is downloaded only on request: python lite/make_lite.py --only-runtime",
    ),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return Run(run_folder(tmp_path_factory.mktemp("run") / "films", demo=True))


@pytest.fixture(scope="module")
def url(run, tmp_path_factory) -> Iterator[str]:
    """The address of the page, which a server of static files gives."""
    from unmask.export.run import export

    place = tmp_path_factory.mktemp("lite")
    model = export(run, "onnx", place / "films.onnx").path
    make_lite.build(model, RUNTIME, place / "page")
    with static(place / "page") as found:
        yield found


@contextlib.contextmanager
def static(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


browser = pytest.fixture(launched, scope="module")


@pytest.fixture
def page(browser, url):
    """The page of a phone; every request is recorded, and none may leave the server of the page."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    opened = context.new_page()
    opened.asked, opened.faults = [], []
    opened.on("request", lambda request: opened.asked.append((request.method, request.url)))
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.goto(url)
    opened.get_by_text("Detector: ").wait_for(timeout=60_000)
    yield opened
    local = (url, f"blob:{url}", "data:")
    assert [one for one in opened.asked if one[0] != "GET" or not one[1].startswith(local)] == []
    assert opened.faults == []
    context.close()


def scored(page, path: Path) -> tuple[float, float]:
    """Choose a file, score the whole picture, and return the logit and the calibrated probability."""
    page.get_by_label("Picture", exact=True).set_input_files(str(path))
    page.get_by_role("button", name="Score").click()
    result = page.locator("#result")
    result.wait_for(timeout=30_000)
    return float(result.get_attribute("data-logit")), float(result.get_attribute("data-probability"))


def pictures(place: Path, side: int) -> Iterator[tuple[Path, np.ndarray]]:
    draw = np.random.default_rng(0)
    smooth = np.linspace(0, 255, side).astype(np.uint8)
    for number, pixels in enumerate(
        [
            draw.integers(0, 256, (side, side, 3), dtype=np.uint8),
            np.stack([np.tile(smooth, (side, 1)), np.tile(smooth[:, None], (1, side)), np.full((side, side), 90)], 2),
            np.zeros((side, side, 3), np.uint8),
        ]
    ):
        path = place / f"{number}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        yield path, pixels.astype(np.uint8)


def test_the_score_is_that_of_python(page, run, tmp_path):
    """The pictures have the size of the network's input, so the browser resizes nothing."""
    scorer, answers = Scorer(run), set()
    for path, pixels in pictures(tmp_path, SIZE):
        expected = scorer.score(pixels)
        logit, probability = scored(page, path)
        assert logit == pytest.approx(expected.logit, abs=1e-3)
        assert probability == pytest.approx(expected.calibrated, abs=1e-3)
        above = page.locator("#answer").inner_text() == "Above the threshold"
        assert above == expected.above_threshold
        answers.add(round(logit, 4))
    assert len(answers) == 3, "the score depends on the picture"


def test_a_part_of_a_picture_is_scored(page, run, tmp_path):
    """A picture of twice the width, of which the sliders choose the right half: only this half counts."""
    (path, half), *_ = pictures(tmp_path, SIZE)
    Image.fromarray(np.concatenate([np.zeros_like(half), half], 1)).save(path)
    page.get_by_label("Picture", exact=True).set_input_files(str(path))
    for name, value in (("Size", 100), ("From the left", 100)):
        page.get_by_label(name).fill(str(value))
    page.get_by_role("button", name="Score").click()
    page.locator("#result").wait_for()
    logit = float(page.locator("#result").get_attribute("data-logit"))
    assert logit == pytest.approx(Scorer(run).score(half).logit, abs=1e-3)
    page.get_by_role("button", name="Whole picture").click()
    assert page.locator("#result").is_hidden(), "the score of another part is not shown"


def test_a_square_is_drawn_with_the_pointer(page, tmp_path):
    (path, _), *_ = pictures(tmp_path, 200)
    page.get_by_label("Picture", exact=True).set_input_files(str(path))
    before = page.locator("#picture").evaluate("canvas => canvas.toDataURL()")
    box = page.locator("#picture").bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + 90, steps=3)
    page.mouse.up()
    assert page.locator("#picture").evaluate("canvas => canvas.toDataURL()") != before
    page.get_by_role("button", name="Score").click()
    page.locator("#result").wait_for()


def test_the_page_says_what_it_is(page, run, tmp_path):
    assert "Detector: meso4, trained on films" in page.locator("#model").inner_text()
    assert page.get_by_text("Demonstration only.").is_visible()
    (path, _), *_ = pictures(tmp_path, SIZE)
    scored(page, path)
    assert page.get_by_text("A score is evidence, not proof.").is_visible()
    found = Axe().run(page).response["violations"]
    assert [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_file_that_is_no_picture(page, tmp_path):
    (tmp_path / "a.png").write_text("hello")
    page.get_by_label("Picture", exact=True).set_input_files(str(tmp_path / "a.png"))
    page.get_by_text("This file is not a picture that the browser can read.").wait_for()


def test_the_facts_come_from_the_model(url, run):
    from urllib.request import urlopen

    about = json.loads(urlopen(f"{url}/model.json").read())
    assert about["threshold"] == run.score_thresholds["video"] and about["side"] == SIZE
    assert about["demo"] is True and about["faces"] is False
