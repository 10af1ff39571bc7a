"""The page in a headless browser: everything by mouse and by keyboard, no request elsewhere, no accessibility fault."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright import sync_api

from chromium import launched, needs_chromium
from fake_examiner import jpeg
from unmask.media.encode import write_video
from web_server import listening

TOKEN = "token-of-the-browser-test"
pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    with listening(tmp_path_factory.mktemp("page")) as found:
        yield found


browser = pytest.fixture(launched, scope="module")


@pytest.fixture
def page(browser, url):
    """A page that records each request and each error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    opened = context.new_page()
    opened.asked, opened.faults = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    # A listener that is added just before a key is pressed can reach the browser after the key.
    opened.on("filechooser", lambda chooser: None)
    opened.goto(url)
    opened.get_by_text("Detector: ").wait_for()
    yield opened
    foreign = [one for one in opened.asked if not one.startswith((url, f"blob:{url}"))]
    assert foreign == [] and opened.faults == []
    context.close()


def drop(page, *files: tuple[str, str, bytes]) -> None:
    """Drop files as a person does, by a DataTransfer that the page reads."""
    made = [{"name": name, "type": kind, "bytes": list(content)} for name, kind, content in files]
    transfer = page.evaluate_handle(
        "(files) => { const held = new DataTransfer();"
        "for (const f of files) held.items.add(new File([new Uint8Array(f.bytes)], f.name, {type: f.type}));"
        "return held; }",
        made,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


def video(place: Path) -> bytes:
    write_video(place / "clip.mp4", [np.full((48, 64, 3), shade, np.uint8) for shade in range(0, 250, 10)], 10)
    return (place / "clip.mp4").read_bytes()


def faults(page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}" for one in found]


def test_a_picture_and_a_video_from_drop_to_report(page, tmp_path):
    assert faults(page) == []
    drop(page, ("me.jpg", "image/jpeg", jpeg(order=b"SLOW")), ("clip.mp4", "video/mp4", video(tmp_path)))
    first, second = page.locator(".file").nth(0), page.locator(".file").nth(1)
    bar = first.locator("progress")
    seen = set()
    while not first.locator(".result").count():
        with contextlib.suppress(sync_api.Error):
            seen.add(bar.get_attribute("value", timeout=200))
    assert len(seen) > 3, "the progress moved"
    second.locator(".result").wait_for(timeout=30_000)
    assert first.locator(".verdict h2").inner_text() == "Signs of manipulation"
    assert first.get_by_role("note").inner_text().startswith("What this does not tell you")
    said = page.locator("#live").inner_text()
    assert said in {f"{name}: Signs of manipulation." for name in ("me.jpg", "clip.mp4")}, "the last that ended"
    shown = first.locator(".seen img").first
    shown.wait_for()
    assert shown.evaluate("image => image.naturalWidth") == 64
    before = shown.get_attribute("src")
    first.locator(".chart").scroll_into_view_if_needed()
    box = first.locator(".chart").bounding_box()
    page.mouse.click(box["x"] + 35, box["y"] + 50)
    assert first.locator(".when").inner_text().startswith("0.0 s: score 20, not above")
    sync_api.expect(shown).not_to_have_attribute("src", before)
    first.get_by_role("radio").nth(1).check()
    assert "face 2" in first.get_by_role("slider").get_attribute("aria-label")
    with page.expect_download() as download:
        first.get_by_role("button", name="Download report").click()
    assert download.value.suggested_filename == "me-report.html"
    assert "me.jpg" in Path(download.value.path()).read_text()
    assert faults(page) == []


def test_a_wrong_file_is_refused_in_plain_words(page):
    drop(page, ("notes.txt", "text/plain", b"hello"), ("big.jpg", "image/jpeg", jpeg() + bytes(2_100_000)))
    states = page.locator(".file.refused .state")
    states.nth(1).wait_for()
    assert "neither a picture, a video nor a sound file" in states.nth(0).inner_text()
    assert "at most 2 MB" in states.nth(1).inner_text()
    drop(page, ("bad.jpg", "image/jpeg", jpeg(order=b"CRASH")))
    states.nth(2).wait_for(timeout=30_000)
    assert "damaged or malicious" in states.nth(2).inner_text()
    assert faults(page) == []


def test_everything_by_keyboard(page, tmp_path):
    (tmp_path / "me.jpg").write_bytes(jpeg())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(str(tmp_path / "me.jpg"))
    page.locator(".result").wait_for(timeout=30_000)
    visited = []
    for _ in range(16):
        page.keyboard.press("Tab")
        active = page.evaluate("[document.activeElement.type ?? '', document.activeElement.innerText ?? '']")
        visited.append(active)
        if active[0] == "range":
            before = page.locator(".when").inner_text()
            page.keyboard.press("ArrowLeft")
            assert page.locator(".when").inner_text() != before
        if active[0] == "radio":
            page.keyboard.press("ArrowDown")
        if "Download report" in active[1]:
            with page.expect_download():
                page.keyboard.press("Enter")
            break
    assert {"range", "radio"} <= {kind for kind, _ in visited} and "Download report" in visited[-1][1]
    page.locator(".file .name button").focus()
    page.keyboard.press("Enter")
    assert page.locator(".result").is_hidden() and page.locator(".chip").is_visible()
    page.get_by_role("button", name="Remove").focus()
    page.keyboard.press("Enter")
    assert page.locator(".file").count() == 0 and page.evaluate("document.activeElement.id") == "choose"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_width_has_no_fault(browser, url, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    drop(page, ("me.jpg", "image/jpeg", jpeg()))
    page.locator(".result").wait_for(timeout=30_000)
    for summary in page.locator(".result summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert faults(page) == []
    context.close()


def test_a_token_is_asked_for(browser, tmp_path):
    with listening(tmp_path, TOKEN) as url:
        page = browser.new_page()
        page.goto(url)
        page.get_by_label("access token").fill("wrong-token")
        page.keyboard.press("Enter")
        page.get_by_text("This token is not correct.").wait_for()
        page.get_by_label("access token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.locator("#drop").wait_for()
        drop(page, ("me.jpg", "image/jpeg", jpeg()))
        image = page.locator(".seen img").first
        image.wait_for(timeout=30_000)
        assert image.evaluate("image => image.naturalWidth") == 64, "pictures are requested with the token"
        page.close()
