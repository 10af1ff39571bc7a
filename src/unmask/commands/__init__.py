"""The verbs. Most are small Hydra applications that build objects from the config and call the library."""

import os

from unmask.parallel.processes import PARENT, follow

if PARENT in os.environ:  # another verb started this process: exit when it exits, even during the import of PyTorch
    follow(int(os.environ[PARENT]))
