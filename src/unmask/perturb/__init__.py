"""Perturbations of pictures and videos, such as compression and noise; they do not depend on a data set."""
