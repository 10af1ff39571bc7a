"""Networks: `nn.Module`s, one architecture per file. These files import nothing from unmask outside this folder."""
