"""`unmask train` with batch norm always in eval mode, so that each sample is processed alone, whatever its batch."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from unmask.commands import train

make = _BatchNorm.__init__


def make_frozen(self: _BatchNorm, *args: object, **options: object) -> None:
    make(self, *args, **options)
    self.eval()


_BatchNorm.__init__ = make_frozen
_BatchNorm.train = lambda self, mode=True: nn.Module.train(self, False)

if __name__ == "__main__":
    train.main()
