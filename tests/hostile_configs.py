"""Hostile configs of run folders, made from a seed: what they do when `predict`, `evaluate` and `report` read them.

  python tests/hostile_configs.py --seed 1 --count 500

Each is written as `.hydra/config.yaml` of a run, and everything that the three verbs build of a run is built. Counted
are refusals in words, harmless builds, crashes, hangs, bytes written elsewhere, requests, and environment variables
that were read.
"""

import argparse
import json
import os
import random
import resource
import sys
import threading
import time
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from unmask.config.build import build
from unmask.config.foreign import ForeignConfigError
from unmask.config.targets import ConfigError
from unmask.runs.errors import RunError
from unmask.runs.run import Run

SECRET = "unmask-secret-that-no-config-may-read"
LIMIT = 20.0  # s
DATA: dict[str, Any] = {
    "name": "films",
    "recipe": {"_target_": "unmask.media.pictures.WholePictures", "crop_size": 32},
    "sampling": {"_target_": "unmask.data.dataset.Sampling", "frames_per_video": 2},
    "loader": {"_target_": "unmask.data.loader.Loader", "image_size": 32, "batch_size": 4},
}
MODULE: dict[str, Any] = {
    "_target_": "unmask.modules.detector.Detector",
    "network": {"_target_": "unmask.networks.meso.Meso4", "image_size": 32},
    "loss": {"_target_": "unmask.training.losses.BCE"},
    "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-3},
    "scheduler": {"_target_": "unmask.training.schedules.constant", "_partial_": True},
}
REFUSALS = (ConfigError, ForeignConfigError, RunError, ValueError, FileNotFoundError, PermissionError, TypeError)
TARGETS = [
    "os.system", "subprocess.Popen", "builtins.eval", "builtins.exec", "builtins.open", "shutil.rmtree", "torch.load",
    "torch.hub.load", "torch.jit.load", "torch.hub.download_url_to_file", "timm.create_model", "pathlib.Path",
    "unmask.commands.demo.start", "unmask.data.parts.write_part", "unmask.media.encode.VideoWriter", "pickle.loads",
    "unmask.networks.weights.read_state_dict", "unmask.networks.weights.facenet_state", "hydra.utils.instantiate",
    "unmask.parallel.workers._Worker", "unmask.parallel.workers.run", "unmask.config.build.build",
    "importlib.import_module",
    "omegaconf.OmegaConf.load", "unmask.training.callbacks.LastCheckpoint",
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "pytorch_lightning.loggers.WandbLogger", "torchvision.models.resnet18", "torch.nn.modules.module.torch.load",
    "unmask.networks.weights.find", "unmask.runs.figures.write_json", "unmask.provenance.marking.Marking",
    "webbrowser.open",
]  # fmt: skip
TEXTS = [
    "${oc.env:UNMASK_SECRET}", "${oc.env:HOME,x}", "${oc.decode:1}", "${oc.create:{a: 1}}", "${oc.dict.keys:data}",
    "${hydra:runtime.cwd}", "${run_id:}", "${evil}", "${module}", "${data.recipe}", "${nowhere.at.all}", "${${name}}",
    "\\${oc.env:HOME}", "${oc.env:\"UNMASK_SECRET\"}", "http://127.0.0.1:{port}/x", "file:///etc/passwd", "../../x",
    "/dev/zero", "hf-hub:evil/model", "\x1b[2J", "a\nb", "\u202etxt", "x" * 5000, "???", "$", "${", "}${",
]  # fmt: skip
NUMBERS = [0, -1, 2**31, 2**63, 10**9, 100_000, 1e308, float("inf"), float("nan"), -1e9, True, None, 1e-300, 65_536]
ARGUMENTS = ["weights", "pretrained", "download", "url", "cache_dir", "dirpath", "save_dir", "path", "file", "command"]
ARGUMENTS += ["args", "checkpoint_path", "pretrained_cfg_overlay", "_partial_", "_args_", "_recursive_", "_convert_"]


def hostile(seed: int, number: int, port: int = 9) -> str:
    """The text of one hostile config."""
    draw = random.Random(f"{seed} {number}")
    tree: dict[str, Any] = {"name": "x", "seed": 0, "image_size": 32, "frames": None}
    tree |= json.loads(json.dumps({"data": DATA, "module": MODULE}))
    for _ in range(draw.randint(1, 4)):
        _harm(tree, draw, port)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return _harm_text(text, draw)


def _harm(tree: dict[str, Any], draw: random.Random, port: int) -> None:
    places = list(_places(tree))
    holder, key = draw.choice(places)
    kind = draw.randrange(6)
    if kind == 0:
        tree["evil"] = _target(draw, port)
        holder[key] = "${evil}"
    elif kind == 1:
        holder[key] = _target(draw, port)
    elif kind == 2:
        holder[key] = draw.choice(TEXTS).replace("{port}", str(port))
    elif kind == 3:
        holder[key] = draw.choice(NUMBERS)
    elif kind == 4 and isinstance(holder, dict):
        holder[draw.choice(ARGUMENTS)] = draw.choice([*TEXTS, *NUMBERS, _target(draw, port)])
    else:
        holder[key] = [_target(draw, port), {"_target_": draw.choice(TARGETS)}] * draw.randint(1, 3)


def _target(draw: random.Random, port: int) -> dict[str, Any]:
    name = draw.choice(TARGETS)
    given: dict[str, Any] = {"_target_": name}
    if name == "timm.create_model":
        url = f"http://127.0.0.1:{port}/file?${{oc.env:UNMASK_SECRET}}"
        given |= {"model_name": "resnet10t", "pretrained": True, "cache_dir": "PWNED"}
        given |= {"pretrained_cfg_overlay": {"url": url, "hf_hub_id": None, "file": None, "source": "url"}}
    elif name == "torch.hub.download_url_to_file":
        given |= {"url": f"http://127.0.0.1:{port}/x", "dst": "PWNED"}
    else:
        given["_args_"] = [draw.choice([["touch", "PWNED"], "touch PWNED", "PWNED", f"http://127.0.0.1:{port}/x"])]
    return given


def _places(node: Any) -> Any:
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _harm_text(text: str, draw: random.Random) -> str:
    kind = draw.randrange(12)
    if kind == 0:
        return text[: draw.randrange(len(text))]
    if kind == 1:
        return (
            "bomb: &a [x, x, x]\n"
            + "".join(f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'}, *a]\n" for n in range(9))
            + text
        )
    if kind == 2:
        return text + "extra: " + "[" * draw.choice([40, 5000]) + "\n"
    if kind == 3:
        return text + draw.choice(
            ["x: !!python/name:os.system\n", "x: !!python/object/apply:os.system [touch PWNED]\n"]
        )
    if kind == 4:
        at = draw.randrange(len(text))
        return text[:at] + draw.choice("\0\x07{}[]&*!|>%@`\u2028") + text[at:]
    return text


def attempt(text: str, place: Path) -> str:
    """Read a run with this config and build what verbs build; `refused`, `built`, or what went wrong."""
    folder = place / "run"
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / ".hydra/config.yaml").write_text(text)
    if not (folder / "checkpoints/best.ckpt").is_file():
        torch.save({"state_dict": build(MODULE).state_dict()}, folder / "checkpoints/best.ckpt")
    before, refusals = _files(place), 0
    begun, here = time.monotonic(), Path.cwd()
    os.chdir(place)
    try:
        run = Run(folder)
        parts = (partial(run.build, f"data.{name}") for name in ("recipe", "sampling", "loader"))
        for work in (lambda: run.name, *parts, run.module, run.network, lambda: str(run.config)):
            try:
                if SECRET in str(work()):
                    return "read the environment"
            except REFUSALS as error:
                if SECRET in str(error):
                    return "read the environment"
                refusals += 1
    except Exception as error:
        return f"crashed: {type(error).__name__}: {str(error)[:100]}"
    finally:
        os.chdir(here)
    if _files(place) != before:
        return "wrote a file"
    if time.monotonic() - begun > LIMIT:
        return "hung"
    return "refused" if refusals else "built"


def _files(place: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in place.rglob("*") if path.is_file()}


class _Listener(BaseHTTPRequestHandler):
    requests = 0

    def do_GET(self) -> None:
        """Count a request."""
        _Listener.requests += 1
        self.send_response(404)
        self.end_headers()


def main() -> int:
    """Print what the configs did; 1 where one did harm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300)
    given = parser.parse_args()
    os.environ["UNMASK_SECRET"] = SECRET
    server = HTTPServer(("127.0.0.1", 0), _Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    import tempfile

    results: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        for number in range(given.count):
            result = attempt(hostile(given.seed, number, server.server_port), Path(place))
            results[result] += 1
            if result not in ("refused", "built"):
                print(f"config {number}: {result}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"seed {given.seed}: {dict(results)}, requests {_Listener.requests}, peak memory {memory:.2f} GB")
    return int(
        set(results) > {"refused", "built"} or bool(set(results) - {"refused", "built"}) or _Listener.requests > 0
    )


if __name__ == "__main__":
    raise SystemExit(main())
