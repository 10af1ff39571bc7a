"""Make data sets of marked forgeries: generated images, swapped faces and inpaintings."""
