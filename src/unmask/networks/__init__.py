"""Networks: plain `nn.Module`s, one architecture per file. They import nothing from unmask outside this folder."""
