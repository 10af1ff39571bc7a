"""Train and test a detector on rendered people, as a plain script: no Hydra, no config, no console command."""

from functools import partial
from pathlib import Path

from pytorch_lightning import Trainer, seed_everything
from torch.optim import Adam

from unmask.data.loader import Loader
from unmask.data.prepare import prepare
from unmask.datasets.datamodules import CelebDFDataModule
from unmask.demo.videos import render
from unmask.media.recipe import FaceCrops
from unmask.modules.detector import Detector
from unmask.networks.meso import Meso4
from unmask.training.losses import BCE
from unmask.training.schedules import constant

seed_everything(0)
place = Path("outputs/train_in_python")
render(place / "raw", people=12, test_people=6, frames=8, difficulty=0, workers=1)
recipe, loader = FaceCrops(frames=4, search_every=3, crop_size=128), Loader(image_size=128, batch_size=16)
data = CelebDFDataModule("people", place / "raw", recipe, loader=loader, prepared=place / "prepared")
for crops, split in data.members:
    prepare(crops.manifest(split), crops.source.root, crops.folder, crops.recipe, num_workers=0)
detector = Detector(Meso4(image_size=128, dropout=0.1, norm_momentum=0.1), BCE(), partial(Adam, lr=3e-3), constant)
trainer = Trainer(max_epochs=10, accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.fit(detector, data)
trainer.test(detector, data)
print(f"AUC over test videos: {detector.results.figures['video_auroc']:.3f}")
