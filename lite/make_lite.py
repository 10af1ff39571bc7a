"""Put together a page that scores pictures in the browser, without a server that sees them: `make lite RUN=DIR`.

The page, an exported detector of single pictures and onnxruntime-web are put into one folder of static files. The
runtime comes from npm, with a fixed version and hash; it is downloaded once. To try the page:

  make lite RUN=outputs/demo_celebdf/meso4/0123456789
  python -m http.server --directory outputs/lite 8080        # then open http://127.0.0.1:8080
"""

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
PAGE = ("index.html", "lite.css", "lite.js")
OUT, KEPT = Path("outputs/lite"), Path("outputs/onnxruntime-web")


def fetch_runtime(kept: Path) -> Path:
    """Return the folder of the runtime's files; npm downloads them unless they are there.

    Raises:
        SystemExit: npm is missing or failed, or the package is not the expected one.
    """
    folder = kept / VERSION
    if all((folder / name).is_file() for name in RUNTIME):
        return folder
    if shutil.which("npm") is None:
        raise SystemExit(f"npm is missing: install Node.js, which downloads {PACKAGE} {VERSION}")
    with TemporaryDirectory() as place:
        command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", place]
        done = subprocess.run(command, capture_output=True, text=True, cwd=place)
        found = list(Path(place).glob("*.tgz"))
        if done.returncode or len(found) != 1:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise SystemExit(f"npm cannot download {PACKAGE} {VERSION}: {said}")
        digest = base64.b64encode(hashlib.sha512(found[0].read_bytes()).digest()).decode()
        if digest != SHA512:
            raise SystemExit(f"{PACKAGE} {VERSION} has the SHA-512 {digest}, expected {SHA512}; it was not unpacked")
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(found[0]) as archive:
            for name in RUNTIME:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None
                (folder / name).write_bytes(member.read())
    return folder


def facts_of(model: Path) -> dict[str, object]:
    """Return what the page says about an exported model, from the model's metadata.

    Raises:
        SystemExit: the model takes clips, which this page cannot score.
    """
    import onnx

    record: Mapping[str, str] = {one.key: one.value for one in onnx.load(model).metadata_props}
    if record["level"] != "image":
        raise SystemExit(f"{model} scores clips of {record['frames']} frames; expected a detector of single pictures")
    config, recipe = json.loads(record["config"]), json.loads(record["recipe"])
    return {
        "name": str(config["name"]).split("/")[-1],
        "training_data": record["training_data"],
        "licence": record["licence"],
        "demo": config["data"]["demo"],
        "faces": recipe["_target_"].endswith("FaceCrops"),
        "side": json.loads(record["input"])["side"],
        "threshold": json.loads(record["threshold"])["video"],
        "unmask": record["unmask"],
        "weights": record["weights"],
    }


def build(model: Path, runtime: Path, out: Path) -> Path:
    """Write the folder of static files for an exported model, and return it."""
    (out / "ort").mkdir(parents=True, exist_ok=True)
    for name in PAGE:
        shutil.copyfile(HERE / name, out / name)
    for name in RUNTIME:
        shutil.copyfile(runtime / name, out / "ort" / name)
    shutil.copyfile(model, out / "model.onnx")
    (out / "model.json").write_text(json.dumps(facts_of(model), indent=2) + "\n", encoding="utf-8")
    return out


def main() -> None:
    """Fetch the runtime, export the detector, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="run folder of a small detector of single pictures, such as Meso4")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--licence", help="licence of the weights, such as mit, which the page shows")
    parser.add_argument("--only-runtime", action="store_true", help="only download the runtime")
    given = parser.parse_args()
    runtime = fetch_runtime(KEPT)
    if given.only_runtime:
        print(f"runtime: {runtime}")
        return
    if not given.run:
        raise SystemExit("run missing: make lite RUN=DIR, with the run folder of a detector of single pictures")
    with (
        TemporaryDirectory() as place
    ):  # the networks that find faces are also exported, and the page does not use them
        model = Path(place) / "model.onnx"
        command = [sys.executable, "-m", "unmask", "export", f"run={given.run}", "format=onnx", f"out={model}"]
        command += [f"licence={given.licence}"] if given.licence else []
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            raise SystemExit(1)
        build(model, runtime, given.out)
    print(f"page: {given.out}; to try it: python -m http.server --directory {given.out} 8080")


if __name__ == "__main__":
    main()
