"""Perturbations of pictures, videos and sound, such as compression and noise; they do not depend on a data set."""
