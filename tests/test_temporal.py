"""Detectors of clips, against the libraries that their parts come from and against cases done by hand."""

from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import video
from transformers import (
    TimesformerConfig,
    TimesformerForVideoClassification,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VivitConfig,
    VivitForVideoClassification,
    VivitModel,
)

from unmask.data import sampling
from unmask.data.dataset import CropDataset, Sampling
from unmask.data.store import MemoryStore
from unmask.networks import r3d as r3d_module
from unmask.networks.meso3d import Meso3d, convolve
from unmask.networks.r3d import VideoResNet
from unmask.networks.video_transformers import VideoTransformer, timesformer, videomae, vivit
from unmask.networks.video_weights import resized
from unmask.networks.weights import WeightsNotFound

# ---- Meso3d ----


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("factorised", [False, True])
@pytest.mark.parametrize("differences", [False, True])
def test_meso3d_is_small_and_takes_any_clip(factorised, differences):
    for size, frames in ((32, 2), (96, 3), (256, 16)):
        net = Meso3d(frames, size, factorised=factorised, differences=differences).eval()
        assert count(net) < 60_000
        with torch.no_grad():
            for length in (2, 5):
                assert net(torch.rand(1, length, 3, size, size)).shape == (1,)


def test_a_still_clip_has_the_features_of_any_length_away_from_its_ends():
    """Time is padded with zeros, so only frames at the ends differ; their share is known."""
    net = Meso3d(4, 32).eval()
    x = torch.rand(1, 1, 3, 32, 32)
    with torch.no_grad():
        # Two stages see one frame to each side, so two frames at each end are special and all others alike.
        five, nine, long = (net.encode(x.expand(-1, n, -1, -1, -1)) * n for n in (5, 9, 13))
    torch.testing.assert_close(long - nine, nine - five, rtol=1e-4, atol=1e-5)


def test_meso3d_sees_the_order_of_frames_only_where_it_convolves_over_time():
    x = torch.rand(2, 6, 3, 32, 32)
    net = Meso3d(6, 32).eval()
    with torch.no_grad():
        assert not torch.allclose(net.encode(x), net.encode(x[:, [0, 3, 1, 4, 2, 5]]), rtol=1e-3)
        for layer in net.modules():  # only the middle frame of each kernel
            if isinstance(layer, nn.Conv3d) and layer.kernel_size[0] > 1:
                layer.weight[:, :, [0, 2]] = 0
        torch.testing.assert_close(net.encode(x), net.encode(x[:, [0, 3, 1, 4, 2, 5]]), rtol=1e-4, atol=1e-6)


def test_a_factorised_convolution_has_the_parameters_of_the_whole():
    """arXiv 1711.11248, section 3.5, by hand: 3 x 25 x 8 x 16 = 9600 weights; (25 x 8 + 3 x 16) M <= 9600, M = 38."""
    space, _, time = convolve(8, 16, 3, 5, factorised=True)
    assert space.weight.shape == (38, 8, 1, 5, 5) and time.weight.shape == (16, 38, 3, 1, 1)
    (both,) = convolve(8, 16, 3, 5, factorised=False)
    assert 0.97 < (space.weight.numel() + time.weight.numel()) / both.weight.numel() <= 1


def test_meso3d_says_what_it_takes():
    with pytest.raises(ValueError, match="set frames, for example frames=8"):
        Meso3d(None)
    with pytest.raises(ValueError, match="multiple of 32, such as 96"):
        Meso3d(8, 100)
    with pytest.raises(ValueError, match="volumes=5"):
        Meso3d(8, 64, volumes=5)
    with pytest.raises(ValueError, match="set image_size"):
        Meso3d(8, 64)(torch.rand(1, 8, 3, 96, 96))
    with pytest.raises(ValueError, match="frames, for example frames=8"):
        Meso3d(8, 64)(torch.rand(1, 3, 64, 64))


# ---- transformers ----

SIZES = {"hidden": 32, "layers": 2, "heads": 2, "patch": 8}
SAME = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
# Builder, transformers' classes, what they call the sizes, and the published mean and deviation of pixels.
FAMILIES = {
    "vivit": (vivit, VivitConfig, VivitForVideoClassification, {"tubelet_size": [2, 8, 8]}, 0.5, 0.5),
    "videomae": (
        videomae,
        VideoMAEConfig,
        VideoMAEForVideoClassification,
        {"patch_size": 8, "tubelet_size": 2},
        [0.485, 0.456, 0.406],
        [0.229, 0.224, 0.225],
    ),
    "timesformer": (timesformer, TimesformerConfig, TimesformerForVideoClassification, {"patch_size": 8}, 0.45, 0.225),
}


@pytest.fixture(params=FAMILIES)
def published(request, tmp_path):
    """A tiny classifier of transformers of 4 frames of 32 px, saved; its positions are not those of a fresh one."""
    build, config, model, extra, mean, std = FAMILIES[request.param]
    torch.manual_seed(3)
    theirs = model(config(image_size=32, num_frames=4, num_labels=5, **SAME, **extra)).eval()
    for parameter in theirs.parameters():  # also those that start at zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path / request.param)

    def normalised(x):
        shape = (-1, 1, 1)
        return (x - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)

    return build, str(tmp_path / request.param), theirs, normalised


def test_a_saved_model_gives_its_own_output(published):
    """By their own classifier on our features."""
    build, folder, theirs, normalised = published
    encoder = build(4, 32, pretrained=folder, **SIZES).eval()
    x = torch.rand(2, 4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(theirs.classifier(encoder(x)), theirs(normalised(x)).logits, rtol=1e-4, atol=1e-5)
    state = encoder.model.state_dict()
    for name, value in theirs.base_model.state_dict().items():
        assert torch.equal(state[name], value), name


def test_at_another_size_and_length_the_output_stays_close(published):
    """The same smooth clip, twice as large and twice as long: nearer to itself at its own size than to another clip."""
    build, folder, theirs, normalised = published
    coarse = torch.rand(8, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).expand(-1, 4, -1, -1, -1)
    sized = {}
    for size in (32, 64):
        flat = nn.functional.interpolate(coarse.flatten(0, 1), (size, size), mode="bilinear")
        sized[size] = flat.view(8, 4, 3, size, size)
    large = build(8, 64, pretrained=folder, **SIZES).eval()
    with torch.no_grad():
        own = theirs(normalised(sized[32])).logits
        other = theirs.classifier(large(sized[64].repeat_interleave(2, 1)))
    distance = torch.cdist(other - other.mean(0), own - own.mean(0))
    assert (distance.argmin(1) == torch.arange(8)).float().mean() >= 0.75
    assert distance.diag().mean() < 0.6 * distance.mean()


def test_a_checkpoint_needs_its_published_weights_no_more(published):
    """A run is built again from its config without `pretrained`, and filled from its own checkpoint."""
    build, folder, _, _ = published
    x = torch.rand(1, 6, 3, 48, 48)
    net = VideoTransformer(build(6, 48, pretrained=folder, **SIZES)).eval()
    again = VideoTransformer(build(6, 48, **SIZES)).eval()
    with torch.no_grad():
        assert not torch.equal(net(x), again(x))
        again.load_state_dict(net.state_dict())
        assert torch.equal(net(x), again(x))


def test_weights_of_other_sizes_are_refused_with_the_right_ones(published):
    build, folder, _, _ = published
    with pytest.raises(ValueError, match=r"hidden=32(.|\n)*heads=2"):
        build(4, 32, pretrained=folder, **SIZES | {"hidden": 64, "heads": 4})
    with pytest.raises(ValueError, match="patch=8"):
        build(4, 32, pretrained=folder, **SIZES | {"patch": 16})


def test_weights_of_another_family_and_damaged_ones_are_refused(published):
    build, folder, theirs, _ = published
    other = videomae if build is not videomae else vivit
    with pytest.raises(ValueError, match=f"type {theirs.config.model_type}, not"):
        other(4, 32, pretrained=folder, **SIZES)
    (Path(folder) / "model.safetensors").write_bytes(b"no such thing")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        build(4, 32, pretrained=folder, **SIZES)


def test_positions_are_interpolated_by_numpy_in_time_and_plane_by_plane_in_space():
    """The class token stays; time is the outermost; the centre of a new place lies at (i + 0.5) old / new - 0.5."""
    table = torch.randn(1, 1 + 2 * 3 * 3, 5, generator=torch.Generator().manual_seed(0))
    new = resized(table, (2, 3, 3), (4, 5, 6))
    assert torch.equal(new[:, 0], table[:, 0]) and new.shape == (1, 1 + 4 * 5 * 6, 5)
    at = (np.arange(4) + 0.5) / 2 - 0.5
    for channel in range(5):
        planes = table[0, 1:, channel].view(2, 1, 1, 3, 3)
        wide = [nn.functional.interpolate(plane, (5, 6), mode="bicubic")[0, 0].numpy() for plane in planes]
        for row, column in np.ndindex(5, 6):
            expected = np.interp(at, [0, 1], [wide[0][row, column], wide[1][row, column]])
            ours = new[0, 1:, channel].view(4, 5, 6)[:, row, column]
            np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert resized(table, (2, 3, 3), (2, 3, 3)) is table


def test_positions_are_interpolated_as_by_transformers():
    """Its ViViT interpolates over a single grid of space, so each point in time is compared alone."""
    model = VivitModel(VivitConfig(image_size=32, num_frames=2, tubelet_size=[2, 8, 8], **SAME))
    table = torch.randn(1, 1 + 3 * 4 * 4, 32, generator=torch.Generator().manual_seed(0))
    ours = resized(table, (3, 4, 4), (3, 6, 5))
    places = ours[:, 1:].view(3, 30, 32)
    for time, plane in enumerate(table[:, 1:].view(3, 1, 16, 32)):
        model.embeddings.position_embeddings.data = torch.cat([table[:, :1], plane], 1)
        theirs = model.embeddings.interpolate_pos_encoding(torch.zeros(1, 31, 32), height=48, width=40)
        torch.testing.assert_close(torch.cat([ours[:, :1], places[time : time + 1]], 1), theirs)


def test_attention_weights_are_those_of_transformers(published):
    """Of the same weights with attn_implementation="eager"; the encoder goes back to its faster implementation."""
    build, folder, theirs, normalised = published
    encoder, x = build(4, 32, pretrained=folder, **SIZES).eval(), torch.rand(2, 4, 3, 32, 32)
    loaded = type(theirs).from_pretrained(folder, attn_implementation="eager").eval()
    usual = encoder.model.config._attn_implementation
    with torch.no_grad():
        tokens, weights = encoder.attend(x)
        expected = loaded(normalised(x), output_attentions=True).attentions[-1]
        torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(encoder.pool(tokens), encoder(x), rtol=1e-4, atol=1e-5)
    assert encoder.model.config._attn_implementation == usual
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


@pytest.mark.parametrize("family", ["vivit", "videomae"])
def test_frames_that_tubelets_do_not_divide_repeat_the_last(family):
    torch.manual_seed(0)
    build = FAMILIES[family][0]
    three, four = build(3, 32, **SIZES).eval(), build(4, 32, **SIZES).eval()
    four.load_state_dict(three.state_dict())
    x = torch.rand(2, 3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(three(x), four(torch.cat([x, x[:, 2:]], 1)))


def test_missing_published_weights_say_where_from_and_where_to(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(WeightsNotFound, match=r"huggingface\.co/google/vivit-b-16x2(.|\n)*download=true"):
        vivit(4, 32, pretrained="google/vivit-b-16x2", **SIZES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsNotFound, match=r"model\.safetensors(.|\n)*put it at(.|\n)*empty"):
        vivit(4, 32, pretrained=str(tmp_path / "empty"), **SIZES)


def test_a_pickle_is_no_published_weight(published, tmp_path):
    build, _, theirs, _ = published
    theirs.config.save_pretrained(tmp_path / "old")
    torch.save(theirs.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(WeightsNotFound, match="safetensors"):
        build(4, 32, pretrained=str(tmp_path / "old"), **SIZES)


def test_video_transformers_say_what_they_take():
    with pytest.raises(ValueError, match="set frames, for example frames=16"):
        vivit(None, 32, **SIZES)
    with pytest.raises(ValueError, match="32"):
        timesformer(4, 30, **SIZES)
    with pytest.raises(ValueError, match="heads=3"):
        videomae(4, 32, **SIZES | {"heads": 3})
    with pytest.raises(ValueError, match="set frames and image_size"):
        VideoTransformer(vivit(4, 32, **SIZES))(torch.rand(1, 6, 3, 32, 32))


# ---- 3-D residual networks ----


def test_r3d_is_torchvisions_with_its_normalisation(tmp_path):
    torch.manual_seed(0)
    theirs = video.mc3_18(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "kinetics.pth")
    ours = VideoResNet(8, "mc3_18", weights=str(tmp_path / "kinetics.pth")).eval()
    x = torch.randint(0, 256, (1, 8, 3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    transform = video.MC3_18_Weights.KINETICS400_V1.transforms(resize_size=(112, 112))
    with torch.no_grad():
        torch.testing.assert_close(theirs.fc(ours.encode(x.float() / 255)), theirs(transform(x)), rtol=1e-4, atol=1e-4)


def test_r3d_takes_the_file_from_the_torch_cache_and_else_says_where_it_belongs(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsNotFound, match=r"download\.pytorch\.org/models/mc3_18") as caught:
        VideoResNet(8, "mc3_18", pretrained=True)
    path = tmp_path / "hub/checkpoints/mc3_18-a90a0ba3.pth"
    assert str(path) in str(caught.value)
    state = video.mc3_18(weights=None).state_dict()
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    net = VideoResNet(8, "mc3_18", pretrained=True)
    assert torch.equal(net.network.state_dict()["layer4.1.conv2.0.weight"], state["layer4.1.conv2.0.weight"])
    assert r3d_module.MODELS.keys() == {"r3d_18", "mc3_18", "r2plus1d_18"}


def test_r3d_says_what_it_takes():
    with pytest.raises(ValueError, match="set frames, for example frames=16"):
        VideoResNet(None)
    with pytest.raises(ValueError, match="r3d_18, mc3_18"):
        VideoResNet(8, "slowfast")
    with pytest.raises(ValueError, match=r"set one of them to null|set pretrained=false"):
        VideoResNet(8, pretrained=True, weights="x.pth")


# ---- clips at a drawn stride ----


def test_a_stride_is_drawn_from_those_that_fit():
    """Ten consecutive frames hold three frames at strides up to 4, since 2 x 4 < 10 <= 2 x 5."""
    draw = np.random.default_rng(0)
    drawn = [sampling.draw_stride(np.arange(10), 3, 9, draw) for _ in range(400)]
    shares = np.bincount(drawn, minlength=10) / 400
    assert set(drawn) == {1, 2, 3, 4} and (np.abs(shares[1:5] - 0.25) < 0.07).all()
    assert {sampling.draw_stride(np.arange(10), 3, 2, draw) for _ in range(50)} == {1, 2}
    assert sampling.draw_stride(np.array([0, 7, 20]), 3, 4, draw) == 1, "where none fits"


def test_training_draws_the_stride_and_evaluation_does_not():
    count = 16
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 4, 4), np.uint8)
    crops = SimpleNamespace(pixels=pixels, track=0, frame=np.arange(count), time=np.arange(count) / 25, sound=None)
    store = MemoryStore({"clip": crops})

    def strides(seed):
        how = Sampling(frames_per_video=1, frames=4, consecutive=True, stride=2, max_stride=3)
        data = CropDataset(store, store.items, how, seed=seed)
        x = torch.cat([data.__getitems__([(epoch, 0)])["x"] for epoch in range(40)])[:, :, 0, 0, 0].int()
        steps = x.diff(dim=1)
        assert (steps == steps[:, :1]).all()
        return steps[:, 0].tolist(), x[:, 0].tolist()

    drawn, starts = strides(seed=0)
    assert set(drawn) == {1, 2, 3} and len(set(starts)) > 4
    assert (drawn, starts) == strides(seed=0), "counted, not stored"
    assert set(strides(seed=None)[0]) == {2}
    with pytest.raises(ValueError, match=r"max_stride=2: .*consecutive=true"):
        Sampling(frames_per_video=1, frames=4, max_stride=2)
