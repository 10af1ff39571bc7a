"""Compare unmask end to end with a simple training script: 40 videos, 50 epochs of a frozen CNN and an LSTM.

The script reads every frame of every video with OpenCV in every epoch, resizes 20 frames to 160x160 and runs a frozen
InceptionResnetV1 (correctly in eval mode) in the training loop, batch size 8. unmask uses the same frames, network,
batch size and epochs through `unmask prepare` and `unmask train`, including the start of both processes. What the
script does not do is switched off: heat maps, the robustness suite and the measurement of latency.

The lower bound of any program with the same result is measured too ("once"): the script's code decodes and encodes each
video once.

The script's epochs all take the same time, so one is timed per pair and extrapolated; unmask runs all epochs. With
`--augmented`, unmask cannot cache features, so its epochs run the encoder too and are also extrapolated.

make bench ONLY=plain_script   (ARGS=--augmented: no cached features; ARGS="--clips 160": more videos, so that decoding
                               and encoding them once is most of the work)
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from _bench import OUT, Seconds, arguments, compare, report
from torch import nn

from unmask.media.encode import write_video
from unmask.networks.cnn_lstm import CnnLstm
from unmask.networks.encoders import FacenetEncoder

FRAMES, HEIGHT, WIDTH, GOP = 353, 500, 942, 250
T, SIZE, BATCH, EPOCHS = 20, 160, 8, 50
ROOT = OUT / "celebdf_shaped"
# Both sides use PyTorch's default number of threads.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}


def render(root: Path, clips: int) -> None:
    """Render videos in Celeb-DF's layout, size and length: half real, half fake; 8 of 40 are on the test list."""
    half, people = clips // 2, 2 * clips // 5
    names = [f"Celeb-real/id{n}_0000.mp4" for n in range(people)]
    names += [f"YouTube-real/{n:05d}.mp4" for n in range(half - people)]
    names += [f"Celeb-synthesis/id{n % people}_id{(n + 1) % people}_{n // people:04d}.mp4" for n in range(half)]
    for number, name in enumerate(names):
        if not (root / name).is_file():
            write_video(root / name, scene(number), 30, crf=19, gop=GOP)
    tenth = clips // 10
    tests = [names[at] for at in (*range(people - 3, people - 3 + tenth), *range(clips - tenth, clips))]
    lines = [f"{int('synthesis' not in name)} {name}" for name in tests]
    (root / "List_of_testing_videos.txt").write_text("\n".join(lines) + "\n")


def scene(seed: int):
    """Yield frames of a moving ellipse and wall, which H.264 compresses like a person in front of a background."""
    rng = np.random.default_rng(seed)
    wall = rng.normal(128, 90, (HEIGHT // 20 + 8, WIDTH // 20 + 8, 3)).clip(0, 255).astype(np.uint8)
    wall = cv2.resize(wall, (WIDTH + 160, HEIGHT + 160), interpolation=cv2.INTER_CUBIC)
    wall = (wall + rng.normal(0, 6, wall.shape)).clip(0, 255).astype(np.uint8)
    for at in range(FRAMES):
        x, y = round(70 + 60 * np.sin(at / 40)), round(70 + 60 * np.cos(at / 55))
        frame = wall[y : y + HEIGHT, x : x + WIDTH].copy()
        centre = (round(WIDTH / 2 + 200 * np.sin(at / 30)), round(HEIGHT / 2 + 90 * np.cos(at / 25)))
        cv2.ellipse(frame, centre, (80, 110), 10 * np.sin(at / 9), 0, 360, (210, 170, 150), -1)
        yield frame


def split(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the videos that are not on the test list, and those that are."""
    tests = {line.split()[1] for line in (root / "List_of_testing_videos.txt").read_text().splitlines()}
    every = sorted(root.glob("*/*.mp4"))
    listed = [path for path in every if str(path.relative_to(root)) in tests]
    return [path for path in every if path not in listed], listed


def read(path: Path) -> torch.Tensor:
    """Read all frames, keep 20 and resize them, as the script does -> uint8 [20, 3, 160, 160]."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        good, frame = capture.read()
        if not good:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    wanted = np.linspace(0, len(frames) - 1, T).round().astype(int)
    kept = [cv2.resize(frames[at], (SIZE, SIZE)) for at in wanted]
    return torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2)


def classify(network: CnnLstm, x: torch.Tensor) -> torch.Tensor:
    """Run the network on all frames of a batch at once; `CnnLstm` splits them on a CPU, unlike a simple script."""
    return network.head(network.encoder(x.flatten(0, 1)).view(*x.shape[:2], -1))


class Script:
    """The simple script: it trains on all videos that are not on the test list, in a fixed order."""

    def __init__(self, videos: list[Path]) -> None:
        self.videos = videos
        self.network = CnnLstm(FacenetEncoder, frames=T, frozen=True)
        self.optimizer = torch.optim.Adam([p for p in self.network.parameters() if p.requires_grad])

    def epoch(self) -> None:
        """Train for one epoch."""
        self.network.train()
        for start in range(0, len(self.videos), BATCH):
            batch = self.videos[start : start + BATCH]
            x = torch.stack([read(path) for path in batch]).float() / 255
            y = torch.tensor([float("synthesis" in str(path)) for path in batch])
            loss = nn.functional.binary_cross_entropy_with_logits(classify(self.network, x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    @torch.no_grad()
    def test(self, videos: list[Path]) -> None:
        """Classify the test videos once."""
        self.network.eval()
        for path in videos:
            classify(self.network, read(path)[None].float() / 255)


@torch.no_grad()
def once(network: CnnLstm, videos: list[Path]) -> None:
    """Only decode and encode every video once."""
    network.eval()
    for path in videos:
        network.encoder(read(path).float() / 255)


def unmask(place: Path, root: Path, epochs: int, augment: str = "none") -> tuple[float, float]:
    """Run prepare and train as two commands in an empty folder; return the seconds of each."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shared = [
        "experiment=celebdf/cnn_lstm", f"data.root={root.resolve()}", "data/recipe=pictures",
        f"data.recipe.crop_size={SIZE}", f"data.recipe.frames={T}", "module.network.encoder.pretrained=null",
        f"trainer.max_epochs={epochs}", f"data.batch_size={BATCH}", "~callbacks.early_stopping", "explain=0",
        f"augment@data.augment={augment}", "trainer.accelerator=cpu", "handling=false",
        "latency=false",
    ]  # fmt: skip
    seconds = []
    for verb in ("prepare", "train"):
        start = time.perf_counter()
        command = [str(Path(sys.executable).with_name("unmask")), verb, *shared]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, env=ENVIRONMENT)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]


def main() -> None:
    options = arguments(__doc__, 5, "augmented", clips=40)
    root = ROOT.with_name(f"{ROOT.name}_{options.clips}")
    render(root, options.clips)
    videos, tests = split(root)
    torch.set_num_threads(os.cpu_count() or 1)
    script, place = Script(videos), OUT / "plain_script_run"
    seconds: Seconds = {"script": [], "unmask": [], "prepare": [], "train": [], "once": []}
    augment = "light" if options.augmented else "none"
    for turn in range(options.repeats):
        start = time.perf_counter()
        script.epoch()
        epoch = time.perf_counter() - start
        start = time.perf_counter()
        script.test(tests)
        seconds["script"].append(EPOCHS * epoch + time.perf_counter() - start)
        start = time.perf_counter()
        once(script.network, videos + tests)
        seconds["once"].append(time.perf_counter() - start)
        prepare, train = unmask(place, root, 2 if options.augmented else EPOCHS, augment)
        if options.augmented:  # an epoch takes the time of two epochs minus that of one
            train += (EPOCHS - 2) * (train - unmask(place, root, 1, augment)[1])
        for name, value in (("unmask", prepare + train), ("prepare", prepare), ("train", train)):
            seconds[name].append(value)
        print(
            f"  pair {turn + 1}: script {seconds['script'][-1]:.0f} s, unmask {prepare:.0f} + {train:.0f} s", flush=True
        )
    name = "plain_script_augmented" if options.augmented else "plain_script"
    bound = 6.0 if options.augmented else 32.0
    extra = {"extrapolated": f"the script: one epoch of {EPOCHS} timed in each pair", "seconds": seconds}
    compared = {
        "script / unmask": compare(seconds, "script", "unmask", at_least=bound),
        "script / once": compare(seconds, "script", "once"),
        "unmask / once": compare(seconds, "unmask", "once", **({"at_most": 1.3} if options.clips >= 160 else {})),
    }
    report(name, compared, packages=("opencv-python-headless", "pytorch-lightning"), extra=extra)
    shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
