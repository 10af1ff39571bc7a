"""Residuals: their filters against OpenCV, what the CNN ignores and learns from, and their histograms."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from unmask.networks.cnn import ResidualCnn, high_pass
from unmask.networks.residuals import MAPS, ResidualHistogram


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_filters_are_those_that_the_papers_print():
    # Second difference, KB and KV of Fridrich and Kodovsky, figure 2 there, each divided by its middle weight.
    assert (12 * high_pass()[3, 0, 2]).tolist() == [-2, 8, -12, 8, -2]
    assert (4 * high_pass()[2, 0, 1]).tolist() == [0, -1, 2, -1, 0]
    assert (2 * high_pass()[0, 0, 2]).tolist() == [0, 1, -2, 1, 0]
    torch.testing.assert_close(high_pass()[1], high_pass()[0].transpose(1, 2))
    torch.testing.assert_close(high_pass()[:, 0, 2, 2], torch.full((4,), -1.0))


def test_residuals_are_opencvs_cut_off_at_the_truncation():
    x = noise(1, 3, 20, 24)
    found = ResidualCnn(truncate=100.0).residuals(x)[0]
    for channel in range(3):
        grey = (255 * x[0, channel]).numpy()
        for number, kernel in enumerate(high_pass()[:, 0].numpy()):
            expected = cv2.filter2D(grey, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
            expected = np.clip(expected / 100, -1, 1)
            np.testing.assert_allclose(found[4 * channel + number], expected, atol=1e-4)
    assert found.max() == 1 and found.min() == -1


def test_brightness_and_even_slopes_leave_no_residual():
    ramp = torch.linspace(0.1, 0.9, 16)
    x = (0.5 * ramp[:, None] + 0.5 * ramp).expand(1, 3, 16, 16)
    inside = ResidualCnn().residuals(x)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inside, torch.zeros_like(inside), atol=1e-4, rtol=0)


def test_a_frame_of_any_size_is_read():
    net = ResidualCnn(width=4).eval()
    tile = noise(1, 3, 32, 32)
    assert net(tile).shape == net(noise(1, 3, 50, 70)).shape == (1,)
    # Features are means over the frame: four copies of one, away from their seams, weigh like one.
    wide = net.encode(tile.repeat(1, 1, 4, 4))
    torch.testing.assert_close(wide, net.encode(tile.repeat(1, 1, 2, 2)), rtol=0.2, atol=0.02)


def test_it_learns_grain_that_shows_nothing():
    """Real pictures have independent grain, fakes the same grain smoothed: equal means and equal contrast."""
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(0)

    def pictures(count):
        label = (torch.arange(count) % 2).float()
        grain = torch.randn(count, 3, 32, 32, generator=draw)
        smooth = nn.functional.avg_pool2d(grain, 3, 1, 1) * 3
        scene = torch.rand(count, 3, 1, 1, generator=draw) * 0.6 + 0.2
        return (scene + 0.01 * torch.where(label[:, None, None, None] == 1, smooth, grain)).clamp(0, 1), label

    net = ResidualCnn(width=4, dropout=0.0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(20):
        x, label = pictures(16)
        loss = nn.functional.binary_cross_entropy_with_logits(net(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, label = pictures(64)
    with torch.no_grad():
        right = ((net.eval()(x) > 0) == (label == 1)).float().mean()
    assert right > 0.9


def test_it_says_what_it_takes():
    with pytest.raises(ValueError, match="frames=null"):
        ResidualCnn()(torch.rand(2, 4, 3, 32, 32))
    with pytest.raises(ValueError, match="truncate=0"):
        ResidualCnn(truncate=0)


# ---- histograms of residuals ----


def test_histograms_are_numpys_of_opencvs_residuals():
    image = np.random.default_rng(0).integers(120, 136, (3, 24, 24)).astype(np.float32)
    encoder = ResidualHistogram(truncate=3, grid=2)
    found = encoder(torch.from_numpy(image / 255)[None]).reshape(7, MAPS, 2, 2)  # value, map, cell
    red, green, blue = image
    kernels = [*high_pass()[:, 0].numpy(), np.float32([[-1, 1, 0]]), np.float32([[-1], [1], [0]])]
    for colour, plane in enumerate((image.mean(0), red - green, blue - green)):
        for number, kernel in enumerate(kernels):
            residual = cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
            clipped = np.clip(residual[:12, 12:], -3, 3)  # the cell above on the right
            share = np.histogram(clipped, bins=np.arange(-3.5, 4))[0] / 144
            ours = found[:, 6 * colour + number, 0, 1].numpy() ** 2
            # What lies half-way between two levels may be rounded to either: only such pixels may differ.
            halves = np.isclose(np.abs(clipped) % 1, 0.5, atol=1e-3).mean()
            assert np.abs(ours - share).sum() <= 2 * halves + 1e-6
    torch.testing.assert_close(found.square().sum(0), torch.ones(MAPS, 2, 2))


def test_a_flat_picture_has_no_residual_but_zero():
    found = ResidualHistogram(truncate=2, grid=1)(torch.full((1, 3, 16, 16), 0.3)).reshape(5, MAPS)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])[:, None].expand(5, MAPS))


def test_half_precision_counts_the_same():
    encoder, x = ResidualHistogram(), noise(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder(x)
    torch.testing.assert_close(rough, encoder(x))


def test_histograms_say_what_they_take():
    with pytest.raises(ValueError, match="grid=0"):
        ResidualHistogram(grid=0)
    with pytest.raises(ValueError, match="channels=4"):
        ResidualHistogram(channels=4)
