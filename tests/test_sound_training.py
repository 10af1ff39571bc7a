"""A training on sound from end to end: rendered voices, LCNN, its suite and its report."""

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import unmask
from unmask.evaluation.loading import data_of
from unmask.evaluation.suite import Detection, Suite, run_suite
from unmask.media.pcm import to_float32, to_int16
from unmask.metrics.robustness import CLEAN
from unmask.perturb.sounds import BandLimit, SoundNoise
from unmask.reporting.gather import Sounds, Strips, gather
from unmask.runs.predictions import read_predictions, robustness_path
from unmask.runs.run import Run

SMALL = (
    "experiment=demo_voices/lcnn", "data.sampling.seconds=1.0", "data.batch_size=8", "module.network.width=4",
    "trainer.max_epochs=1", "trainer=cpu", "seed=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(voices) -> Run:
    """A finished run."""
    place, here = voices
    unmask("train", *SMALL, *here, "report=true", "handling.most=8", cwd=place)
    (metrics,) = place.glob("outputs/demo_voices/lcnn/*/metrics.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield Run(metrics.parent)


@pytest.mark.slow
def test_a_training_on_sound_has_figures_a_suite_and_a_report(run):
    table = run.predictions("test")
    assert table["logit"].notna().all() and table["item"].nunique() == 12 and (table["track"] == 0).all()
    steps = {(path.stem) for path in (run.folder / "robustness" / "quick_sound").glob("*.parquet")}
    assert steps == {"clean-0", "mp3-1", "opus-1", "telephone-1", "noise-1", "noise-2"}
    page = (run.folder / "report.html").read_text()
    assert "Metrics over speakers" in page and "Actual DCF" in page and "Opus at 16 kbit/s" in page
    errors = page.count('<audio controls preload="none" src="data:audio/flac;base64,')
    largest = page[page.index("Largest errors</h3>") :]
    assert errors == largest.count('alt="Spectrogram of ') and "Example recordings" in page


@pytest.mark.slow
def test_the_report_has_intervals_over_speakers_and_plays_what_was_stored(run):
    report = gather(run, resamples=20)
    assert report.speech is not None and set(report.speech["level"]) == {"file", "utterance"}
    assert (report.speech["speakers"] <= 3).all() and report.speech["low"].isna().all(), "three speakers are too few"
    item = report.predictions["item"].iloc[0]
    sounds, strips = Sounds([run]), Strips([run])
    sound = sounds(item)
    assert sound is not None and sound.dtype == np.int16 and sounds("no such item") is None
    (picture,) = strips(item, [0], 0)
    assert picture.shape[0] == 128 and picture.std() > 5


@pytest.mark.slow
def test_a_suite_perturbs_the_stored_sound(run, tmp_path):
    """The scores of a step are those of the network on the recordings that the perturbation makes."""
    data, network = data_of(run), run.network().eval()
    data.setup()
    suite = Suite("s", {"noise": SoundNoise([10, 0]), "band": BandLimit([2000])}, files=False)
    steps = list(run_suite(suite, Detection(network, False, data, run.checkpoint), "test", tmp_path, 0))
    assert len(steps) == 4
    clean, worst = (read_predictions(robustness_path(tmp_path, "s", *step)) for step in ((CLEAN, 0), ("noise", 2)))
    expected = run.predictions("test").sort_values(["item", "frame"])["logit"].to_numpy()
    np.testing.assert_allclose(clean["logit"], expected, atol=1e-4)
    assert worst.attrs["protocol"]["Applied to"] == "stored sound" and worst["logit"].notna().all()
    items = data.items[(data.items["split"] == "test") & data.items["rejected"].isna()]["item"].tolist()
    first = to_float32(data.crops_of(items[0]).sound)
    noisy = to_float32(to_int16(SoundNoise([10, 0]).sound(first, 2, 0)))
    start = round(float(worst.loc[worst["item"] == items[0], "time"].iloc[0]) * 16_000)
    with torch.no_grad():
        logit = float(network(torch.from_numpy(noisy[None, start : start + 16_000])))
    assert float(worst.loc[worst["item"] == items[0], "logit"].iloc[0]) == pytest.approx(logit, abs=1e-4)


@pytest.mark.slow
def test_perturbations_of_pictures_are_refused_for_sound(run, tmp_path):
    from unmask.perturb.pixels import Noise

    data = data_of(run)
    data.setup()
    detection = Detection(run.network(), False, data, run.checkpoint)
    with pytest.raises(ValueError, match=r"none of its perturbations applies \(noise: the samples are sound; use"):
        list(run_suite(Suite("s", {"noise": Noise([0.1])}), detection, "test", tmp_path, 0))


@pytest.mark.slow
def test_saved_predictions_are_those_of_a_loaded_network(run):
    data, network = data_of(run), run.network().eval()
    data.setup()
    samples = data.samples["test"]
    with torch.no_grad():
        logit = network(samples.inputs(range(len(samples)))["x"])
    table = samples.table.assign(logit=logit.numpy()).merge(run.predictions("test"), on=["item", "frame"])
    assert len(table) == len(samples) and isinstance(table, pd.DataFrame)
    np.testing.assert_allclose(table["logit_x"], table["logit_y"], atol=1e-4)
