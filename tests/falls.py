"""What each verb leaves when it falls: killed, interrupted, out of disk, or with one byte of its files changed.

  python tests/falls.py                           every verb, harm and moment (an hour on two cores)
  python tests/falls.py --verbs train --seed 2    one verb; other moments, files and bytes

Each case starts a verb in a fresh folder, does harm at one of five moments between its first file and its end, then
gives the same command again. Shown are the exit code and last line of both, and whether what the second call left is,
byte for byte, what an undisturbed call leaves. A disk is filled in a small tmpfs, which needs the right to mount; where
that is refused, these cases are reported as not run.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

import unmask.commands.prepare
import unmask.commands.sample
import unmask.commands.train  # noqa: F401
from unmask import cli

MOMENTS = 5
LIMIT = 300.0  # s
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
HARMS = (*SIGNALS, "full disk", "flipped byte")
DETECTOR = [
    "data=folder", "data.root=raw", "data/recipe=pictures", "data.recipe.crop_size=32", "image_size=32",
    "module/network=meso4", "trainer=cpu", "explain=0", "augment@data.augment=none", "data.sampling.frames_per_video=1",
]  # fmt: skip
GENERATOR = [
    "experiment=celeba/vae", "data=faces", "data.root=raw", "data/recipe=pictures", "data.recipe.crop_size=32",
    "image_size=32", "trainer=cpu", "module.encoder.filters=4", "module.decoder.filters=4", "trainer.max_epochs=1",
    "data.split.protocol=random_groups", "name=vae", "report=false",
]  # fmt: skip
COMMANDS = {
    "prepare": ["prepare", *DETECTOR[:4], "prepare.num_workers=1"],
    "train": ["train", *DETECTOR, "name=detector", "trainer.max_epochs=12", "callbacks.early_stopping=null"],
    "sample": ["sample", "run=RUN", "count=400", "trainer=cpu"],
    "sweep": ["train", "-m", *DETECTOR, "name=sweep", "trainer.max_epochs=3", "seed=0,1"],
}


def paint(root: Path, count: int = 60) -> None:
    """Noise, brighter where it is called fake."""
    for label in ("real", "fake"):
        (root / label).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng([number, label == "fake"])
            pixels = rng.integers(0, 156, (96, 96, 3)) + 100 * (label == "fake")
            Image.fromarray(pixels.astype(np.uint8)).save(root / label / f"{number}.png")


def start(command: list[str], place: Path) -> int:
    """Fork a process that runs a verb in `place`; its output goes to a file on another disk, as to a terminal."""
    process = os.fork()
    if process:
        return process
    code: object = 1
    try:
        code = run(command, place)
    finally:  # whatever happens, the child runs no line of its parent's
        os._exit(code if isinstance(code, int) else 1)


def run(command: list[str], place: Path) -> object:
    """Run a verb in this process, in `place`; its exit code."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):  # as from a terminal: a shell's background job ignores Ctrl-C
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.chdir(place)
    said = os.open(output_of(place), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    sys.argv = ["unmask", *command]
    code: object = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = stop.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:  # as the interpreter would: a traceback
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def output_of(place: Path) -> Path:
    """Where the output of verbs in a folder is written."""
    return place.parents[1] / "said.txt"


def finish(process: int) -> int:
    """The exit code of a started verb, as a shell shows it."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return 999


def state(place: Path) -> dict[str, str]:
    """What a verb left, by content: tables and pixels of stores, weights, predictions, pictures."""
    found: dict[str, str] = {}
    for path in sorted(place.glob("outputs/**/*")):
        name = path.relative_to(place).as_posix()
        if path.suffix in (".npy", ".png") and path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".parquet" or path.name == "best.ckpt":
            found[name] = content(path)
    return found


def content(path: Path) -> str:
    """The hash of what a table or a checkpoint holds, whose bytes differ from run to run; "damaged" where it is."""
    try:
        if path.suffix == ".parquet":
            return hashlib.sha256(pd.read_parquet(path).to_csv().encode()).hexdigest()
        weights = torch.load(path, weights_only=True)["state_dict"]
        return hashlib.sha256(b"".join(value.numpy().tobytes() for value in weights.values())).hexdigest()
    except Exception:  # whatever a changed byte makes a parser raise
        return "damaged"


def last_line(place: Path) -> str:
    """The last line that a verb printed, and whether it printed a traceback."""
    lines = [line for line in output_of(place).read_text(errors="replace").splitlines() if line.strip()]
    trace = "TRACEBACK " if any(line.startswith("Traceback") for line in lines) else ""
    return trace + (lines[-1].strip() if lines else "")


def left_running(place: Path) -> int:
    """Processes that still work in a folder."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            count += Path(os.readlink(process / "cwd")).is_relative_to(place) and process.name != str(os.getpid())
        except OSError:
            continue
    return count


def wait_until(place: Path, begun: set[str], process: int, seconds: float) -> None:
    """Wait for a verb's first file, then so many seconds, or for its end."""
    end = None
    while end is None or time.monotonic() < end:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        if end is None and {str(path) for path in place.glob("outputs/**/*") if path.is_file()} - begun:
            end = time.monotonic() + seconds
        time.sleep(0.005)


def fill(place: Path) -> Path:
    """Take all space that is left on the disk of `place`."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return ballast


def flip(place: Path, draw: random.Random) -> str:
    """Change one bit of one file that a verb has written; its name."""
    files = [path for path in sorted(place.glob("outputs/**/*")) if path.is_file() and path.stat().st_size]
    files = [path for path in files if ".hydra" not in path.parts and path.suffix not in (".log", ".lock", ".tmp")]
    if not files:
        return "nothing yet"
    path = draw.choice(files)
    raw = bytearray(path.read_bytes())
    at = draw.randrange(len(raw))
    raw[at] ^= 1 << draw.randrange(8)
    path.write_bytes(raw)
    return path.relative_to(place).as_posix()


def in_place(template: Path, folder: Path, disk: bool) -> tuple[Path, Callable[[], None]] | None:
    """A copy of the template, on a small disk of its own where that is wanted; None where none can be mounted."""
    folder.mkdir()
    if disk:
        size = sum(path.stat().st_size for path in template.rglob("*") if path.is_file()) + 40_000_000
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
            return None
    shutil.copytree(template, folder / "x", symlinks=True)

    def remove() -> None:
        if disk:
            subprocess.run(["umount", "-l", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)

    return folder / "x", remove


def case(verb: str, harm: str, share: float, template: Path, whole: tuple[dict[str, str], float], draw) -> list[str]:
    """One row of the table."""
    made = in_place(template, template.parent / "case", harm == "full disk")
    row = [verb, harm, f"{share:.0%}"]
    if made is None:
        return [*row, "not run: no tmpfs can be mounted", "", "", ""]
    place, remove = made
    try:
        (place / "mine.txt").write_text("mine")
        command, ballast, flipped = command_of(verb, place), None, ""
        begun = {str(path) for path in place.glob("outputs/**/*") if path.is_file()}
        process = start(command, place)
        wait_until(place, begun, process, share * whole[1])
        if harm in SIGNALS:
            os.kill(process, SIGNALS[harm])
        elif harm == "full disk":
            ballast = fill(place)
        else:
            os.killpg(process, signal.SIGKILL)
        code = finish(process)
        said = last_line(place)
        end_of_wait = time.monotonic() + 20  # a worker that was just being started notices when it is
        while (running := left_running(place)) and time.monotonic() < end_of_wait:
            time.sleep(0.2)
        if ballast is not None:
            ballast.unlink()
        if harm == "flipped byte":
            flipped = flip(place, draw)
            said = f"flipped: {flipped}"
        again = finish(start(command, place))
        found = state(place)
        same = [name for name in whole[0] if found.get(name) != whole[0][name]]
        end = "the same" if not same else f"OTHER: {same[0]}" if again == 0 else "refused"
        mine = "" if (place / "mine.txt").read_text() == "mine" else " MINE IS GONE"
        left = f" {running} RUNNING" if running else ""
        return [
            *row,
            f"{code}{left}{mine}",
            said[:90],
            str(again),
            f"{end} ({last_line(place)[:90]})" if again else end,
        ]
    finally:
        remove()


def command_of(verb: str, place: Path) -> list[str]:
    """A verb's arguments in a folder."""
    run = next(iter(place.glob("outputs/vae/*")), Path("none")).relative_to(place) if verb == "sample" else None
    return [f"run={run}" if part == "run=RUN" else part for part in COMMANDS[verb]]


def main() -> int:
    """Print the table; 1 where a result differs from an undisturbed one, or something is left running or deleted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbs", default=",".join(COMMANDS))
    parser.add_argument("--harms", default=",".join(HARMS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    draw, bad, cases = random.Random(given.seed), 0, 0
    print("| verb | harm | moment | exit | last line | again | left |\n|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "template", "nothing")
        paint(raw / "raw")
        for verb in given.verbs.split(","):
            template = Path(folder, "template", verb)
            shutil.copytree(raw, template)
            before = {"prepare": [], "sample": [["prepare", *GENERATOR[1:5]], ["train", *GENERATOR]]}
            for command in before.get(verb, [COMMANDS["prepare"]]):
                if code := finish(start(command, template)):
                    raise SystemExit(f"{command[0]} failed ({code}): {output_of(template).read_text()[-2000:]}")
            whole = undisturbed(verb, template, Path(folder, "whole", "x"))
            for harm in given.harms.split(","):
                for number in range(MOMENTS):
                    share = (number + draw.random()) / MOMENTS
                    row = case(verb, harm, share, template, whole, draw)
                    text = " | ".join(part.replace("|", "/") for part in row)
                    print(f"| {text} |", flush=True)
                    cases += 1
                    bad += any(word in text for word in ("OTHER", "RUNNING", "GONE", "TRACEBACK", "999"))
    print(f"\n{cases} cases, {bad} bad, seed {given.seed}")
    return int(bad > 0)


def undisturbed(verb: str, template: Path, folder: Path) -> tuple[dict[str, str], float]:
    """What an undisturbed call leaves, and the seconds between its first file and its end."""
    shutil.copytree(template, folder / "x", symlinks=True)
    place = folder / "x"
    begun = {str(path) for path in place.glob("outputs/**/*") if path.is_file()}
    process = start(command_of(verb, place), place)
    wait_until(place, begun, process, 0)
    at = time.monotonic()
    if code := finish(process):
        raise SystemExit(f"{verb} failed ({code}): {output_of(place).read_text()[-2000:]}")
    took, left = time.monotonic() - at, state(place)
    shutil.rmtree(folder)
    return left, took


if __name__ == "__main__":
    raise SystemExit(main())
