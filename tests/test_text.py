"""Text to image: captions and their wordings, text encoders, latents, prompts, and a published pipeline."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from PIL import Image
from torch import nn
from torch.nn.functional import cosine_similarity, interpolate

from conftest import fit_quietly, unmask
from test_diffusion import TINY, Faces
from test_inpaint import tiny_parts
from unmask.data.captions import (
    COLOURS,
    TESTED,
    TRAINED,
    ColumnCaptions,
    FaceCaptions,
    FolderCaptions,
    as_bytes,
)
from unmask.modules.diffusion import Diffusion
from unmask.networks.autoencoder import ConvEncoder
from unmask.networks.denoiser import Denoiser
from unmask.networks.evaluators import RandomFeatures
from unmask.networks.kl import KLDecoder, KLEncoder, PublishedCodec, settings_of
from unmask.networks.matcher import Matcher
from unmask.networks.text import WORD, WordEncoder, texts_of
from unmask.networks.text_denoiser import TextDenoiser
from unmask.provenance import read_marks
from unmask.runs.codec import TrainedCodec
from unmask.runs.run import Run
from unmask.training.contrast import info_nce
from unmask.training.schedules import constant

# ---- captions ----

NAMES = (*TRAINED, *COLOURS, "Male")


def face(*present: str, path: str = "img/1.jpg") -> dict[str, object]:
    return {"path": path} | {f"attribute.{name}": int(name in present) for name in NAMES}


def many(training: bool) -> dict[str, tuple[str, ...]]:
    """Captions of all kinds of faces, in all wordings, with the attributes of each."""
    found = {}
    for number in range(4000):
        rng = np.random.default_rng(number)
        present = [name for name in ("Smiling", "Eyeglasses", "Male") if rng.random() < 0.5]
        present += [str(rng.choice([*COLOURS, "Bald"]))]
        row = face(*present, path=f"img/{number}.jpg")
        found[FaceCaptions(mention=0.8)(row, rng if training else None)] = tuple(present)
    return found


def test_wordings_of_training_and_of_evaluation_are_apart_and_have_the_same_words():
    """No caption of evaluation occurs in training, but all of its words do, so that a text encoder can know them."""
    trained, tested = many(True), many(False)
    assert len(trained) > 500 and len(tested) > 20
    assert not trained.keys() & tested.keys()
    words = [{word for text in texts for word in WORD.findall(text)} for texts in (trained, tested)]
    assert words[1] <= words[0], words[1] - words[0]
    for name in TRAINED:
        for yes in (0, 1):
            assert not set(TRAINED[name][yes]) & set(TESTED[name][yes])


@pytest.mark.slow
def test_a_text_encoder_learns_what_unseen_wordings_mean():
    """Trained to read smile and glasses from captions, it also reads them from the wordings of evaluation."""
    torch.manual_seed(0)
    captions, rng = FaceCaptions(sex=False, mention=1.0), np.random.default_rng(0)
    encoder, readers = WordEncoder(), nn.Parameter(0.1 * torch.randn(2, 128))
    logit = nn.Linear(128, 1)

    def batch(count: int, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
        said = rng.integers(0, 2, (count, 2))
        colours = rng.choice([*COLOURS], count)
        faces = [
            face(*[name for name, on in zip(("Smiling", "Eyeglasses"), row, strict=True) if on], colour, path=str(at))
            for at, (row, colour) in enumerate(zip(said, colours, strict=True))
        ]
        texts = [captions(one, rng if training else None) for one in faces]
        return torch.from_numpy(as_bytes(texts)), torch.from_numpy(said).float()

    def read(texts: torch.Tensor) -> torch.Tensor:
        words = encoder(texts)  # [B, W, 128]
        shares = (readers @ words.transpose(1, 2) / 128**0.5).softmax(-1)  # [B, 2, W]
        return logit(shares @ words)[..., 0]

    parameters = [*encoder.parameters(), readers, *logit.parameters()]
    optimizer, steps = torch.optim.Adam(parameters, 1e-3), 1000
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps)
    for _ in range(steps):
        texts, said = batch(32, training=True)
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(read(texts), said).backward()
        optimizer.step()
        schedule.step()
    texts, said = batch(200, training=False)
    with torch.no_grad():
        right = ((read(texts) > 0) == (said > 0.5)).float().mean(0)
    assert right.min() > 0.95, right


@pytest.mark.parametrize("training", [True, False])
def test_captions_are_true(training):
    for text, present in many(training).items():
        words = WORD.findall(text)
        assert ("man" in words) == ("Male" in present) and ("woman" in words) != ("man" in words)
        for name, word in COLOURS.items():
            assert word not in words or name in present
            assert training or (word in words) == (name in present), "in evaluation, all is told"
        if "glasses" in words:
            place = words.index("glasses")
            no = bool({"no", "without", "not"} & set(words[max(0, place - 2) : place]))
            assert no == ("Eyeglasses" not in present), text
        if {"smile", "smiling"} & set(words):
            place = min(words.index(word) for word in ("smile", "smiling") if word in words)
            no = bool({"no", "without", "not"} & set(words[max(0, place - 3) : place]))
            assert no == ("Smiling" not in present), text


def test_a_caption_of_evaluation_is_always_the_same_and_one_of_training_is_drawn():
    captions, row = FaceCaptions(sex=False), face("Smiling", "Eyeglasses", "Blond_Hair")
    assert captions(row, None) == captions(row, None) and "person" in captions(row, None)
    assert len({captions(row, np.random.default_rng(number)) for number in range(50)}) > 20
    assert ColumnCaptions("text")({"attribute.text": "a dog"}, None) == "a dog"
    folders, painting = FolderCaptions(), {"path": "real/van_gogh/12.jpg"}
    assert folders(painting, None) == "a van gogh painting"
    assert folders(painting, np.random.default_rng(0)) != folders(painting, None)
    for wrong, words in (
        (partial(FaceCaptions, mention=0), "probability"),
        (partial(FolderCaptions, ["x"]), "with {}"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


def test_texts_survive_as_bytes():
    texts = ["a smiling person", "", "ein Bild von Käthe, 絵"]
    assert texts_of(torch.from_numpy(as_bytes(texts))) == texts
    with pytest.raises(ValueError, match="expected a caption of at most 10"):
        as_bytes(["x" * 11], 10)


# ---- networks ----


def captions(*texts: str) -> torch.Tensor:
    return torch.from_numpy(as_bytes(texts))


def text_denoiser(**options) -> TextDenoiser:
    torch.manual_seed(0)
    words = WordEncoder(width=16, words=8, layers=1, heads=2, buckets=64)
    size = {"inside": 4, "channels": (16, 32), "attention": (8, 4), "groups": 4, "head": 8}
    return TextDenoiser(words, 8, **(size | options))


def test_words_have_vectors_that_depend_on_the_other_words():
    torch.manual_seed(0)
    encoder = WordEncoder(width=16, words=4, layers=1, heads=2).eval()
    found = encoder(captions("blond hair", "Blond, HAIR!", "gray hair", "one two three four five"))
    assert found.shape == (4, 4, 16)
    torch.testing.assert_close(found[0], found[1])
    assert not torch.allclose(found[0, 1], found[2, 1])
    with pytest.raises(ValueError, match="a multiple of heads"):
        WordEncoder(width=10, heads=4)


def test_the_denoiser_looks_at_the_caption_and_an_unknown_one_is_empty():
    network = text_denoiser().eval()
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([3, 3])
    told, other = captions("with glasses", "with glasses"), captions("blond", "blond")
    found = network(x, t, told)
    assert found.shape == x.shape and not torch.allclose(found, network(x, t, other))
    half = network(x, t, told, torch.tensor([True, False]))
    torch.testing.assert_close(half[0], found[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(half[1], network(x, t)[1], rtol=1e-4, atol=1e-5)
    for wrong, words in (({"attention": (5,)}, "expected some of 8, 4"), ({"groups": 3}, "multiples of groups=3")):
        with pytest.raises(ValueError, match=words):
            text_denoiser(**wrong)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_attention_is_that_of_diffusers(precision):
    network = text_denoiser().eval()
    x, t, told = torch.randn(2, 4, 8, 8), torch.tensor([3, 9]), captions("with glasses", "blond")
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        ours = network(x, t, told)
        network.unet.set_attn_processor(AttnProcessor2_0())
        theirs = network(x, t, told)
    close = {"rtol": 1e-5, "atol": 1e-5} if precision is torch.float32 else {"rtol": 0.05, "atol": 0.05}
    torch.testing.assert_close(ours, theirs, **close)


def test_a_vector_of_the_whole_caption_reaches_networks_without_cross_attention():
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([3])
    for pooled in (True, False):
        network = text_denoiser(attention=(4,), pooled=pooled).eval()
        for layer in network.unet.modules():
            if isinstance(layer, BasicTransformerBlock):
                nn.init.zeros_(layer.attn2.to_out[0].weight)
        same = torch.allclose(network(x, t, captions("with glasses")), network(x, t, captions("blond")), atol=1e-6)
        assert same != pooled


def codec() -> TrainedCodec:
    torch.manual_seed(0)
    size = {"image_size": 32, "inside": 4, "channels": (8, 8, 8), "groups": 4}
    return TrainedCodec(KLEncoder(**size), KLDecoder(**size))


def test_a_codec_is_frozen_and_keeps_its_latents_in_place():
    found = codec()
    x = 2 * torch.rand(2, 3, 32, 32) - 1
    z = found.encode(x)
    assert z.shape == (2, 4, 8, 8) and found.decode(z).shape == x.shape and found.decode(z).abs().max() <= 1
    assert not any(p.requires_grad for p in found.parameters()) and not found.train().training
    moments = found.encoder.network(x)
    torch.testing.assert_close(z, moments[:, :4], msg="the means, channel by channel")


def test_a_published_codec_is_the_one_in_its_folder(tmp_path):
    torch.manual_seed(0)
    network = AutoencoderKL(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
                            up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4)  # fmt: skip
    network.save_pretrained(tmp_path / "vae")
    found = PublishedCodec(settings_of(tmp_path / "vae"), str(tmp_path / "vae"))
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(found.encode(x), network.encode(x).latent_dist.mean)
    torch.testing.assert_close(found.decode(found.encode(x)), network.decode(found.encode(x)).sample)
    with pytest.raises(ValueError, match=r"module.codec.weights=.*cannot be read"):
        settings_of(tmp_path)


# ---- the module ----


class Captioned(Faces):
    """Pictures of 32 px with a caption."""

    def on_after_batch_transfer(self, batch, _):
        large = interpolate(batch["x"], scale_factor=4)
        return {**batch, "x": large, "caption": captions(*["dark" if x.mean() < 0.5 else "bright" for x in large])}


def module(**options) -> Diffusion:
    schedule = DDPMScheduler(20, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    sampler = partial(DDIMScheduler, clip_sample=False, timestep_spacing="trailing")
    adam = partial(torch.optim.Adam, lr=1e-3)
    given = {"denoiser": text_denoiser(), "codec": codec(), "steps": 4, "num_samples": 0, "guidance": 3.0}
    parts = {"schedule": schedule, "sampler": sampler, "optimizer": adam, "scheduler": constant}
    return Diffusion(evaluator=RandomFeatures(4), **(parts | given | options))


def test_latents_are_scaled_to_a_standard_deviation_of_1_and_the_codec_stays():
    made = module()
    before = {name: value.clone() for name, value in made.codec.state_dict().items()}
    data = Captioned(count=8)
    fit_quietly(made, data, max_epochs=1)
    assert all(torch.equal(value, before[name]) for name, value in made.codec.state_dict().items())
    assert made.frozen == {f"codec.{name}" for name in before}
    x = torch.cat([2 * data.on_after_batch_transfer(batch, 0)["x"] - 1 for batch in data.train_dataloader()])
    assert float((made.codec.encode(x) * made.scale).square().mean()) == pytest.approx(1, rel=0.2)
    image = made.sample(2, [0, 1], captions("dark", "bright"))
    assert image.shape == (2, 3, 32, 32) and 0 <= image.min() and image.max() <= 1


def test_latents_of_another_shape_than_the_denoiser_takes_are_refused():
    made = module(denoiser=text_denoiser(inside=8))
    with pytest.raises(ValueError, match=r"latents of 4 x 8 x 8: set module.denoiser.inside=4 and .*image_size=8"):
        fit_quietly(made, Captioned(count=4), max_epochs=1)


def test_intermediate_states_end_with_the_sample():
    made = module()
    told = captions("dark", "bright")
    states = made.states([5, 6], 3, told)
    assert states.shape == (2, 3, 3, 32, 32)
    torch.testing.assert_close(states[:, -1], made.sample(2, [5, 6], told), rtol=0, atol=1e-5)
    assert not torch.allclose(states[:, 0], states[:, -1], atol=1e-3)


def test_guidance_leads_away_from_the_unconditional_prediction():
    made = module()
    z, told, t = torch.randn(2, 4, 8, 8), captions("dark", "bright"), torch.tensor([3, 3])
    with torch.no_grad():
        network = made.network.eval()
        yes, no = network(z, t, told), network(z, t)
        torch.testing.assert_close(made._guided(z, t, told), no + 3 * (yes - no), rtol=1e-4, atol=1e-4)


def matcher() -> Matcher:
    torch.manual_seed(1)
    return Matcher(ConvEncoder(32, outputs=8, filters=4), width=16, temperature=0.1)


def test_the_matching_loss_is_that_of_clip():
    """Against a loop over all pairs: cosines, divided by the temperature, and a softmax over rows and over columns."""
    found = matcher().eval()
    x, words = torch.rand(3, 3, 32, 32), torch.randn(3, 5, 16)
    with torch.no_grad():
        pictures, texts = found.encoder(x), [found.project(row.mean(0)) for row in words]
        similarity = torch.tensor([[float(cosine_similarity(p, t, dim=0)) / 0.1 for t in texts] for p in pictures])
        torch.testing.assert_close(found(x, words), similarity, rtol=1e-4, atol=1e-4)
    e = similarity.double().exp()
    own = e.diagonal()
    by_hand = -(own / e.sum(1)).log().mean() / 2 - (own / e.sum(0)).log().mean() / 2
    assert float(info_nce(similarity)) == pytest.approx(float(by_hand), rel=1e-5)
    with pytest.raises(ValueError, match="expected a number above 0"):
        Matcher(ConvEncoder(32), temperature=0)


def test_the_matcher_trains_the_text_encoder_even_where_the_denoiser_learns_nothing():
    """All weights of the denoising loss are 0, so that only the matching loss has a gradient."""
    made, data = module(matcher=matcher()), Captioned(count=16)
    made.weight.zero_()
    before = [p.clone() for p in made.denoiser.text.parameters()]
    fit_quietly(made, data, max_epochs=15)
    assert any(not torch.equal(p, old) for p, old in zip(made.denoiser.text.parameters(), before, strict=True))
    assert float(made.trainer.callback_metrics["train/matching"]) > 0
    (batch, *_) = (data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader())
    with torch.no_grad():
        made.eval()
        similarity = made.matcher(batch["x"], made.denoiser.text(captions("dark", "bright")))
    bright = batch["x"].flatten(1).mean(1) > 0.5
    assert bright.any() and not bright.all()
    assert ((similarity[:, 1] > similarity[:, 0]) == bright).all(), "the text encoder knows what dark and bright mean"


def test_a_matcher_without_a_text_encoder_to_train_is_refused():
    frozen = text_denoiser()
    frozen.text.requires_grad_(False)
    for denoiser in (frozen, Denoiser(**TINY)):
        with pytest.raises(ValueError, match=r"set module.matcher=null"):
            module(denoiser=denoiser, matcher=matcher())


# ---- the whole way ----

SMALL = (
    "trainer=smoke", "data.batch_size=8", "callbacks.samples.count=2", "report=false",
)  # fmt: skip
KL = tuple(f"module.{part}.{key}" for part in ("encoder", "decoder") for key in ("channels=[8,8,8]", "groups=4"))
TEXT = (
    "module.denoiser.channels=[16,32]", "module.denoiser.attention=[16,8]", "module.denoiser.groups=4",
    "module.denoiser.head=8", "module.denoiser.text.width=16", "module.steps=3", "module.num_samples=4",
    "data.loader.captions.sex=false", "module.evaluate_every=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def text_run(portraits) -> tuple[Path, Path]:
    """A run of text to image; the run of its autoencoder is gone."""
    place, here = portraits
    unmask("train", "experiment=celeba/kl", *here, *SMALL, *KL, "name=kl", cwd=place)
    (first,) = (place / "outputs/kl").iterdir()
    unmask("train", "experiment=celeba/text", f"module.codec.run={first}", *here, *SMALL, *TEXT, "name=text", cwd=place)
    (run,) = (place / "outputs/text").iterdir()
    shutil.rmtree(first)
    return place, run


@pytest.mark.slow
def test_a_prompt_makes_marked_pictures_and_a_strip(text_run):
    place, run = text_run
    assert Run(run).metrics["test"]["loss"] > 0
    given = ["count=2", "states=4", "prompt=a smiling person with glasses", "out=asked"]
    unmask("sample", f"run={run}", *given, cwd=place)
    for path in [*sorted((place / "asked/pictures").glob("*.png")), place / "asked/strip.png"]:
        assert read_marks(path)["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert Image.open(place / "asked/strip.png").size == (4 * 64, 2 * 64)
    unmask("sample", f"run={run}", "count=1", "out=unasked", cwd=place)
    one, other = (np.asarray(Image.open(place / name / "pictures/000000.png")) for name in ("asked", "unasked"))
    assert not np.array_equal(one, other), "an empty prompt"
    for wrong, said in (
        (["prompt=a person", "out=asked"], "was made with other settings"),
        (["attributes=[Male]", "out=x"], "was trained with captions; use prompt=TEXT"),
        (["states=1", "out=x"], "states=1: expected 0 (no strip) or at least 2"),
        (["truncation=0.5", "out=x"], "only style-based generators"),
    ):
        assert said in unmask("sample", f"run={run}", *wrong, cwd=place, expect=1).stderr


@pytest.mark.slow
def test_a_published_pipeline_makes_marked_pictures(tmp_path):
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    parts = tiny_parts(channels=4)
    StableDiffusionPipeline(**parts).save_pretrained(tmp_path / "sd")
    given = ["generator=sd", "generator.model=sd", "generator.size=32", "generator.steps=2", "generator.device=cpu"]
    unmask("sample", *given, "prompt=a smiling woman", "count=3", "batch_size=2", "out=made", cwd=tmp_path)
    pictures = sorted((tmp_path / "made/pictures").glob("*.png"))
    assert len(pictures) == 3
    for path in pictures:
        assert Image.open(path).size == (32, 32)
        assert read_marks(path)["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    table = pd.read_parquet(tmp_path / "made/items.parquet")
    assert table["label"].tolist() == [1] * 3 and set(table["prompt"]) == {"a smiling woman"}
    before = [path.read_bytes() for path in pictures]
    unmask("sample", *given, "prompt=a smiling woman", "count=4", "batch_size=2", "out=made", cwd=tmp_path)
    assert [path.read_bytes() for path in pictures] == before, "existing pictures are kept"
    for wrong, said in (
        (["out=x"], "prompt missing"),
        (["prompt=a man", "out=made"], "was made with other settings"),
        (["prompt=a man", "walk=3", "out=x"], "have no effect on a published pipeline"),
        (["prompt=a man", "generator.model=nowhere", "out=x"], "generator.model=nowhere is not on this disk"),
    ):
        assert said in unmask("sample", *given, *wrong, cwd=tmp_path, expect=1).stderr
