"""The evidence of an examination: masks of localising runs, features computed with the scores, and what is counted."""

import base64
import json
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from test_faces import panels
from test_predict import Dark, fake_run
from test_report_pictures import predictions
from unmask.data.dataset import Sampling
from unmask.data.predictions import score_and_encode, score_samples
from unmask.inference.examine import Examiner
from unmask.inference.page import report
from unmask.inference.predict import as_json
from unmask.inference.score import Scorer
from unmask.media.encode import write_video
from unmask.media.pictures import WholePictures
from unmask.media.recipe import FaceCrops
from unmask.metrics.measured import Cloud
from unmask.runs.measured import Measured
from unmask.web.answers import Examined

SIDE = 64  # px of the pictures
CROP = 32  # px of the crops, and of the input of the network in `fake_run`


class DarkPixels(torch.nn.Module):
    """A localising network: pixels below a fifth of white are manipulated."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(40.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (0.2 - x.mean(1, keepdim=True))


class Encoded(Dark):
    """`Dark` with features; counts how often they are computed."""

    calls = 0

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        return x.mean((-2, -1))

    def head(self, features: torch.Tensor) -> torch.Tensor:
        return self.weight * (0.2 - features.flatten(1).mean(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encode(x))


@pytest.fixture
def patched(tmp_path) -> Path:
    """A bright picture whose upper left quarter is dark."""
    pixels = np.full((SIDE, SIDE, 3), 150, np.uint8)
    pixels[: SIDE // 2, : SIDE // 2] = 10
    Image.fromarray(pixels).save(tmp_path / "patched.png")
    return tmp_path / "patched.png"


def segmenter(side: int = CROP) -> SimpleNamespace:
    run = fake_run(WholePictures(side), predictions(), DarkPixels)
    run.kind = "segmenter"
    return run


def examiner(*runs: SimpleNamespace, **options: bool) -> Examiner:
    return Examiner(runs, "none", **({"explain": False, "trials": False} | options))


# ---- masks


@pytest.mark.parametrize("explain", [False, True])
def test_the_mask_of_a_segmenter_is_in_the_report_and_its_area_in_the_json(patched, explain):
    found = examiner(segmenter(), explain=explain).examine(patched)
    (moment,) = found.people[0].moments
    mask = cv2.imdecode(np.frombuffer(moment.mask, np.uint8), cv2.IMREAD_UNCHANGED)
    dark = np.zeros((CROP, CROP), bool)
    dark[: CROP // 2, : CROP // 2] = True
    shade = np.where(dark, 10, 150) / 255
    expected = 255 / (1 + np.exp(-40 * (0.2 - shade)))
    assert mask.shape == (CROP, CROP) and np.abs(mask - expected).max() <= 1
    assert moment.area == 0.25 == json.loads(as_json(found))["people"][0]["moments"][0]["area"]
    page = report(found)
    (shown,) = re.findall(r'src="data:image/png;base64,([^"]+)" alt="Predicted manipulated area"', page)
    assert base64.b64decode(shown) == moment.mask and "white: predicted manipulated area (25 %)" in page
    answer = Examined.of(found).people[0].moments[0]
    assert "mask" in answer.pictures and answer.area == 0.25


def test_the_mask_of_a_second_run_is_shown_beside_the_scores_of_the_first(patched):
    for side in (CROP, SIDE):  # the crops of the first run are used, or those of the second
        found = examiner(fake_run(WholePictures(CROP), predictions()), segmenter(side)).examine(patched)
        (moment,) = found.people[0].moments
        assert moment.mask and moment.area == pytest.approx(0.25, abs=0.02) and len(found.models) == 2


def test_a_detector_has_no_mask(patched):
    found = examiner(fake_run(WholePictures(CROP), predictions())).examine(patched)
    (moment,) = found.people[0].moments
    assert not moment.mask and moment.area is None and "manipulated area" not in report(found)
    assert json.loads(as_json(found))["people"][0]["moments"][0]["area"] is None


# ---- features


def test_the_features_come_with_the_scores(patched):
    """The encoder is run once per file; the distance is that of features that are computed here."""
    run = fake_run(WholePictures(CROP), predictions(), Encoded)
    cloud = Cloud.fit(np.random.default_rng(0).normal(0.45, 0.01, (200, 3)))
    shade = (10 * 0.25 + 150 * 0.75) / 255
    (distance,) = cloud.distance([[shade] * 3])
    run.measured = Measured({}, cloud, distance + 1e-3, 50)
    Encoded.calls = 0
    found = examiner(run).examine(patched)
    assert Encoded.calls == 1 and not found.reasons
    run.measured = Measured({}, cloud, distance - 1e-3, 50)
    found = examiner(run).examine(patched)
    assert Encoded.calls == 2 and [reason.code for reason in found.reasons] == ["features_outside"]


def test_scores_with_features_are_those_of_the_network(tmp_path):
    """Of frames and of clips, in several batches; the features of a clip are the mean over its frames."""
    path = tmp_path / "clip.mp4"
    write_video(path, [np.full((SIDE, SIDE, 3), shade, np.uint8) for shade in range(0, 240, 10)], fps=10, crf=4)
    for frames in (None, 4):
        run = fake_run(WholePictures(CROP), predictions(), Encoded)
        run.config["data"]["sampling"]["frames"] = frames
        sampling, loader = Sampling(frames=frames, frames_per_video=8), run.build("data.loader")
        parts = {"data.recipe": WholePictures(CROP), "data.loader": loader, "data.sampling": sampling}
        run.build = parts.__getitem__
        scorer = Scorer(run)
        samples = scorer.samples(scorer.recipe(path))
        logit, features = score_and_encode(scorer.network, samples, loader)
        assert torch.equal(logit, score_samples(scorer.network, samples, loader, False)) and len(logit) > 3
        x = samples.pixels(range(len(samples))).float() / 255
        mean = x.mean((-2, -1))
        assert torch.allclose(features, mean.mean(1) if frames else mean, atol=1e-6)


# ---- counts


def test_frames_are_counted_once_for_several_faces(demo_root, tmp_path):
    left, right = panels(demo_root)
    write_video(tmp_path / "two.mp4", list(np.concatenate([left, right], axis=2)), fps=25, crf=4)
    found = examiner(fake_run(FaceCrops(frames=4, burst=4, crop_size=32))).examine(tmp_path / "two.mp4")
    assert len(found.people) == 2 and found.models[0].scored == f"{found.facts.read} frames"
    assert sum(len(person.moments) for person in found.people) == 2 * found.facts.read
