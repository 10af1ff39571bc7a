"""LightningDataModules of single data sets, for use without Hydra.

These classes are not defined in the files of the data sets, because `unmask prepare` imports those files, and importing
Lightning takes seconds.
"""

from unmask.data.datamodule import data_module
from unmask.datasets.celeba import CelebA
from unmask.datasets.celebdf import CelebDF
from unmask.datasets.deepfakeart import DeepfakeArt

CelebADataModule = data_module(CelebA)
CelebDFDataModule = data_module(CelebDF)
DeepfakeArtDataModule = data_module(DeepfakeArt)
