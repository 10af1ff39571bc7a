"""Make forgeries: samples of a generator, swapped faces, inpaintings; each as a marked data set."""
