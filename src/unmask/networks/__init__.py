"""Networks: plain `nn.Module`s, one architecture a file; they import nothing of unmask outside this folder."""
