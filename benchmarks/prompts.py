"""Do samples show what their prompts ask for? A classifier that was trained on real pictures reads the attributes.

  python benchmarks/prompts.py RUN --samples 200 --guidance 1 3

RUN is a text-to-image run on data with CelebA's attributes. The classifier is trained on the run's training split, with
blur and noise, because samples are less sharp than pictures. Its balanced accuracy on the real test split says how much
its readings can be trusted, and that on the same pictures, encoded and decoded, what the autoencoder loses. Prompts
have the wordings of evaluation, which do not occur in training.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from unmask.data.captions import COLOURS, FaceCaptions, as_bytes
from unmask.data.datamodule import DataModule
from unmask.data.manifest import ATTRIBUTE
from unmask.evaluation.loading import data_of
from unmask.modules.latents import seed_of
from unmask.runs.run import Run

READ = ("Smiling", "Eyeglasses", *COLOURS)
BATCH = 50


def loaded(data: DataModule, split: str) -> tuple[Tensor, Tensor]:
    """The pictures of a split [N, 3, S, S] in [0, 1], and their attributes [N, A]."""
    samples, items = data.samples[split], data.items.set_index("item")
    rows = [samples.__getitems__([(0, row)])["x"] for row in range(len(samples))]
    x = data.on_after_batch_transfer({"x": torch.cat(rows)}, 0)["x"]
    values = items.loc[samples.table["item"], [ATTRIBUTE + name for name in READ]]
    return x, torch.from_numpy(values.to_numpy(np.float32, copy=True))


def classifier(x: Tensor, y: Tensor, epochs: int) -> nn.Module:
    """A small CNN, trained with mirrored, shifted, blurred and noisy pictures."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inside, outside in ((3, 16), (16, 32), (32, 64), (64, 96)):
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(384, y.shape[1]))
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    rare = (1 - y.mean(0)) / y.mean(0).clamp(min=0.02)
    steps = epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            shift = [int(v) for v in torch.randint(-3, 4, (2,))]
            seen = torch.roll(x[rows], shift, (2, 3))
            seen = seen.flip(3) if torch.rand(()) < 0.5 else seen
            if torch.rand(()) < 0.5:
                seen = gaussian_blur(seen, [7, 7], [float(torch.empty(()).uniform_(0.2, 0.8))])
            seen = seen + 0.03 * float(torch.rand(())) * torch.randn_like(seen)
            loss = nn.functional.binary_cross_entropy_with_logits(network(seen), y[rows], pos_weight=rare)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def read(network: nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    """The attributes that the classifier sees; the hair colour is the most probable of the four."""
    logit = torch.cat([network(part) for part in x.split(BATCH)])
    hair = logit[:, 2:].argmax(1).numpy()
    return {"Smiling": (logit[:, 0] > 0).numpy(), "Eyeglasses": (logit[:, 1] > 0).numpy(), "hair": hair}


def balanced(seen: dict[str, np.ndarray], y: Tensor) -> str:
    """Balanced accuracies as text; hair only of pictures that have one of the four colours."""
    found = {name: balanced_accuracy_score(y[:, at].numpy() > 0.5, seen[name]) for at, name in enumerate(READ[:2])}
    haired = (y[:, 2:].sum(1) > 0).numpy()
    found["hair"] = balanced_accuracy_score(y[:, 2:].argmax(1).numpy()[haired], seen["hair"][haired])
    return "  ".join(f"{name} {value:.3f}" for name, value in found.items())


def asked(samples: int, sex: bool) -> tuple[list[str], Tensor]:
    """Prompts for random attributes, and these attributes [N, A]."""
    rng, texts, rows = np.random.default_rng(0), [], []
    for number in range(samples):
        present = {name for name in ("Smiling", "Eyeglasses") if rng.random() < 0.5} | {str(rng.choice([*COLOURS]))}
        names = [name.removeprefix(ATTRIBUTE) for name in FaceCaptions(sex).columns()]
        row = {"path": str(number)} | {ATTRIBUTE + name: int(name in present) for name in names if name != "path"}
        texts.append(FaceCaptions(sex)(row, None))
        rows.append([float(name in present) for name in READ])
    return texts, torch.tensor(rows)


def main() -> None:
    """Train the classifier, sample with each guidance, and print balanced accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=30, help="of the classifier")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 3.0])
    given = parser.parse_args()
    run = Run(given.run)
    data = data_of(run)
    data.setup("test")
    network = classifier(*loaded(data, "train"), given.epochs)
    x, y = loaded(data, "test")
    print(f"real test pictures ({len(x)}): {balanced(read(network, x), y)}", flush=True)
    module = run.module()
    with torch.no_grad():
        decoded = torch.cat([module.codec.decode(module.codec.encode(2 * part - 1)) for part in x.split(BATCH)])
    print(f"the same, encoded and decoded: {balanced(read(network, (decoded + 1).clamp(0, 2) / 2), y)}", flush=True)
    texts, wanted = asked(given.samples, bool(run.config["data"]["loader"]["captions"].get("sex", True)))
    prompts = torch.from_numpy(as_bytes(texts))
    for guidance in given.guidance:
        module.guidance = guidance
        made = [
            module.sample(len(part), [seed_of(0, int(number)) for number in part], prompts[part])
            for part in torch.arange(len(texts)).split(BATCH)
        ]
        figures = balanced(read(network, torch.cat(made)), wanted)
        print(f"samples, guidance {guidance:g} ({len(texts)}): {figures}", flush=True)


if __name__ == "__main__":
    main()
