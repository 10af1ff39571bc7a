"""Make data sets of marked forgeries: samples of a generator, swapped faces, inpaintings."""
