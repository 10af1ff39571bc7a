"""Networks for clips with sound, their loss, and how a detector passes both inputs."""

import math

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from test_sound_networks import CONF, SECOND
from unmask.config.build import build
from unmask.metrics import ranking
from unmask.modules.detector import Detector
from unmask.networks.av_fusion import AvFusion
from unmask.networks.av_sync import AvSync, distances
from unmask.networks.encoders import SmallEncoder
from unmask.networks.inputs import apply, encode, inputs_of
from unmask.networks.lcnn import LcnnEncoder
from unmask.networks.meso import Meso4
from unmask.networks.spectra import LogMel
from unmask.training.contrast import SyncContrast, contrast
from unmask.training.losses import BCE, Outputs

BOTH, FRAMES, SIDE = ("av_fusion", "av_sync"), 8, 32


def clips(count=2, seed=0):
    """Random clips and noise: x [count, FRAMES, 3, SIDE, SIDE] and sound [count, S] of 8 frames at 25 frames/s."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(count, FRAMES, 3, SIDE, SIDE, generator=rng)
    return {"x": x, "sound": 0.1 * torch.randn(count, round(FRAMES / 25 * SECOND), generator=rng)}


def picture(channels):
    return SmallEncoder(channels, width=4)


def sound():
    return LcnnEncoder(LogMel(32), width=4, stride=4)


def fusion(seed=0, **options):
    torch.manual_seed(seed)
    return AvFusion(picture, sound(), **{"width": 8, "dropout": 0.0, **options})


def sync(**options):
    torch.manual_seed(0)
    return AvSync(picture, sound(), **{"width": 8, **options})


@pytest.mark.parametrize("name", BOTH)
def test_every_network_for_clips_with_sound_on_disk(name):
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose(overrides=[f"+module/network={name}"])
    torch.manual_seed(0)
    network, batch = build(OmegaConf.to_container(cfg, resolve=True)["module"]["network"]).train(), clips()
    logit = network(**batch)
    assert logit.shape == (2,) and logit.isfinite().all()
    logit.square().sum().backward()
    for key, value in network.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all(), key
    network.eval()
    with torch.no_grad():
        plain = network(**batch)
        assert torch.equal(plain, network(**batch)) and inputs_of(network) == ("x", "sound")
        with torch.autocast("cpu", torch.bfloat16):
            assert network(**batch).isfinite().all()
        for key, value in clips(seed=1).items():
            assert not torch.allclose(network(**batch | {key: value}), plain), f"{key} makes a difference"


@pytest.mark.parametrize("kind", ["late", "middle"])
def test_either_branch_of_a_fusion_works_alone(kind):
    network, batch = fusion(fusion=kind).eval(), clips(3)
    with torch.no_grad():
        seen, heard = network(x=batch["x"]), network(sound=batch["sound"])
        assert seen.shape == heard.shape == (3,)
        other = clips(3, seed=1)
        assert torch.equal(network(x=batch["x"]), seen) and not torch.allclose(network(x=other["x"]), seen)
        if kind == "late":  # the fused logit is a weighted sum of the branches' logits
            torch.testing.assert_close(network(**batch), (seen + heard) / 2)
    with pytest.raises(ValueError, match=r"AvFusion expected x or sound, but got none"):
        network()


@pytest.mark.parametrize("kind", ["late", "middle"])
@pytest.mark.parametrize(("branch", "name"), [("picture", "x"), ("sound", "sound")])
def test_a_branch_can_be_a_network_of_its_own(kind, branch, name):
    network, batch = fusion(fusion=kind, branches=[branch]).train(), clips()
    assert inputs_of(network) == (name,)
    apply(network, batch).sum().backward()
    assert all(value.grad is not None for value in network.parameters()), "nothing is built that is not used"
    assert not any("sound" in key if branch == "picture" else "picture" in key for key in network.state_dict())


@pytest.mark.parametrize("kind", ["late", "middle"])
def test_in_training_some_samples_have_one_branch(kind):
    """The logit of such a sample is that of the branch alone; the share is the one that was set."""
    network, batch = fusion(fusion=kind, alone=0.5).train(), clips(1)
    batch["sound"] = nn.functional.pad(batch["sound"], (0, 320))  # as many steps of the sound as frames
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.eval()
    many = {key: value.expand(300, *value.shape[1:]) for key, value in batch.items()}
    with torch.no_grad():
        seen, heard = network(x=batch["x"]), network(sound=batch["sound"])
        found = network(**many)
        whole = network.eval()(**batch)
    kinds = torch.cat([seen, heard, whole])
    nearest = (found[:, None] - kinds).abs().argmin(1)
    assert (found - kinds[nearest]).abs().max() < 1e-4
    share = torch.bincount(nearest, minlength=3) / 300
    assert 0.17 < share[0] < 0.33 and 0.17 < share[1] < 0.33


def test_settings_of_a_fusion_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"fusion=early: expected one of late, middle"):
        fusion(fusion="early")
    with pytest.raises(ValueError, match=r"branches=\['text'\]: expected picture, sound or both"):
        fusion(branches=["text"])
    with pytest.raises(ValueError, match=r"alone=1: expected a share"):
        fusion(alone=1)
    with pytest.raises(ValueError, match=r"expected clips \[B, T, 3, H, W\]"):
        fusion()(torch.rand(2, 3, SIDE, SIDE), clips()["sound"])


# ---- synchrony ----


def test_the_score_rises_with_the_distance():
    network, batch = sync().eval(), clips()
    with torch.no_grad():
        features = network.encode(**batch)
        assert features.shape == (2, FRAMES, 16)
        seen, heard = features.chunk(2, dim=2)
        torch.testing.assert_close(seen.norm(dim=2), torch.ones(2, FRAMES))
        wanted = torch.stack([1 - (seen[:, t] * heard[:, t]).sum(1) for t in range(FRAMES)], 1)
        torch.testing.assert_close(distances(features), wanted)
        torch.testing.assert_close(network(**batch), network.scale * (wanted.mean(1) - network.centre))
        assert (network.head(torch.cat([seen, seen], 2)) < network.head(torch.cat([seen, -seen], 2))).all()


def test_only_the_mouth_is_seen():
    network, batch = sync(mouth=(0.5, 1.0, 0.25, 0.75)).eval(), clips()
    with torch.no_grad():
        plain = network(**batch)
        outside = batch["x"].clone()
        outside[..., :16, :] = 0
        outside[..., :8] = 0
        assert torch.equal(network(outside, batch["sound"]), plain)
        outside[..., 20, 16] = 0
        assert not torch.equal(network(outside, batch["sound"]), plain)
    with pytest.raises(ValueError, match=r"mouth=\[1, 0.5, 0, 1\]: expected \[top, bottom, left, right\]"):
        sync(mouth=[1, 0.5, 0, 1])
    with pytest.raises(ValueError, match=r"expected clips"):
        network(torch.rand(2, 1, 3, SIDE, SIDE), batch["sound"])


def test_contrast_by_loops():
    """Cross-entropy over all frames of all clips, without the neighbours of the right frame."""
    features = nn.functional.normalize(torch.randn(2, 3, 2, 4, generator=torch.Generator().manual_seed(0)), dim=3)
    seen, heard = features[:, :, 0], features[:, :, 1]
    places = [(clip, frame) for clip in range(2) for frame in range(3)]
    total = 0.0
    for first, second in ((seen, heard), (heard, seen)):
        for clip, frame in places:
            others = [(c, f) for c, f in places if c != clip or abs(f - frame) != 1]
            weights = [math.exp(float(first[clip, frame] @ second[c, f]) / 0.2) for c, f in others]
            total -= math.log(weights[others.index((clip, frame))] / sum(weights))
    assert float(contrast(features.flatten(2), 0.2)) == pytest.approx(total / len(places) / 2, rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert float(contrast(features.flatten(2), 0.2)) == pytest.approx(total / len(places) / 2, rel=1e-5)


def test_the_contrast_uses_real_clips_only():
    loss, batch = SyncContrast(BCE(), temperature=0.2), {"y": torch.tensor([0, 1, 0])}
    features = nn.functional.normalize(torch.randn(3, 4, 2, 5), dim=3).flatten(2).requires_grad_()
    logit = torch.tensor([0.3, -0.2, 1.0])
    value = loss.of_batch(Outputs(logit, features), batch)
    real = features[[0, 2]].detach()
    assert float(value.detach()) == pytest.approx(
        float(BCE()(logit, batch["y"].float()) + contrast(real, 0.2)), rel=1e-6
    )
    value.backward()
    assert not features.grad[1].any() and features.grad[0].any()
    only_fakes = loss.of_batch(Outputs(logit, features), {"y": torch.ones(3, dtype=torch.int64)})
    assert float(only_fakes) == pytest.approx(float(BCE()(logit, torch.ones(3))), rel=1e-6)
    with pytest.raises(ValueError, match=r"needs module/network=av_sync"):
        loss.of_batch(Outputs(logit, torch.zeros(3, 5)), batch)
    with pytest.raises(ValueError, match=r"temperature=0, weight=1.0"):
        SyncContrast(BCE(), temperature=0)


# ---- the detector ----


def detector(network, loss):
    return Detector(network, loss, lambda p: torch.optim.Adam(p, 1e-3), lambda o, n: None)


def test_a_detector_passes_the_inputs_that_its_network_declares():
    batch = clips() | {"y": torch.tensor([0, 1]), "index": torch.arange(2)}
    network = sync().eval()
    module = detector(network, SyncContrast(BCE()))
    with torch.no_grad():
        torch.testing.assert_close(module.score(batch), network(batch["x"], batch["sound"]))
        outputs = module.outputs(batch)
        torch.testing.assert_close(outputs.features, network.encode(batch["x"], batch["sound"]))
        torch.testing.assert_close(encode(network, batch), outputs.features)
    plain = Meso4(image_size=32).eval()
    frames = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(detector(plain, BCE()).score({"x": frames}), plain(frames)) and inputs_of(plain) == ("x",)


def test_clips_without_sound_are_refused():
    with pytest.raises(ValueError, match=r"AvSync takes x and sound, but batches have no sound: choose a data set"):
        apply(sync(), {"x": clips()["x"]})


def talking(count, rng):
    """Clips whose mouth opens with the loudness of the sound if real, and with that of another sound if fake."""
    steps = round(FRAMES / 25 * SECOND)
    seen, other = rng.uniform(0, 1, (2, count, FRAMES))
    label = rng.integers(0, 2, count)
    heard = np.where(label[:, None] == 1, other, seen)
    loud = np.stack([np.interp(np.arange(steps), (np.arange(FRAMES) + 0.5) * steps / FRAMES, k) for k in heard])
    x = np.full((count, FRAMES, 3, SIDE, SIDE), 0.5, np.float32)
    for clip in range(count):
        for frame in range(FRAMES):
            x[clip, frame, :, 24 : 24 + round(6 * seen[clip, frame]), 12:20] = 0
    x += rng.normal(0, 0.02, x.shape)
    sound = loud * 0.3 * rng.standard_normal((count, steps))
    return {"x": torch.from_numpy(x).float(), "sound": torch.from_numpy(sound).float(), "y": torch.from_numpy(label)}


@pytest.mark.slow
def test_synchrony_is_learned_where_neither_branch_alone_sees_anything():
    """Mouth and sound are alike in real and fake clips; only their match differs."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    test = talking(200, np.random.default_rng(1))

    def area(network, loss, steps):
        module = detector(network, loss)
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        for _ in range(steps):
            batch = talking(24, rng)
            value = (
                loss.of_batch(module.outputs(batch), batch)
                if isinstance(loss, SyncContrast)
                else loss(module.score(batch), batch["y"].float())
            )
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            return float(ranking.auroc(module.score(test).numpy(), test["y"].numpy()))

    both = area(AvSync(picture, LcnnEncoder(LogMel(32), width=8, stride=4), width=16), SyncContrast(BCE()), 150)
    alone = [area(fusion(branches=[branch]), BCE(), 30) for branch in ("picture", "sound")]
    print(f"AUC: both {both:.3f}, pictures {alone[0]:.3f}, sound {alone[1]:.3f}")
    assert both > 0.85 and all(0.38 < one < 0.62 for one in alone)
