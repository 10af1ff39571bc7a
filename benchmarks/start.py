"""Measure the CPU seconds of short commands, relative to importing PyTorch or Lightning in the same round.

`predict` scores and draws one rendered portrait with a small detector, with the recipes for faces and for whole
pictures; `train check=true` validates a config. `list`, `--help` and `--cfg job` do not import PyTorch.

make bench ONLY=start
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import yaml
from _bench import OUT, Seconds, arguments, compare, report

from unmask.demo.portraits import render_portraits

PLACE = OUT / "start"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
TRAIN = [
    "data=folder", "data.root=raw", "data/recipe=pictures", "data.recipe.crop_size=64", "image_size=64",
    "module/network=meso4", "trainer=cpu", "trainer.max_epochs=1", "explain=0", "report=false", "name=start",
    "data.split.allow_duplicates=true", "data.sampling.frames_per_video=1",
]  # fmt: skip
HEAVY = {
    "torch", "torchvision", "pytorch_lightning", "torchmetrics", "transformers", "diffusers", "hydra", "matplotlib",
}  # fmt: skip
FACES = {"_target_": "unmask.media.recipe.FaceCrops", "frames": 1, "crop_size": 64, "long_side": 480}


def run(*command: str) -> float:
    """Run a command; return the CPU seconds of its process and child processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=PLACE, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 10, 20):  # the answers of `predict` for a file that was scored
        raise SystemExit(f"{' '.join(command)}: {done.stdout[-500:]}{done.stderr[-1500:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def unmask(*words: str) -> float:
    """Run the console command; return its CPU seconds."""
    return run(str(Path(sys.executable).with_name("unmask")), *words)


def build() -> tuple[str, str]:
    """Create two finished runs that differ only in their recipe: whole pictures and faces."""
    (PLACE / "raw/real").mkdir(parents=True, exist_ok=True)
    (PLACE / "raw/fake").mkdir(exist_ok=True)
    if not list(PLACE.glob("portraits/img_align_celeba/*.jpg")):
        render_portraits(PLACE / "portraits", portraits=50, seed=0, workers=1)
    for number, file in enumerate(sorted(PLACE.glob("portraits/img_align_celeba/*.jpg"))):
        place = PLACE / "raw" / ("fake" if number % 2 else "real") / file.name
        if not place.exists():
            place.write_bytes(file.read_bytes())
    whole, faces = PLACE / "whole", PLACE / "faces"
    for folder in (whole, faces):
        if not (folder / "metrics.json").is_file():
            unmask("prepare", *TRAIN[:4], "prepare.num_workers=0")
            unmask("train", *TRAIN, f"hydra.run.dir={folder.name}")
    path = faces / ".hydra/config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"]["recipe"] = FACES
    path.write_text(yaml.safe_dump(config))
    return whole.name, faces.name


def imports(*words: str) -> set[str]:
    """Return the slow packages that a call of the console command imports."""
    lines = [
        f"import sys; sys.argv = {['unmask', *words]!r}",
        "from unmask.cli import main",
        "try: main()",
        "except SystemExit: pass",
        "print('IMPORTED', *{name.partition('.')[0] for name in sys.modules})",
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=PLACE, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return HEAVY & set(done.stdout.rpartition("IMPORTED")[2].split())


def main() -> None:
    options = arguments(__doc__, 5)
    whole, faces = build()
    picture = str(next((PLACE / "raw/real").glob("*.jpg")).relative_to(PLACE))
    works = {
        "import torch": lambda: run(sys.executable, "-c", "import torch"),
        "predict, whole picture": lambda: unmask("predict", picture, f"run={whole}", "out=a.png"),
        "predict, face": lambda: unmask("predict", picture, f"run={faces}", "out=b.png"),
        "predict, face, without trials and heat maps": lambda: unmask(
            "predict", picture, f"run={faces}", "out=c.png", "trials=false", "explain=false"
        ),
        "import pytorch_lightning": lambda: run(sys.executable, "-c", "import pytorch_lightning"),
        "train check=true": lambda: unmask("train", *TRAIN, "check=true", "hydra.run.dir=checked"),
    }
    seconds: Seconds = {name: [] for name in works}
    for work in works.values():
        work()  # fills the disk cache
    for turn in range(options.repeats):
        for name in list(works)[:: -1 if turn % 2 else 1]:
            seconds[name].append(works[name]())
    compared = {
        "predict, whole picture": compare(seconds, "predict, whole picture", "import torch", at_most=1.6),
        "predict, face": compare(seconds, "predict, face", "import torch", at_most=2.6),
        "predict, face, without trials and heat maps": compare(
            seconds, "predict, face, without trials and heat maps", "import torch", at_most=2.6
        ),
        "train check=true": compare(seconds, "train check=true", "import pytorch_lightning", at_most=1.15),
    }
    ask = ["predict", picture, f"run={whole}", "out=a.png"]
    for words in (["list", "networks"], ["--help"], ["train", "--cfg", "job"], ask):
        print(f"  unmask {' '.join(words)} imports {', '.join(sorted(imports(*words))) or 'none of them'}")
    report("start", compared, main="predict, face", packages=("pytorch-lightning",), extra={"seconds": seconds})


if __name__ == "__main__":
    main()
