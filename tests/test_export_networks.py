"""Every network on disk as an ONNX file, against PyTorch, on 64 crops: photographs if at hand, else rendered."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from conftest import ROOT, SHARED
from unmask.config.build import build
from unmask.export.check import BATCHES, TOLERANCE
from unmask.export.onnx import export_onnx
from unmask.export.pixels import COUNT, Pixels
from unmask.export.wrapped import Parts, Wrapped

CONF = ROOT / "conf"
# `trained` is the network of another run, which has one of the other architectures; the others take sound.
OTHERS = {"trained", "aasist", "lcnn", "wav2vec2", "av_fusion", "av_sync"}
NETWORKS = sorted({path.stem for path in CONF.glob("module/network/*.yaml")} - OTHERS)
SIZE, CROP, FRAMES = 96, 100, 4
FIXED = {"vivit", "videomae", "timesformer"}  # one position embedding per frame
PICTURES = SHARED / "stylegan2_vs_ffhq_256"


@pytest.fixture(scope="module")
def crops(tmp_path_factory) -> Pixels:
    """64 faces, uint8 [64, 3, CROP, CROP]."""
    folder, source = PICTURES, "photographs"
    if not PICTURES.is_dir():
        from unmask.demo.portraits import render_portraits

        folder, source = tmp_path_factory.mktemp("portraits"), "rendered portraits"
        render_portraits(folder, portraits=COUNT, workers=1)
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
    some = paths[:: len(paths) // COUNT][:COUNT]
    read = [cv2.resize(cv2.imread(str(path)), (CROP, CROP), interpolation=cv2.INTER_AREA)[..., ::-1] for path in some]
    assert len(read) == COUNT
    return Pixels(np.ascontiguousarray(np.stack(read).transpose(0, 3, 1, 2)), source)


def network_of(name: str) -> torch.nn.Module:
    """What `module/network=NAME` makes, with seeded weights."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base=None):
        cfg = compose(overrides=[f"+module/network={name}", f"+image_size={SIZE}", f"+frames={FRAMES}"])
    torch.manual_seed(0)
    return build(OmegaConf.to_container(cfg, resolve=True)["module"]["network"]).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_equals_pytorch(name, crops, tmp_path: Path):
    clips = "${frames}" in (CONF / f"module/network/{name}.yaml").read_text()
    parts = Parts(CROP, SIZE, FRAMES if clips else None, localises=name == "unet")
    turned = np.stack([np.roll(crops.values, -at, 0) for at in range(FRAMES)], 1)  # clip n: crops n, n + 1, ...
    pixels = Pixels(turned, crops.source) if clips else crops
    model = Wrapped(network_of(name), parts).eval()
    checked = export_onnx(model, tmp_path / "a.onnx", {}, pixels)
    print(name, checked)
    assert set(BATCHES) <= set(checked.batches) and max(checked.difference.values()) <= TOLERANCE
    with torch.inference_mode():
        spread = model(torch.from_numpy(pixels.values[:8]))[0].std()
    assert spread > 100 * checked.difference["logit"], "the pixels make a difference that is far above the tolerance"
    if clips:
        assert checked.fixed is (name in FIXED) and len(checked.lengths) == (1 if name in FIXED else 2)
