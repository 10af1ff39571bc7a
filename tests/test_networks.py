import json
import pickle
from functools import partial
from pathlib import Path

import h5py
import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from facenet_pytorch import InceptionResnetV1
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from unmask.networks import weights as weights_module
from unmask.networks.cnn_lstm import CPU_FRAMES, DIFFERENCE_SCALE, CnnLstm, change
from unmask.networks.encoders import FacenetEncoder, SmallEncoder, TimmEncoder
from unmask.networks.meso import Meso4, MesoInception4
from unmask.networks.weights import WeightsNotFound, read_state_dict

CONF = Path(__file__).parents[1] / "conf"
# For `trained`, see test_pruning; for networks of sound, see test_sound_networks and test_av_networks.
OTHERS = {"trained", "aasist", "lcnn", "wav2vec2", "av_fusion", "av_sync"}
NETWORKS = sorted({path.stem for path in CONF.glob("module/network/*.yaml")} - OTHERS)
ENCODERS = sorted(
    path.stem for path in CONF.glob("module/network/encoder/*.yaml") if path.stem != "run"
)  # see test_svm
SIZE, FRAMES = 96, 3


def build(network, *overrides):
    """What `module/network=...` makes of the YAML on disk, seeded."""
    scalars = [f"+image_size={SIZE}", f"+frames={FRAMES}"]
    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose(overrides=[f"+module/network={network}", *overrides, *scalars])
    torch.manual_seed(0)
    return instantiate(cfg.module.network)


def batch_for(network):
    """A batch of what the network takes: clips when its YAML reads `frames`, frames otherwise."""
    clips = "${frames}" in (CONF / f"module/network/{network}.yaml").read_text()
    shape = (2, FRAMES, 3, SIZE, SIZE) if clips else (2, 3, SIZE, SIZE)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def check_network(net, x):
    net.train()
    logit = net(x)
    # Of each picture, or, of a network that localises, of each pixel.
    shape = (2, 1, *x.shape[-2:]) if logit.ndim == 4 else (2,)
    assert logit.shape == shape and logit.isfinite().all()
    logit.square().sum().backward()
    trainable = [(name, parameter) for name, parameter in net.named_parameters() if parameter.requires_grad]
    assert trainable
    for name, parameter in trainable:
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert sum(bool(parameter.grad.any()) for _, parameter in trainable) > 0.9 * len(trainable)
    net.eval()
    with torch.no_grad():
        plain = net(x)
        assert torch.equal(plain, net(x))
        if hasattr(net, "encode"):
            assert torch.equal(plain, net.head(net.encode(x)))
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(x)
    assert rough.shape == shape and rough.isfinite().all()
    return plain


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_on_disk(network):
    x = batch_for(network)
    net = build(network)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    check_network(net, x)
    again = build(network).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in state.items()), "not deterministic under a seed"


@pytest.mark.slow
@pytest.mark.parametrize("differences", [False, True])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_on_disk(encoder, differences):
    choice = f"module/network/encoder={encoder}"
    net = build("cnn_lstm", choice, f"module.network.differences={differences}", "module.network.hidden=8")
    assert net.encoder.channels == (6 if differences else 3)
    check_network(net, batch_for("cnn_lstm"))
    features = net.encoder(torch.rand(2, net.encoder.channels, SIZE, SIZE))
    assert features.shape == (2, net.encoder.num_features)


def test_meso_yamls_hold_the_constructors_defaults():
    for network, built in (("meso4", Meso4), ("mesoinception4", MesoInception4)):
        ours, theirs = build(network), built(image_size=SIZE)
        assert str(ours) == str(theirs)


# ---- Meso: the authors' weights and numbers ----


@pytest.mark.parametrize(("built", "count"), [(Meso4, 27_977), (MesoInception4, 28_615)])
def test_meso_has_the_authors_number_of_parameters(built, count):
    net = built()
    assert sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad) == count
    assert net.num_features == 1024


@pytest.mark.parametrize("built", [Meso4, MesoInception4])
def test_meso_has_keras_constants(built):
    norms = [layer for layer in built().modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 4 and len({id(norm) for norm in norms}) == 4
    assert all(norm.eps == 1e-3 and norm.momentum == 0.01 for norm in norms)


@pytest.mark.parametrize(("built", "name"), [(Meso4, "Meso4_DF"), (MesoInception4, "MesoInception_DF")])
def test_authors_weights_give_the_authors_outputs(shared_data, built, name):
    folder = shared_data / "mesonet"
    expected = json.loads((folder / "expected.json").read_text())[name]
    net = built.from_keras(folder / f"{name}.h5").eval()
    frames = [np.array(Image.open(folder / file).convert("RGB").resize((256, 256), 0)) for file in expected["images"]]
    images = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
    noise = np.random.default_rng(0).random((8, 256, 256, 3), dtype=np.float32)
    with torch.no_grad():
        logit = net(torch.cat([images, torch.from_numpy(noise).permute(0, 3, 1, 2)]))
    real = 1 - logit.double().sigmoid().numpy()
    np.testing.assert_allclose(real, [*expected["images"].values(), *expected["noise_rng0"]], atol=1e-4)
    # The forged picture has a logit above 1, which no probability could be.
    assert logit[list(expected["images"]).index("df00204.jpg")] > 1


@pytest.mark.parametrize(("built", "name"), [(Meso4, "Meso4_F2F"), (MesoInception4, "MesoInception_F2F")])
def test_face2face_weights_load_by_config_too(shared_data, built, name):
    path = shared_data / "mesonet" / f"{name}.h5"
    net = built(weights=str(path))
    with h5py.File(path) as file:
        last = max((key for key in file if key.startswith("dense")), key=lambda key: int(key.split("_")[1]))
        kernel, bias = file[f"{last}/{last}/kernel:0"][()], file[f"{last}/{last}/bias:0"][()]
    np.testing.assert_array_equal(net.classifier[-1].weight.detach().numpy(), -kernel.T)
    np.testing.assert_array_equal(net.classifier[-1].bias.detach().numpy(), -bias)


def test_missing_meso_weights_say_where_from_and_where_to(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Meso4_DF\.h5[\s\S]*DariusAf/MesoNet[\s\S]*put it at"):
        Meso4.from_keras(tmp_path / "Meso4_DF.h5")


def test_wrong_meso_weights_are_refused(shared_data, tmp_path):
    folder = shared_data / "mesonet"
    with pytest.raises(ValueError, match="does not hold the weights of Meso4"):
        Meso4.from_keras(folder / "MesoInception_DF.h5")
    with pytest.raises(ValueError, match="does not hold the weights of MesoInception4"):
        MesoInception4.from_keras(folder / "Meso4_DF.h5")
    with pytest.raises(ValueError, match="image_size=256"):
        Meso4.from_keras(folder / "Meso4_DF.h5", image_size=128)
    (tmp_path / "text.h5").write_text("no such thing")
    with pytest.raises(ValueError, match=r"text\.h5 is not a Keras"):
        Meso4.from_keras(tmp_path / "text.h5")


def test_meso_says_what_it_takes():
    with pytest.raises(ValueError, match="multiple of 32, such as 96"):
        Meso4(image_size=100)
    with pytest.raises(ValueError, match="frames=null"):
        Meso4(image_size=64)(torch.rand(2, 4, 3, 64, 64))
    with pytest.raises(ValueError, match="image_size"):
        Meso4(image_size=64)(torch.rand(2, 3, 96, 96))


# ---- CnnLstm ----


def small(frames=FRAMES, **options):
    torch.manual_seed(0)
    return CnnLstm(partial(SmallEncoder, width=4), frames, **{"hidden": 8, "dropout": 0.0, **options})


@pytest.mark.parametrize("frozen", [True, False])
def test_few_frames_are_encoded_at_once_where_nothing_is_trained(frozen):
    """The features are the same; batch norm that trains sees the whole batch."""
    net, sizes = small(frozen=frozen), []
    net.encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    x = torch.rand(4, 5, 3, 32, 32)
    net.encode(x)
    assert sizes == ([CPU_FRAMES, 20 - CPU_FRAMES] if frozen else [20])
    with torch.no_grad():
        net.encode(x)
        assert sizes[-1] == (20 - CPU_FRAMES if frozen else 20), "it is in training mode, unless it is frozen"
        found, whole = net.eval().encode(x), net.encoder(x.flatten(0, 1)).view(4, 5, -1)
    assert sizes[-3:] == [CPU_FRAMES, 20 - CPU_FRAMES, 20]
    torch.testing.assert_close(found, whole)


def test_change_by_hand():
    x = torch.full((1, 3, 3, 2, 2), 0.5)
    x[:, 1] += 0.01
    x[:, 2] -= 0.49
    steps = change(x)
    assert steps.shape == x.shape
    expected = torch.tensor([0.5 + DIFFERENCE_SCALE * 0.01, 0.5 + DIFFERENCE_SCALE * 0.01, 0.0])
    torch.testing.assert_close(steps[0, :, 0, 0, 0], expected)


def test_differences_reach_the_encoder_after_the_frame():
    net, x = small(differences=True), torch.rand(2, FRAMES, 3, 32, 32)
    seen = []
    net.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net(x)
    torch.testing.assert_close(seen[0][:, :3], x.flatten(0, 1))
    torch.testing.assert_close(seen[0][:, 3:], change(x).flatten(0, 1))


def test_order_of_frames_matters():
    net, x = small().eval(), torch.rand(2, FRAMES, 3, 32, 32)
    assert not torch.allclose(net(x), net(x.flip(1)))


@pytest.mark.parametrize("pooling", ["last", "mean", "attention"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_pooling_by_hand(pooling, bidirectional):
    net = small(pooling=pooling, bidirectional=bidirectional).eval()
    features = torch.randn(2, 5, net.encoder.num_features)
    outputs, (ends, _) = net.lstm(features)
    if pooling == "last":  # torch's own final states: the top layer's, both directions
        pooled = torch.cat(list(ends[-2:]), 1) if bidirectional else ends[-1]
    elif pooling == "mean":
        pooled = sum(outputs[:, t] for t in range(5)) / 5
    else:
        score = net.attention(outputs)[..., 0].exp()
        pooled = sum(outputs[:, t] * score[:, t, None] for t in range(5)) / score.sum(1, keepdim=True)
    torch.testing.assert_close(net.head(features), net.classifier(pooled)[:, 0])


def test_a_wider_head_is_a_hidden_layer_after_the_last_output():
    """Of torch's own layers: the top layer's last state, 8 -> 4, ReLU, dropout, 4 -> 1."""
    net = small(layers=2, dropout=0.5, head_width=4)
    assert [type(layer) for layer in net.classifier] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert net.lstm.dropout == net.classifier[2].p == 0.5
    features = torch.randn(2, 5, net.encoder.num_features)
    _, (ends, _) = net.eval().lstm(features)
    first, last = net.classifier[0], net.classifier[3]
    hidden = (ends[-1] @ first.weight.T + first.bias).clamp(min=0)
    assert hidden.shape == (2, 4)
    torch.testing.assert_close(net.head(features), (hidden @ last.weight.T + last.bias)[:, 0])


def test_frozen_encoder_stays_as_it_is_while_the_rest_trains():
    net, x = small(frozen=True), torch.rand(4, FRAMES, 3, 32, 32)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.train()
    assert not any(module.training for module in net.encoder.modules())
    assert net.lstm.training and net.classifier.training
    assert not net.encode(x).requires_grad
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(x).square().sum().backward()
    optimizer.step()
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and not any(name.startswith("encoder.") for name in moved)
    assert any(name.startswith("lstm.") for name in moved)


def test_a_trained_encoder_goes_into_train_mode():
    net = small()
    assert net.eval().train().encoder.training


def test_cnn_lstm_says_what_it_takes():
    with pytest.raises(ValueError, match="set frames, for example frames=16"):
        small(frames=None)
    with pytest.raises(ValueError, match="set frames, for example frames=16"):
        small(frames=1, differences=True)
    with pytest.raises(ValueError, match="set frames, for example frames=16"):
        small()(torch.rand(2, 3, 32, 32))
    with pytest.raises(ValueError, match="last, mean, attention"):
        small(pooling="max")
    with pytest.raises(ValueError, match="frozen=false"):
        small(frozen=True, differences=True)
    with pytest.raises(ValueError, match="_partial_"):
        CnnLstm(SmallEncoder(), 4)
    with pytest.raises(ValueError, match="channels=6"):
        CnnLstm(lambda channels: SmallEncoder(channels=3), 4, differences=True)


def test_differences_show_a_flicker_that_frames_hide():
    """Real clips hold one brightness, fakes change it between frames; every single frame has the same distribution."""
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(0)

    def clips(count):
        face = torch.rand(count, 1, 3, 32, 32, generator=draw) * 0.6 + 0.2
        label = (torch.arange(count) % 2).float()
        level = 0.02 * torch.randn(count, 6, 1, 1, 1, generator=draw)
        level[label == 0] = level[label == 0, :1]
        return face + level, label

    net = CnnLstm(partial(SmallEncoder, width=4), 6, hidden=8, layers=1, dropout=0.0, pooling="mean", differences=True)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        x, label = clips(16)
        loss = nn.functional.binary_cross_entropy_with_logits(net(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, label = clips(64)
    with torch.no_grad():
        right = ((net.eval()(x) > 0) == (label == 1)).float().mean()
    assert right > 0.9


# ---- encoders and their weights ----


def test_facenet_is_facenet_pytorchs_with_its_normalisation(tmp_path):
    torch.manual_seed(0)
    theirs = InceptionResnetV1(pretrained=None).eval()
    state = theirs.state_dict() | {"logits.weight": torch.zeros(5, 512), "logits.bias": torch.zeros(5)}
    torch.save(state, tmp_path / "faces.pt")
    ours = FacenetEncoder(weights=str(tmp_path / "faces.pt")).eval()
    pixels = torch.randint(0, 256, (2, 3, 96, 96), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        features = ours(pixels / 255)
        torch.testing.assert_close(features, theirs((pixels - 127.5) / 128), rtol=1e-4, atol=1e-5)
        # Differences start at weight zero: whatever they are, the features are those of RGB.
        wide = FacenetEncoder(weights=str(tmp_path / "faces.pt"), channels=6).eval()
        six = torch.cat([pixels / 255, torch.rand(2, 3, 96, 96)], 1)
        torch.testing.assert_close(wide(six), features, rtol=1e-4, atol=1e-5)
    assert wide.network.conv2d_1a.conv.weight.requires_grad


def test_facenet_takes_the_file_from_the_torch_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_: pytest.fail("a file on disk was downloaded"))
    state = InceptionResnetV1(pretrained=None).state_dict()
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints/20180402-114759-vggface2.pt")
    encoder = FacenetEncoder(pretrained="vggface2")
    assert torch.equal(encoder.network.state_dict()["last_linear.weight"], state["last_linear.weight"])


def test_facenet_offline_names_file_source_and_place(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    place = tmp_path / "checkpoints/20180408-102900-casia-webface.pt"
    with pytest.raises(WeightsNotFound, match=r"releases/download/v2\.2\.9") as caught:
        FacenetEncoder(pretrained="casia-webface")
    assert str(place) in str(caught.value)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    def unreachable(url, path, hash_prefix):
        raise weights_module.URLError("name resolution failed")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(WeightsNotFound, match="vggface2"):
        FacenetEncoder(pretrained="vggface2")


def test_facenet_says_what_it_takes():
    with pytest.raises(ValueError, match="vggface2, casia-webface"):
        FacenetEncoder(pretrained="imagenet")
    with pytest.raises(ValueError, match=r"set one of them to null|set pretrained=false"):
        FacenetEncoder(pretrained="vggface2", weights="x.pt")
    with pytest.raises(ValueError, match="image_size=160"):
        FacenetEncoder()(torch.rand(1, 3, 64, 64))
    assert FacenetEncoder().eval()(torch.rand(1, 3, 75, 75)).shape == (1, 512)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_timm_weights_from_a_file(tmp_path, name, suffix):
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, num_classes=7).eval()
    path = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(theirs.state_dict(), path)
    size = theirs.pretrained_cfg["input_size"][-1]
    x = torch.rand(2, 3, size, size)
    mean, std = (torch.tensor(theirs.pretrained_cfg[key]).view(-1, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features((x - mean) / std), pre_logits=True)
        ours = TimmEncoder(name, weights=str(path)).eval()
        torch.testing.assert_close(ours(x), expected)
        assert ours.num_features == expected.shape[1]
        wide = TimmEncoder(name, weights=str(path), channels=6).eval()
        torch.testing.assert_close(wide(torch.cat([x, torch.rand_like(x)], 1)), expected, rtol=1e-4, atol=1e-5)


def test_timm_models_of_one_size_are_built_for_ours(tmp_path):
    theirs = timm.create_model("test_vit", pretrained=False)
    save_file(theirs.state_dict(), tmp_path / "vit.safetensors")
    encoder = TimmEncoder("test_vit", weights=str(tmp_path / "vit.safetensors"), image_size=96)
    assert encoder(torch.rand(2, 3, 96, 96)).shape == (2, encoder.num_features)


def test_timm_offline_names_the_file_and_where_it_may_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsNotFound, match=r"timm/test_resnet\.r160_in1k[\s\S]*weights=PATH"):
        TimmEncoder("test_resnet", pretrained=True)


def test_timm_says_what_it_takes():
    with pytest.raises(ValueError, match="efficientnet_b4"):
        TimmEncoder("eficientnet_b4")
    with pytest.raises(ValueError, match=r"set one of them to null|set pretrained=false"):
        TimmEncoder("test_resnet", pretrained=True, weights="x.pt")


class Danger:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_torchscript_is_refused_in_our_own_words(tmp_path):
    """PyTorch's error advises to load it with weights_only=False, which runs what is in it."""
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "scripted.pt")
    with pytest.raises(ValueError, match=r"scripted.pt is a TorchScript archive, which is code, and is refused"):
        read_state_dict(tmp_path / "scripted.pt")


def test_weights_that_need_unpickling_are_refused(tmp_path):
    path, mark = tmp_path / "weights.pt", tmp_path / "ran"
    torch.save({"conv1.weight": Danger(mark)}, path)
    for _ in range(2):
        with pytest.raises(ValueError, match="run code"):
            TimmEncoder("test_resnet", weights=str(path))
        path.write_bytes(pickle.dumps({"conv1.weight": Danger(mark)}))
    assert not mark.exists()


def test_weights_of_something_else_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    for encoder in (partial(TimmEncoder, "test_resnet"), FacenetEncoder):
        with pytest.raises(ValueError, match="does not fit"):
            encoder(weights=str(path))
    torch.save(timm.create_model("resnet10t").state_dict(), path)
    with pytest.raises(ValueError, match="does not fit"):
        TimmEncoder("resnet18", weights=str(path))
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="state dict"):
        read_state_dict(path)
    path.with_suffix(".safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(ValueError, match="not a readable"):
        read_state_dict(path.with_suffix(".safetensors"))
    with pytest.raises(WeightsNotFound, match="nowhere"):
        read_state_dict(tmp_path / "nowhere.pt")
