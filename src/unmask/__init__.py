"""unmask: make and detect deepfakes with PyTorch Lightning and Hydra."""
