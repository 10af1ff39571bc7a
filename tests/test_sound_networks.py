"""Networks for sound: AASIST against its authors' values, front ends against NumPy and SciPy, and all on disk."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.fft import dct
from torch import nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from unmask.config.build import build
from unmask.networks.aasist import Aasist, SincFilters
from unmask.networks.graphs import GraphAttention, GraphPool, StackAttention
from unmask.networks.lcnn import Lcnn, LcnnEncoder, MaxFeatureMap
from unmask.networks.spectra import Lfcc, LogMel, triangles
from unmask.networks.wav2vec2 import SoundClassifier, Wav2Vec2Encoder, pooled
from unmask.networks.weights import WeightsNotFound

CONF = Path(__file__).parents[1] / "conf"
SOUND = ("aasist", "lcnn", "wav2vec2")
SECOND = 16_000


def network_of(name, *overrides):
    """What `module/network=NAME` makes, with seeded weights."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose(overrides=[f"+module/network={name}", *overrides])
    torch.manual_seed(0)
    return build(OmegaConf.to_container(cfg, resolve=True)["module"]["network"])


def voices(count=3, seconds=1.0, seed=0):
    """Harmonic sounds with noise, float [count, S]."""
    rng, t = np.random.default_rng(seed), np.arange(round(seconds * SECOND)) / SECOND
    made = []
    for number in range(count):
        x = sum(np.sin(2 * np.pi * (110 + 40 * number) * h * t) / h for h in range(1, 12))
        made.append(x * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t)) + 0.05 * rng.standard_normal(len(t)))
    return torch.from_numpy(np.stack([0.7 * x / np.abs(x).max() for x in made])).float()


def check(network, x):
    """One logit per recording, gradients for all weights, the same answers twice, and with bfloat16."""
    network.train()
    logit = network(x)
    assert logit.shape == (len(x),) and logit.isfinite().all()
    logit.square().sum().backward()
    trained = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
    for name, value in trained:
        assert value.grad is not None and value.grad.isfinite().all(), name
    assert sum(bool(value.grad.any()) for _, value in trained) > 0.9 * len(trained)
    network.eval()
    with torch.no_grad():
        plain = network(x)
        assert torch.equal(plain, network(x)) and torch.equal(plain, network.head(network.encode(x)))
        assert network.encode(x).shape == (len(x), network.num_features)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(x)
    assert rough.shape == plain.shape and rough.isfinite().all()
    return plain


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_every_network_for_sound_on_disk(name):
    x = voices()
    network = network_of(name)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    check(network, x)
    again = network_of(name).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in state.items()), "not deterministic under a seed"
    with torch.no_grad():
        assert not torch.allclose(network(x), network(x.flip(1))), "the samples make a difference"
        assert network(voices(2, 1.7)).shape == (2,), "another length"


@pytest.mark.parametrize("name", SOUND)
def test_pictures_are_refused(name):
    small = {"aasist": ["module.network.filters=9"], "lcnn": [], "wav2vec2": ["module.network.encoder.layers=1"]}
    network = network_of(name, *small[name]).eval()
    with pytest.raises(ValueError, match=r"expected waveforms \[B, S\], but got \[2, 3, 8, 8\]"):
        network(torch.rand(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"recordings of 300 samples are too short"):
        network(torch.rand(2, 300))


# ---- AASIST ----


def examples(seed):
    """The waveforms of the README beside the authors' weights, float32 [8, 64600]."""
    rng, t = np.random.default_rng(seed), np.arange(64600) / 16000
    found = []
    for k in range(8):
        f0 = 90 + 30 * k
        x = sum(np.sin(2 * np.pi * f0 * h * t * (1 + 0.002 * np.sin(2 * np.pi * 5 * t))) / h for h in range(1, 12))
        x = x * (0.5 + 0.5 * np.sin(2 * np.pi * (2 + 0.3 * k) * t))
        x = x + rng.normal(0, [0.01, 0.05, 0.2, 0.5][k % 4], 64600)
        found.append((0.7 * x / np.abs(x).max()).astype(np.float32))
    return torch.from_numpy(np.stack(found))


@pytest.mark.slow
def test_authors_weights_give_the_authors_logits(shared_data):
    folder = shared_data / "aasist"
    expected = json.loads((folder / "expected.json").read_text())
    assert expected["columns"] == ["spoof", "bona fide"]
    network = Aasist.from_authors(folder / "AASIST-L.pth").eval()
    with torch.no_grad():
        logit = network(examples(expected["seed"])).numpy()
    wanted = np.array(expected["logits"])
    print("largest difference", np.abs(logit - (wanted[:, 0] - wanted[:, 1])).max())
    np.testing.assert_allclose(logit, wanted[:, 0] - wanted[:, 1], atol=1e-4)


def test_authors_weights_load_by_config_and_have_the_published_count(shared_data):
    path = shared_data / "aasist" / "AASIST-L.pth"
    network = network_of("aasist", f"module.network.weights={path}")
    published = torch.load(path, "cpu", weights_only=True)
    assert torch.equal(network.positions, published["pos_S"])
    row = published["out_layer.weight"]
    assert torch.equal(network.classifier[1].weight, row[:1] - row[1:])
    # The published model has 85,306 parameters. Ours lacks the five unused batch norms (2 x (32 + 32 + 24 + 24 + 24))
    # of its residual blocks and the second logit (160 + 1).
    assert sum(value.numel() for value in network.parameters()) == 85_306 - 272 - 161


def test_other_weights_are_refused(shared_data, tmp_path):
    with pytest.raises(WeightsNotFound, match=r"clovaai/aasist"):
        Aasist.from_authors(tmp_path / "AASIST.pth")
    path = shared_data / "aasist" / "AASIST-L.pth"
    with pytest.raises(ValueError, match=r"does not fit Aasist"):
        Aasist.from_authors(path, channels=(32, 32, 64, 64))
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"does not hold the weights of AASIST"):
        Aasist.from_authors(tmp_path / "other.pth")


def test_the_larger_size_has_the_published_number_of_parameters():
    network = Aasist(channels=(32, 32, 64, 64), widths=(64, 32), kept=(0.5, 0.7, 0.5))
    # 297,866 as published; the unused batch norms have 2 x (32 + 32 + 64 + 64 + 64) parameters, a logit has 161.
    assert sum(value.numel() for value in network.parameters()) == 297_866 - 512 - 161


def test_band_passes_are_windowed_differences_of_sincs():
    found = SincFilters(12, 33).filters[:, 0].numpy()
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 13) / 2595) - 1)
    at = np.arange(-16, 17)
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        ideal = [2 * f / 16000 * np.sinc(2 * f * at / 16000) for f in (low, high)]
        np.testing.assert_allclose(found[number], (ideal[1] - ideal[0]) * np.hamming(33), atol=1e-7)


@torch.no_grad()
def test_pre_emphasis_hears_high_frequencies_at_any_level():
    torch.manual_seed(0)
    plain = Aasist(24, 65).eval()
    raised = Aasist(24, 65, pre_emphasis=True).eval()
    raised.load_state_dict(plain.state_dict())
    x = voices(2).double().numpy()
    wanted = np.stack([np.append(wave[0], wave[1:] - 0.97 * wave[:-1]) for wave in x])
    wanted /= wanted.std(1, ddof=1, keepdims=True)
    x, wanted = torch.from_numpy(x).float(), torch.from_numpy(wanted).float()
    found = raised.encode(x)
    torch.testing.assert_close(found, plain.encode(wanted), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found, raised.encode(0.1 * x), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, plain.encode(x), rtol=1e-2, atol=1e-2)
    assert not torch.allclose(plain.encode(x), plain.encode(0.1 * x), rtol=1e-3, atol=1e-3)
    assert raised(torch.zeros(1, 8000)).isfinite().all()


def test_settings_of_aasist_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"filters=70, length=128: expected at least 3 filters of odd length"):
        SincFilters(70, 128)
    with pytest.raises(ValueError, match=r"channels=\[8\]: expected 4 numbers above 0"):
        Aasist(channels=[8])
    with pytest.raises(ValueError, match=r"kept=\[0.5, 0, 1\]: expected 3 fractions"):
        Aasist(kept=[0.5, 0, 1])


# ---- graph layers, by loops over nodes ----


@torch.no_grad()
def test_graph_attention_by_loops():
    torch.manual_seed(0)
    layer, nodes = GraphAttention(4, 3, temperature=2.0).eval(), torch.randn(2, 5, 4)
    out = torch.zeros(2, 5, 3)
    for b in range(2):
        for i in range(5):
            scores = [float(torch.tanh(layer.pair(nodes[b, i] * nodes[b, j])) @ layer.score[:, 0]) for j in range(5)]
            weight = np.exp(np.array(scores) / 2)
            mean = sum(float(w) * nodes[b, j] for j, w in enumerate(weight / weight.sum()))
            out[b, i] = layer.neighbours(mean) + layer.own(nodes[b, i])
    torch.testing.assert_close(layer(nodes), nn.functional.selu(layer.norm(out.flatten(0, 1))).view(2, 5, 3))


@torch.no_grad()
def test_stack_attention_by_loops():
    torch.manual_seed(1)
    layer = StackAttention(4, 3, temperature=1.5).eval()
    temporal, spectral, stack = torch.randn(2, 3, 4), torch.randn(2, 2, 4), torch.randn(1, 1, 4)
    found = layer(temporal, spectral, stack)
    nodes = torch.cat([layer.temporal(temporal), layer.spectral(spectral)], 1)
    kinds = {(True, True): layer.score_temporal, (False, False): layer.score_spectral}
    out, heaps = torch.zeros(2, 5, 3), torch.zeros(2, 1, 3)
    for b in range(2):
        for i in range(5):
            of = [kinds.get((i < 3, j < 3), layer.score_mixed)[:, 0] for j in range(5)]
            scores = [float(torch.tanh(layer.pair(nodes[b, i] * nodes[b, j])) @ of[j]) for j in range(5)]
            weight = torch.tensor(scores).div(1.5).softmax(0)
            out[b, i] = layer.neighbours(weight @ nodes[b]) + layer.own(nodes[b, i])
        of = layer.score_stack[:, 0]
        to_stack = [float(torch.tanh(layer.stack_pair(node * stack[0, 0])) @ of) for node in nodes[b]]
        weight = torch.tensor(to_stack).div(1.5).softmax(0)
        heaps[b, 0] = layer.stack_neighbours(weight @ nodes[b]) + layer.stack_own(stack[0, 0])
    out = nn.functional.selu(layer.norm(out.flatten(0, 1))).view(2, 5, 3)
    for ours, wanted in zip(found, (out[:, :3], out[:, 3:], heaps), strict=True):
        torch.testing.assert_close(ours, wanted)


def test_a_pooling_keeps_the_nodes_with_the_highest_scores():
    layer, nodes = GraphPool(2, 0.5).eval(), torch.tensor([[[1.0, 0], [3, 0], [-1, 0], [2, 0], [0, 0]]])
    with torch.no_grad():
        layer.score.weight.copy_(torch.tensor([[1.0, 0]]))
        layer.score.bias.zero_()
        found = layer(nodes)
    wanted = [3 / (1 + math.exp(-3)), 2 / (1 + math.exp(-2))]
    assert found.shape == (1, 2, 2) and found[0, :, 0].tolist() == pytest.approx(wanted)


# ---- front ends ----


def spectrogram(x, emphasis):
    """The power spectrum of one waveform, with NumPy -> [T, 257]."""
    x = np.append(x[0], x[1:] - emphasis * x[:-1]) if emphasis else x
    frames = [x[start : start + 320] * np.hamming(320) for start in range(0, len(x) - 319, 160)]
    return np.abs(np.fft.rfft(frames, 512)) ** 2


def bands_of(edges):
    """Triangular filters by linear interpolation between their corners -> [K, 257]."""
    frequency = np.arange(257) * 16000 / 512
    corners = zip(edges[:-2], edges[1:-1], edges[2:], strict=True)
    return np.array([np.interp(frequency, corner, [0, 1, 0]) for corner in corners])


def test_lfcc_equals_an_independent_computation():
    x = voices(2, 0.5).double().numpy()
    found = Lfcc()(torch.from_numpy(x).float()).numpy()
    assert found.shape == (2, 60, 1 + (8000 - 320) // 160)
    filters = bands_of(np.linspace(0, 8000, 22))
    for ours, wave in zip(found, x, strict=True):
        plain = dct(np.log(spectrogram(wave, 0.97) @ filters.T + 1e-8), type=2, norm="ortho").T  # [20, T]
        parts = [plain]
        for _ in range(2):
            wide = np.pad(parts[-1], ((0, 0), (1, 1)), "edge")
            parts.append(wide[:, 2:] - wide[:, :-2])
        np.testing.assert_allclose(ours, np.concatenate(parts), atol=2e-3)
    assert Lfcc(30, 13, differences=False)(torch.from_numpy(x).float()).shape == (2, 13, 49)


def test_log_mel_equals_an_independent_computation():
    x = voices(1, 0.5).double().numpy()
    found = LogMel(40, 100, 7600)(torch.from_numpy(x).float())[0].numpy()
    ends = 2595 * np.log10(1 + np.array([100, 7600]) / 700)
    edges = 700 * (10 ** (np.linspace(*ends, 42) / 2595) - 1)
    wanted = np.log(spectrogram(x[0], 0) @ bands_of(edges).T + 1e-8).T
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_narrow_bands_are_not_empty():
    """Of 64 mel bands, the lowest are narrower than the distance between frequencies of the FFT."""
    edges = torch.tensor([20.0, 30, 40, 50, 8000])
    found = triangles(edges)
    assert (found.sum(1) > 0).all() and found[0].argmax() == 1  # 31.25 Hz


def test_front_ends_are_the_same_under_autocast():
    x = voices(1, 0.3)
    for front in (Lfcc(), LogMel()):
        plain = front(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(front(x), plain) and plain.dtype == torch.float32


def test_settings_of_front_ends_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"coefficients=21: expected 1 to 20"):
        Lfcc(20, 21)
    with pytest.raises(ValueError, match=r"lowest=20.0, highest=9000: expected frequencies from 0 to 8000 Hz"):
        LogMel(highest=9000)


# ---- LCNN, wav2vec 2.0 ----


def test_a_max_feature_map_takes_the_larger_half():
    assert MaxFeatureMap()(torch.tensor([[1.0, 5, 3, 2]])).tolist() == [[3, 5]]


@pytest.mark.parametrize("stride", [1, 4, 16])
def test_the_stride_of_lcnn_is_that_of_its_output(stride):
    encoder = LcnnEncoder(LogMel(32), width=4, stride=stride).eval()
    frames = 1 + (SECOND - 320) // 160
    with torch.no_grad():
        assert encoder(voices(2)).shape == (2, frames // stride, encoder.num_features)
    with pytest.raises(ValueError, match=r"stride=3: expected one of 1, 2, 4, 8, 16"):
        LcnnEncoder(LogMel(), stride=3)


def test_lcnn_pools_mean_and_deviation():
    network, x = Lcnn(Lfcc(), width=4).eval(), voices(2)
    with torch.no_grad():
        steps = network.encoder(x).numpy()
        found = network.encode(x).numpy()
    np.testing.assert_allclose(found, np.concatenate([steps.mean(1), steps.std(1)], 1), atol=4e-3)


SIZES = {"hidden": 32, "layers": 2, "heads": 2, "channels": 16}


def test_wav2vec2_weighs_the_layers_of_transformers():
    torch.manual_seed(0)
    encoder, x = Wav2Vec2Encoder(**SIZES).eval(), voices(2, 0.3)
    with torch.no_grad():
        encoder.layer_weights.copy_(torch.tensor([0.0, 1.0, -1.0]))
        scaled = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
        layers = encoder.model(scaled, output_hidden_states=True).hidden_states
        weight = np.exp([0, 1, -1]) / np.exp([0, 1, -1]).sum()
        wanted = sum(float(w) * layer for w, layer in zip(weight, layers, strict=True))
        torch.testing.assert_close(encoder(x), wanted, rtol=1e-4, atol=1e-5)
        assert encoder(x).shape == (2, 14, 32)
        louder = encoder(0.1 * x)
    torch.testing.assert_close(louder, wanted, rtol=1e-3, atol=1e-3)


def test_attention_pooling_by_hand():
    features, attention = torch.randn(2, 4, 3), nn.Linear(3, 1)
    weight = attention(features)[..., 0].exp()
    weight = weight / weight.sum(1, keepdim=True)
    mean = sum(weight[:, t, None] * features[:, t] for t in range(4))
    variance = sum(weight[:, t, None] * (features[:, t] - mean) ** 2 for t in range(4))
    torch.testing.assert_close(pooled(features, attention), torch.cat([mean, (variance + 1e-5).sqrt()], 1))


def test_a_frozen_wav2vec2_trains_only_the_sum_over_layers_and_the_head():
    network = SoundClassifier(Wav2Vec2Encoder(**SIZES, frozen=True), width=8).train()
    assert not any(part.training for part in network.encoder.model.modules())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.5)
    network(voices(3, 0.3)).square().sum().backward()
    optimizer.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert "encoder.layer_weights" in moved and not any(name.startswith("encoder.model.") for name in moved)


def test_weights_in_a_folder_are_loaded_and_those_of_other_sizes_refused(tmp_path):
    torch.manual_seed(3)
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, conv_dim=(16,) * 7
    )
    theirs = Wav2Vec2Model(config).eval()
    theirs.save_pretrained(tmp_path)
    encoder = Wav2Vec2Encoder(**SIZES, pretrained=str(tmp_path)).eval()
    x = voices(1, 0.3)
    scaled = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
    with torch.no_grad():
        wanted = torch.stack(theirs(scaled, output_hidden_states=True).hidden_states).mean(0)
        torch.testing.assert_close(encoder(x), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"its num_hidden_layers is 2, but the config has 3 \(set layers\)"):
        Wav2Vec2Encoder(**SIZES | {"layers": 3}, pretrained=str(tmp_path))
    with pytest.raises(WeightsNotFound, match=r"save_pretrained|hf download"):
        Wav2Vec2Encoder(**SIZES, pretrained=str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match=r"hidden=30, heads=2: expected a multiple of 16"):
        Wav2Vec2Encoder(**SIZES | {"hidden": 30})


def test_lcnn_learns_to_tell_a_missing_band():
    """Noise without the band from 3 to 5 kHz is the fake; 30 steps are enough."""
    torch.manual_seed(0)
    network = Lcnn(LogMel(), width=4, dropout=0.0)
    optimizer, rng = torch.optim.Adam(network.parameters(), 1e-2), np.random.default_rng(0)

    def batch(count):
        x, label = rng.standard_normal((count, 4000)) * 0.1, rng.integers(0, 2, count)
        spectrum = np.fft.rfft(x)
        spectrum[:, 750:1250] *= np.where(label == 1, 0.3, 1)[:, None]
        return torch.from_numpy(np.fft.irfft(spectrum, 4000)).float(), torch.from_numpy(label)

    for _ in range(30):
        x, label = batch(16)
        loss = nn.functional.binary_cross_entropy_with_logits(network(x), label.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, label = batch(64)
    with torch.no_grad():
        right = ((network.eval()(x) > 0) == (label == 1)).float().mean()
    assert right > 0.9
