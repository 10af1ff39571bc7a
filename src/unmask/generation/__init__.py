"""Make forgeries as marked data sets: samples of a generator, swapped faces, inpaintings."""
