"""unmask: make and catch deepfakes. PyTorch Lightning trains, Hydra composes."""
