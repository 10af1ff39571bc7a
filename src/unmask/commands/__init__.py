"""The verbs: each verb is a small Hydra application that builds objects from the config and calls the library."""

import os

from unmask.parallel.processes import PARENT, follow

if PARENT in os.environ:  # another verb started this process: exit when it exits, even during the import of PyTorch
    follow(int(os.environ[PARENT]))
