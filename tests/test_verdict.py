"""The answers of `Examiner`: all four, each reason, the range and the instability rule by hand, and what is written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from test_predict import Dark, fake_run
from test_report_pictures import predictions
from unmask.inference import batch, judge
from unmask.inference.charts import timeline
from unmask.inference.examination import Answer, Examination, Facts, Model, Moment, Person, Reason, Trial
from unmask.inference.examine import Examiner
from unmask.inference.outputs import outputs_for
from unmask.inference.page import clock, report
from unmask.inference.predict import as_json
from unmask.inference.reach import Look, outside
from unmask.inference.trials import CHANGES, Outcome, TrackScore, flips
from unmask.media.encode import write_video
from unmask.media.pictures import WholePictures
from unmask.media.quality import blockiness, sharpness
from unmask.media.recipe import FaceCrops
from unmask.metrics.measured import AXES, Cloud, Limits, far
from unmask.runs.errors import RunError
from unmask.runs.measured import CLOUD, Measured, read_measured, write_cloud

DARK, BRIGHT = 20, 100  # grey values that `Dark` calls fake and real
NOISE = np.random.default_rng(0).integers(0, 40, (64, 80, 3)).astype(np.uint8)


def picture(path: Path, grey: int, size: tuple[int, int] = (64, 80)) -> Path:
    """A picture with some texture around a grey value."""
    noise = np.random.default_rng(grey).integers(-8, 9, (*size, 3))
    Image.fromarray((grey + noise).clip(0, 255).astype(np.uint8)).save(path)
    return path


class Steps(Dark):
    """Steep at its threshold, and sensitive to texture, which a JPEG removes: the smallest steps are fake."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 40 * ((x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3)) - 0.02)


def examiner(*runs: SimpleNamespace, **options: object) -> Examiner:
    return Examiner(runs, "none", **({"explain": False} | options))


@pytest.fixture
def dark_run() -> SimpleNamespace:
    return fake_run(WholePictures(32), predictions())


# ---- the four answers, and each reason


def test_signs_and_no_signs(dark_run, tmp_path):
    signs = examiner(dark_run).examine(picture(tmp_path / "dark.png", DARK))
    none = examiner(dark_run).examine(picture(tmp_path / "bright.png", BRIGHT))
    assert (signs.answer, none.answer) == (Answer.SIGNS, Answer.NO_SIGNS)
    assert [answer.exit_code for answer in Answer] == [10, 0, 20, 30]
    assert not signs.reasons and not none.reasons
    assert signs.people[0].score == pytest.approx(1 / (1 + np.exp(-20 * (0.2 - DARK / 255))), abs=0.01)
    assert len(signs.trials) == 3 and all(trial.above_threshold for trial in signs.trials)
    assert signs.models[0].threshold < signs.models[0].score and signs.people[0].moments[0].crop[:2] == b"\xff\xd8"
    assert "real" not in {str(answer) for answer in Answer}


@pytest.mark.parametrize(
    ("name", "make", "code", "said"),
    [
        ("no.png", None, "unreadable", "no such file"),
        ("empty.png", lambda path: path.write_bytes(b""), "unreadable", "the file is empty"),
        ("text.png", lambda path: path.write_text("hello"), "unreadable", "not a readable picture"),
        ("note.md", lambda path: path.write_text("hello"), "unreadable", "neither a video"),
        ("small.png", lambda path: picture(path, 50, (20, 90)), "too_small", "has 90x20 px, expected at least 32 px"),
        ("jpeg.jpg", lambda path: squeezed(path), "too_compressed", "blockiness"),
    ],
)
def test_what_cannot_be_analysed_has_a_reason(dark_run, tmp_path, name, make, code, said):
    if make is not None:
        make(tmp_path / name)
    found = examiner(dark_run).examine(tmp_path / name)
    assert found.answer is Answer.CANNOT_ANALYSE and not found.models and not found.people
    (reason,) = found.reasons
    assert reason.code == code and said in reason.text and str(tmp_path) not in json.dumps(found.as_dict())
    assert found.facts.name == name and found.score is None


def squeezed(path: Path) -> None:
    """A photograph-like picture with smooth shades, saved with the strongest compression of JPEG."""
    noise = np.random.default_rng(0).integers(0, 255, (12, 12, 3)).astype(np.uint8)
    Image.fromarray(cv2.resize(noise, (192, 192), interpolation=cv2.INTER_CUBIC)).save(path, quality=1)


def test_a_picture_without_a_face(tmp_path):
    found = examiner(fake_run(FaceCrops(crop_size=32))).examine(picture(tmp_path / "wall.png", 90, (200, 200)))
    assert found.answer is Answer.CANNOT_ANALYSE and found.reasons[0].code == "no_face"
    assert found.facts.width == 200 and found.facts.read == 1


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_frames_for_a_clip(tmp_path, count):
    run = fake_run(WholePictures(32))
    run.config["data"]["sampling"]["frames"] = 4
    if count == 1:
        path = picture(tmp_path / "one.png", DARK)
    else:
        path = tmp_path / "short.mp4"
        write_video(path, [np.full((64, 80, 3), DARK, np.uint8)] * count, fps=25, crf=4)
    found = examiner(run).examine(path)
    assert found.answer is Answer.CANNOT_ANALYSE and found.reasons[0].code == "too_short"
    assert "clips of 4 frames" in found.reasons[0].text


def test_a_video_of_nothing_but_blocks(tmp_path):
    path = tmp_path / "flat.mp4"
    write_video(path, [np.full((480, 640, 3), DARK, np.uint8)] * 60, fps=25, crf=51)
    found = examiner(fake_run(WholePictures(32))).examine(path)
    assert found.reasons[0].code == "too_compressed" and "bits per pixel" in found.reasons[0].text


def test_an_answer_that_flips_is_inconclusive_and_says_why(tmp_path):
    """Noise of high frequency is above the threshold; half size averages it away."""
    noise = np.random.default_rng(0).integers(120, 136, (32, 32, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    run = fake_run(WholePictures(32), predictions(), Steps, {"frame": 0.48, "video": 0.48})
    assert examiner(run, trials=False).examine(tmp_path / "noise.png").answer is Answer.SIGNS
    found = examiner(run).examine(tmp_path / "noise.png")
    assert found.answer is Answer.INCONCLUSIVE and [reason.code for reason in found.reasons] == ["unstable"]
    half = next(trial for trial in found.trials if trial.name == "half size")
    assert half.above_threshold is False and "half size" in found.reasons[0].text
    scores = [found.score, *(trial.score for trial in found.trials)]
    assert f"from {min(scores):.2f} to {max(scores):.2f}" in found.reasons[0].text
    small = cv2.resize(noise, (16, 16), interpolation=cv2.INTER_AREA)
    assert small.std() < noise.std() / 1.5, "half size does remove noise"


def test_runs_that_disagree(dark_run, tmp_path):
    class Light(Dark):
        def forward(self, x):
            return -super().forward(x)

    path = picture(tmp_path / "dark.png", DARK)
    other = fake_run(WholePictures(32), predictions(), Light)
    other.name = "light"
    found = examiner(dark_run, other).examine(path)
    assert found.answer is Answer.INCONCLUSIVE and {reason.code for reason in found.reasons} == {"runs_disagree"}
    assert [model.above_threshold for model in found.models] == [True, False] and "light" in found.reasons[0].text
    assert found.people[0].answer is Answer.INCONCLUSIVE and found.score == found.models[0].score
    assert examiner(dark_run, fake_run(WholePictures(48), predictions())).examine(path).answer is Answer.SIGNS
    blind = fake_run(FaceCrops(crop_size=32), predictions())
    blind.name = "blind"
    found = examiner(dark_run, blind).examine(path)
    assert found.answer is Answer.INCONCLUSIVE and found.reasons[0].code == "run_failed" and len(found.models) == 1


def test_a_run_that_did_not_learn_says_nothing(dark_run, tmp_path):
    dark_run.remarks = ["There is no evidence that the model learned anything."]
    found = examiner(dark_run).examine(picture(tmp_path / "dark.png", DARK))
    assert found.answer is Answer.INCONCLUSIVE and found.reasons[0].code == "unreliable_run"


def test_outside_the_measured_range(dark_run, tmp_path):
    dark_run.measured = Measured({"side": Limits(100, 200)}, None, None, 50)
    found = examiner(dark_run).examine(picture(tmp_path / "dark.png", DARK))
    assert found.answer is Answer.INCONCLUSIVE and found.reasons[0].code == "size_outside"
    assert "the picture measures 64 px, but the detector was measured on pictures of 100 to 200 px" == (
        found.reasons[0].text
    )
    dark_run.measured = Measured({"side": Limits(50, 200)}, None, None, 50)
    found = examiner(dark_run).examine(tmp_path / "dark.png")
    assert found.answer is Answer.SIGNS and any("gives no features" in caveat for caveat in found.caveats)
    dark_run.measured = None
    assert any("range of inputs" in caveat for caveat in examiner(dark_run).examine(tmp_path / "dark.png").caveats)


def test_features_far_from_the_validation_data(tmp_path):
    class Encoded(Dark):
        def encode(self, x):
            return x.mean((2, 3))

        def head(self, features):
            return self.weight * (0.2 - features.mean(1))

        def forward(self, x):
            return self.head(self.encode(x))

    rng = np.random.default_rng(0)
    run = fake_run(WholePictures(32), predictions(), Encoded)
    run.measured = Measured({}, Cloud.fit(rng.normal(DARK / 255, 0.01, (200, 3))), 3.0, 50)
    assert examiner(run).examine(picture(tmp_path / "dark.png", DARK)).answer is Answer.SIGNS
    found = examiner(run).examine(picture(tmp_path / "bright.png", BRIGHT))
    assert found.answer is Answer.INCONCLUSIVE and found.reasons[0].code == "features_outside"


# ---- the rules, by hand


def test_the_rule_of_the_range_by_hand():
    """Two values: the quantiles are 0.5 % from the ends on a logarithmic scale, widened by a tenth of the distance."""
    found = Limits.fit([10, 1000])
    distance = np.log(100)
    assert np.log(found.low) == pytest.approx(np.log(10) + (0.005 - 0.1 * 0.99) * distance)
    assert np.log(found.high) == pytest.approx(np.log(1000) - (0.005 - 0.1 * 0.99) * distance)
    same = Limits.fit([256.0] * 9)
    assert (same.low, same.high) == pytest.approx((256 / 1.1, 256 * 1.1)), "at least a tenth of the value"
    for wrong in ([], [1, 0], [1, np.nan]):
        with pytest.raises(ValueError, match="expected finite values above 0"):
            Limits.fit(wrong)


def test_each_limit_has_its_reason():
    limits = {
        "side": Limits(50, 200), "sharpness": Limits(10, 100), "blockiness": Limits(0.9, 1.3), "bits": Limits(0.5, 2),
    }  # fmt: skip
    measured, look = Measured(limits, None, 1.5, 20), Look(100, 50, 1.0, 1.0, 1.0)

    def codes(**change: float) -> list[str]:
        return [reason.code for reason in outside(replace(look, **change), measured, "face")]

    assert codes() == []
    assert codes(side=49) == codes(side=201) == ["size_outside"]
    assert codes(sharpness=9) == codes(sharpness=101) == ["blur_outside"]
    assert codes(blockiness=1.4) == codes(bits=0.4) == ["compression_outside"]
    assert codes(blockiness=0.5) == codes(bits=9) == [], "less compression is no reason"
    assert codes(distance=1.6) == ["features_outside"]
    assert codes(side=1, distance=9) == ["size_outside", "features_outside"]
    assert outside(replace(look, bits=None, distance=None), measured, "face") == ()


def test_the_distance_is_that_of_the_full_covariance_if_it_has_all_axes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + 5
    cloud, other = Cloud.fit(x), rng.normal(size=(7, 3)) + 4
    inverse = np.linalg.inv(np.cov(x.T))
    expected = [np.sqrt((row - x.mean(0)) @ inverse @ (row - x.mean(0)) / 3) for row in other]
    assert cloud.distance(other) == pytest.approx(expected)


def test_a_cloud_of_many_features_is_regular_and_its_limit_is_of_unseen_items():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(240, 5)) * [9, 5, 3, 2, 1]
    x = hidden @ rng.normal(size=(5, 300)) + 0.1 * rng.normal(size=(240, 300))
    cloud, items = Cloud.fit(x), np.repeat(np.arange(60), 4)
    assert cloud.axes.shape == (AXES, 300) and cloud.axes @ cloud.axes.T == pytest.approx(np.eye(AXES), abs=1e-8)
    limit = far(x, items)
    own = [np.median(cloud.distance(x[items == item])) for item in range(60)]
    assert limit > np.quantile(own, 0.99), "distances to a cloud that has seen the items are smaller"
    assert cloud.distance(x[:1] + 50)[0] > 10 * limit
    assert Cloud.fit(np.ones((4, 6))).distance(np.ones((1, 6)))[0] == pytest.approx(0)
    with pytest.raises(ValueError, match="expected at least 4"):
        far(x[:8], items[:8])


def test_the_rule_of_instability_by_hand():
    assert not flips(True, []) and not flips(True, [True, True]) and not flips(False, [False])
    assert flips(True, [True, False]) and flips(False, [True])
    outcomes = [
        Outcome(Trial("half size", 0.4, False), {0: TrackScore(0.4, False), 1: TrackScore(0.1, False)}),
        Outcome(Trial("cropped", 0.9, True), {0: TrackScore(0.9, True), 1: TrackScore(0.2, False)}),
    ]
    reason = judge.unstable(0, 0.8, True, outcomes)
    assert reason.code == "unstable" and "if the file is half size; the scores range from 0.40 to 0.90" in reason.text
    assert judge.unstable(1, 0.15, False, outcomes) is None


def person(number: int, answer: Answer, *reasons: Reason) -> Person:
    return Person(number, answer, 0.5, None, (0, 0, 9, 9), 9, (Moment(0, 0, 0.5),), reasons)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("n", Answer.NO_SIGNS), ("nn", Answer.NO_SIGNS), ("s", Answer.SIGNS), ("ns", Answer.SIGNS),
        ("is", Answer.SIGNS), ("ni", Answer.INCONCLUSIVE), ("i", Answer.INCONCLUSIVE),
    ],
)  # fmt: skip
def test_the_answer_for_a_file_by_hand(answers, expected):
    of = {"n": Answer.NO_SIGNS, "s": Answer.SIGNS, "i": Answer.INCONCLUSIVE}
    doubt = Reason("unstable", "it flips")
    people = [person(n, of[one], *[doubt] * (one == "i")) for n, one in enumerate(answers, 1)]
    answer, reasons = judge.concluded(people)
    assert answer is expected and bool(reasons) == (expected is Answer.INCONCLUSIVE)
    assert all(len(people) == 1 or reason.text == "face 2: it flips" for reason in reasons)
    answer, reasons = judge.concluded(people, [failed := Reason("run_failed", "x")])
    assert answer is Answer.INCONCLUSIVE and reasons[0] == failed and len(reasons) == 1 + answers.count("i")


def test_sharpness_and_blockiness_by_hand():
    flat = np.full((32, 32, 3), 90, np.uint8)
    assert sharpness(flat) == 0 and blockiness(flat) == 1
    one = flat.copy()
    one[16, 16] = 91  # the Laplacian is -4 there and 1 at its four neighbours
    assert sharpness(one) == pytest.approx((16 + 4) / 32**2)
    blocks = np.kron(np.random.default_rng(0).integers(0, 255, (8, 8)), np.ones((8, 8)))
    blocks = blocks + np.random.default_rng(1).integers(0, 5, (64, 64))
    picture = np.repeat(blocks.clip(0, 255).astype(np.uint8)[..., None], 3, 2)
    assert blockiness(picture) > 10 and blockiness(picture[3:, 5:]) > 10, "wherever the grid begins"
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3)).astype(np.uint8)
    assert blockiness(noise) == pytest.approx(1, abs=0.15)


def test_the_changes_move_boxes_with_the_frame():
    frame = np.zeros((80, 120, 3), np.uint8)
    frame[40:56, 60:90] = 255
    box = np.array([[60, 40], [90, 56]], np.float32)
    for change in CHANGES:
        made, moved = change.step.frame(frame, 1), change.step.moved(box, 1)
        rows, columns = np.nonzero(made[..., 0] > 127)
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert edges == pytest.approx(tuple(moved.reshape(4)), abs=1), change.name
    assert [change.step.frame(frame, 1).shape[:2] for change in CHANGES] == [(80, 120), (40, 60), (72, 112)]


# ---- a run's folder


def test_a_range_survives_the_run_folder_and_a_damaged_one_is_refused(tmp_path):
    cloud = Cloud.fit(np.random.default_rng(0).normal(size=(50, 4)))
    write_cloud(tmp_path, cloud)
    metrics = {"range": {"limits": {"side": {"low": 1.0, "high": 2.0}}, "distance": 1.5, "faces": 9}}
    found = read_measured(tmp_path, metrics)
    assert found.limits == {"side": Limits(1.0, 2.0)} and found.distance == 1.5 and found.faces == 9
    x = np.random.default_rng(1).normal(size=(5, 4))
    assert found.cloud.distance(x) == pytest.approx(cloud.distance(x), rel=1e-4)
    assert read_measured(tmp_path, {}) is None and read_measured(tmp_path, {"range": {}}) is None
    for wrong in ({"limits": {"side": {"low": "x"}}}, {"limits": 3}, {"limits": {}, "distance": []}):
        with pytest.raises(RunError, match=r"the range in metrics\.json or range\.npz is damaged"):
            read_measured(tmp_path, {"range": wrong})
    np.savez(tmp_path / CLOUD, mean=np.array([None], object), allow_pickle=True)
    with pytest.raises(RunError, match="is damaged"):
        read_measured(tmp_path, metrics)
    np.savez_compressed(tmp_path / CLOUD, mean=np.zeros(10**7), axes=np.zeros(1), variance=np.ones(1), rest=1.0)
    assert (tmp_path / CLOUD).stat().st_size < 2**20
    with pytest.raises(RunError, match=r"80,\d+,\d+ bytes after decompression"):
        read_measured(tmp_path, metrics)
    (tmp_path / CLOUD).unlink()
    with pytest.raises(RunError, match="is damaged"):
        read_measured(tmp_path, metrics)


# ---- what is written


def test_json_is_strict_and_names_no_place(dark_run, tmp_path):
    place = tmp_path / "secret place"
    place.mkdir()
    dark_run.folder = str(place / "outputs/name/0123")
    found = examiner(dark_run, explain=True).examine(picture(place / "dark.png", DARK))
    found = replace(found, trials=(*found.trials, Trial("x", float("nan"), None)))
    text = as_json(found)
    assert "secret" not in text and "NaN" not in text and json.loads(text)["trials"][-1]["score"] is None
    assert json.loads(text)["models"][0]["run"] == "outputs/name/0123"
    assert json.loads(text)["facts"]["name"] == "dark.png" and '"crop"' not in text
    assert "secret" not in report(found)


def test_the_page_is_self_contained_and_escapes_what_a_file_says(dark_run, tmp_path):
    name = "<script>alert(1)</script>"
    found = examiner(dark_run, explain=True).examine(picture(tmp_path / "dark.png", DARK))
    found = replace(found, facts=replace(found.facts, name=name), marks=(f"made by {name}",))
    page = report(found)
    assert "<script" not in page and page.count("&lt;script&gt;") >= 3 and "default-src 'none'" in page
    assert "http://" not in page and "https://" not in page and 'src="data:image/jpeg;base64,' in page
    assert ("Signs of manipulation" in page and "Where the model looked" in page) or "explain" not in page
    for word in ("Limits of this answer", "SHA-256", "After small changes", "half size", "Calibration"):
        assert word in page
    refused = Examination(Answer.CANNOT_ANALYSE, (Reason("no_face", "no face found in 1 frame"),), Facts("a.png"))
    page = report(refused)
    assert "Cannot analyse" in page and "No face found in 1 frame." in page and '<h2 id="score"' not in page


def test_the_timeline_has_a_dot_for_each_moment_at_its_place():
    drawn = timeline([Moment(0, 0, 1.0), Moment(5, 50, 0.0)], 0.5, 10)
    assert drawn.count("<circle") == 2 and 'cx="22.0" cy="10.0"' in drawn and 'cx="247.0" cy="110.0"' in drawn
    assert (clock(0), clock(61.25), clock(3725)) == ("0:00.0", "1:01.2", "1:02:05")


def test_outputs_never_replace_an_input_or_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [Path("a.jpg"), Path("a.png"), Path("b.mp4")]
    for path in paths:
        path.write_bytes(b"x")
    found = outputs_for(paths, Path("out"))
    names = [place for one in found for place in (one.report, one.json, one.picture, one.timeline)]
    assert len(set(names)) == 12 and found[2].report == Path("out/b-report.html")
    (one,) = outputs_for(paths[:1], None)
    assert (one.report, one.timeline) == (Path("a-report.html"), Path("a-timeline.png"))
    (one,) = outputs_for(paths[:1], Path("x/y.png"))
    assert (one.report, one.json, one.picture) == (Path("x/y.html"), Path("x/y.json"), Path("x/y.png"))
    Path("link.png").hardlink_to("a.png")
    for wrong, said in (
        (Path("a.jpg"), "expected a folder"), (Path("new.gif"), "expected a folder"), (Path("a.png"), "the input file"),
        (Path("link.png"), "the input file"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            outputs_for([Path("a.png")], wrong)
    with pytest.raises(ValueError, match="expected a folder, because 3 files"):
        outputs_for(paths, Path("c.png"))


# ---- several files


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "files"
    (place / "sub").mkdir(parents=True)
    picture(place / "dark.png", DARK)
    picture(place / "sub/bright.png", BRIGHT)
    (place / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (place / "empty.mp4").write_bytes(b"")
    (place / "notes.txt").write_text("not media")
    return place


def test_files_folders_and_patterns_are_found_once(folder, monkeypatch):
    names = [one.name for one in batch.find([str(folder)])]
    assert names == ["broken.jpg", "dark.png", "empty.mp4", "sub/bright.png"]
    assert [one.name for one in batch.find([str(folder / "*.png"), str(folder / "dark.png")])] == ["dark.png"]
    for wrong, said in (("no.png", "no such file"), (str(folder / "*.gif"), "no files that this run can examine")):
        with pytest.raises(ValueError, match=said):
            batch.find([wrong])


@pytest.mark.parametrize("kind", batch.FORMATS)
def test_a_folder_goes_on_after_each_bad_file(dark_run, folder, kind, capsys):
    printer = batch.Printer(kind)
    answer = batch.examine_all(
        batch.find([str(folder)]), examiner(dark_run), lambda one, _, found: printer.add(one, found)
    )
    printer.close()
    printed = capsys.readouterr().out
    assert answer is Answer.SIGNS and "Traceback" not in printed
    if kind == "table":
        assert "2 cannot analyse" in printed and "1 signs of manipulation" in printed and "sub/bright.png" in printed
        return
    lines = printed.splitlines()
    if kind == "csv":
        assert lines[0].split(",")[:3] == ["file", "answer", "reasons"] and len(lines) == 5
        assert lines[2].startswith("dark.png,signs of manipulation,,0.")
        return
    found = {row["file"]: row["answer"] for row in map(json.loads, lines)}
    assert found == {
        "broken.jpg": "cannot analyse", "dark.png": "signs of manipulation", "empty.mp4": "cannot analyse",
        "sub/bright.png": "no signs found",
    }  # fmt: skip


def test_an_unexpected_error_costs_one_file_only(dark_run, folder):
    one = examiner(dark_run)
    inspect, found = one.inspect, list[Answer]()

    def fail(path, progress):
        return 1 / 0 if path.name == "dark.png" else inspect(path, progress)

    one.inspect = fail
    answer = batch.examine_all(batch.find([str(folder)]), one, lambda *row: found.append(row[2].answer))
    assert len(found) == 4 and found[1] is Answer.CANNOT_ANALYSE and answer is Answer.CANNOT_ANALYSE


def test_a_name_is_no_formula_of_a_spreadsheet():
    assert batch.csv_line(["=1+1", "a,b", -0.5, ""]) == '\'=1+1,"a,b",-0.5,'


def test_progress_moves_forward(dark_run, tmp_path):
    seen = list[tuple[float, str]]()
    examiner(dark_run).examine(picture(tmp_path / "dark.png", DARK), lambda *step: seen.append(step))
    assert [step[0] for step in seen] == sorted(step[0] for step in seen) and seen[-1] == (1.0, "done")


def test_each_face_has_its_own_record(shared_data):
    found = examiner(fake_run(FaceCrops(crop_size=64), predictions())).examine(
        shared_data / "face_photos/multiface.jpg"
    )
    assert [one.number for one in found.people] == [1, 2, 3, 4, 5, 6]
    assert found.score == max(one.score for one in found.people)
    assert len({one.box for one in found.people}) == 6 and all(one.moments[0].crop for one in found.people)


def test_models_describe_the_calibration(dark_run, tmp_path):
    from unmask.metrics.calibrate import Platt

    dark_run.calibration = lambda name: None if name == "none" else Platt(1.0, 0.0)
    found = Examiner([dark_run], "platt", trials=False, explain=False).examine(picture(tmp_path / "dark.png", DARK))
    model: Model = found.models[0]
    assert model.calibration.startswith("Platt scaling, fitted to the validation split of films")
    assert model.calibrated == pytest.approx(model.score) == found.people[0].calibrated
    assert model.errors.startswith("on its test images") and len(model.weights) == 64
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
