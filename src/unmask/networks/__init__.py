"""Neural networks (`nn.Module`), one architecture per file. They import nothing from unmask outside this folder."""
