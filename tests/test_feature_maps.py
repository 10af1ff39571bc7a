"""Feature maps of layers: values, channels and colours by hand, and against a hook on the network itself."""

from copy import deepcopy

import matplotlib
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from torch import nn

from unmask.explain.feature_maps import GAP, TILE, LayerError, feature_maps, grid, scaled, strongest
from unmask.networks.multi_crop import MultiCrop
from unmask.reporting import examples


class Tiny(nn.Module):
    """Two convolutions, executed in another order than they are defined, and a squeeze in between."""

    def __init__(self):
        super().__init__()
        self.second = nn.Conv2d(3, 2, 2, bias=False)
        self.first = nn.Conv2d(3, 3, 1)
        self.first.weight.data = torch.diag(torch.tensor([1.0, 2.0, -1.0])).view(3, 3, 1, 1)
        self.first.bias.data = torch.tensor([0.0, 0.5, 0.0])
        self.second.weight.data = torch.zeros(2, 3, 2, 2)
        self.second.weight.data[0, 0] = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # a pixel and its diagonal neighbour
        self.second.weight.data[1, 1] = torch.tensor([[0.0, 1.0], [0.0, 0.0]])  # the pixel to the right
        self.relu = nn.ReLU(inplace=True)  # changes the output of `first` after its hook
        self.squeeze = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(2, 1)

    def forward(self, x):
        x = self.relu(self.first(x))
        x = x + 0 * self.squeeze(x.mean((2, 3), keepdim=True))
        return self.head(self.second(x).mean((2, 3))).squeeze(1)


X = torch.arange(27, dtype=torch.float32).view(1, 3, 3, 3) / 27


def test_values_by_hand():
    red, green, blue = X[0].numpy()
    first = np.stack([red, 2 * green + 0.5, -blue])
    second = np.stack([red[:2, :2] + red[1:, 1:], (2 * green + 0.5)[:2, 1:]])
    found = feature_maps(Tiny(), X)
    assert list(found) == ["first", "second"], "in order of execution, without the squeeze of one pixel"
    np.testing.assert_allclose(found["first"], first, rtol=1e-6)  # the negative channel too: before the ReLU
    np.testing.assert_allclose(found["second"], second, rtol=1e-6)
    chosen = feature_maps(Tiny(), X, ["second", "relu"])
    assert list(chosen) == ["second", "relu"]
    np.testing.assert_allclose(chosen["relu"], first.clip(0), rtol=1e-6)


def test_the_network_stays_as_it_is():
    network = Tiny().train()
    before = deepcopy(network.state_dict())
    feature_maps(network, X)
    assert network.training and not any(part._forward_hooks for part in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_single_convolution_is_shown_once():
    assert list(feature_maps(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()), X)) == ["0"]
    assert feature_maps(nn.Sequential(nn.Flatten(), nn.Linear(27, 1)), X) == {}


def test_unknown_layers_are_refused_with_similar_names():
    with pytest.raises(LayerError, match="feature_maps=frist: the network has no such layer; did you mean first"):
        feature_maps(Tiny(), X, ["frist"])
    with pytest.raises(LayerError, match="head: the output of this layer is not a grid of features; expected some of"):
        feature_maps(Tiny(), X, ["head"])
    with pytest.raises(LayerError, match="expected some of first, relu, second"):
        feature_maps(Tiny(), X, ["?"])


# ---- clips, crops and transformers ----


def test_a_clip_shows_its_middle_frame():
    class Frames(nn.Module):
        def __init__(self, three):
            super().__init__()
            self.see = nn.Conv3d(3, 2, 1) if three else nn.Conv2d(3, 2, 1)
            self.three = three

        def forward(self, x):
            seen = self.see(x.transpose(1, 2)) if self.three else self.see(x.flatten(0, 1))
            return seen.mean()[None]

    clip = torch.rand(1, 5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for three in (False, True):
        network = Frames(three)
        weight, bias = (value.detach().numpy() for value in (network.see.weight, network.see.bias))
        expected = np.einsum("oc,chw->ohw", weight.reshape(2, 3), clip[0, 2].numpy()) + bias[:, None, None]
        np.testing.assert_allclose(feature_maps(network, clip)["see"], expected, rtol=1e-5, atol=1e-6)


def test_a_network_of_crops_sees_the_whole_frame():
    network = MultiCrop(Tiny(), size=2)
    np.testing.assert_array_equal(feature_maps(network, X)["network.first"], feature_maps(Tiny(), X)["first"])


def test_tokens_of_a_transformer_are_laid_out_as_patches():
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=1).eval()
    x, seen = torch.rand(1, 3, 64, 64), []
    network.blocks[3].register_forward_hook(lambda part, _, output: seen.append(output.detach()))
    found = feature_maps(network, x, ["blocks.3"])["blocks.3"]
    tokens = seen[0]  # the hook on `network` was copied with it and ran once
    assert found.shape == (192, 4, 4) and tokens.shape == (1, 17, 192)
    for row in range(4):
        for column in range(4):
            np.testing.assert_array_equal(found[:, row, column], tokens[0, 1 + 4 * row + column].numpy())


# ---- channels and colours ----


def test_channels_that_vary_most_are_first():
    ramp = np.linspace(-1, 1, 4, dtype=np.float32).reshape(2, 2)
    one = np.stack([ramp, 3 * ramp, 2 * ramp, np.full((2, 2), 9, np.float32), 2 * ramp])  # 9 is high, but constant
    assert strongest(one[None]) == [1, 2, 4, 0, 3], "equal channels stay in order"
    other = np.stack([7 * ramp, 0 * ramp, 2 * ramp, 0 * ramp, 0 * ramp])
    assert strongest(np.stack([one, other])) == [0, 2, 1, 4, 3], "on average over samples: 8, 4, 3, 2 and 0"
    assert strongest(one[None], most=2) == [1, 2]


def test_a_channel_has_one_scale_for_all_samples():
    maps = np.array([[[[0, 1], [2, 3]], [[5, 5], [5, 5]]], [[[4, 4], [4, 8]], [[5, 5], [5, 5]]]], np.float32)
    expected = np.array([[[[0, 1], [2, 3]], [[0, 0], [0, 0]]], [[[4, 4], [4, 8]], [[0, 0], [0, 0]]]]) / 8
    np.testing.assert_allclose(scaled(maps), expected)


def test_tiles():
    frame = np.full((10, 10, 3), (10, 20, 30), np.uint8)
    maps = np.zeros((4, 2, 2), np.float32)
    maps[0] = [[0.0, 1.0], [0.25, 0.75]]
    sheet = grid(frame, maps)
    step = TILE + GAP
    assert sheet.shape == (2 * step - GAP, 4 * step - GAP, 4)
    assert (sheet[:TILE, :TILE] == (10, 20, 30, 255)).all(), "the input is the first tile"
    assert not sheet[:, TILE:step].any() and not sheet[step:, step:].any(), "gaps and missing tiles are transparent"
    viridis = matplotlib.colormaps["viridis"]
    tile = sheet[:TILE, step : step + TILE]
    for value, row, column in ((0.0, 0, 0), (1.0, 0, -1), (0.25, -1, 0), (0.75, -1, -1)):
        np.testing.assert_allclose(tile[row, column, :3], 255 * np.array(viridis(value)[:3]), atol=3)
    assert (sheet[step : step + TILE, :TILE, :3] == tile[0, 0, :3]).all(), "the fourth channel begins a row"


# ---- the items that are shown ----


def predictions(rows):
    table = pd.DataFrame(rows, columns=["item", "label", "method", "logit"])
    return table.assign(track=0, frame=0, time=np.nan, dataset="d", split="test")


def test_one_item_of_each_class_that_has_a_heat_map_if_possible():
    rows = [(f"r{number}", 0, "real", number) for number in range(5)]
    rows += [(f"f{number}", 1, "swap", number) for number in range(9)]
    table = predictions(rows)
    explained = examples.explained(table, 4, False)
    assert [one.item for one in explained] == ["f1", "f4", "f7", "r2"]
    assert [one.item for one in examples.of_each_class(table, False, 4)] == ["r2", "f4"]
    assert [one.item for one in examples.of_each_class(table, False, 1)] == ["r2", "f4"], "no fake has a heat map"
    real, fake = examples.of_each_class(table, True, 3)
    assert (real.item, real.label, fake.item) == ("r2", 0, "f4"), "a localiser has heat maps of fakes alone"
    assert [one.item for one in examples.of_each_class(predictions(rows[:5]), False, 4)] == ["r2"]
