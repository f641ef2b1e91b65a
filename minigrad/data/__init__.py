"""Data sets, batches and augmentation."""

from ..messages import missing
from . import augment
from .cifar import cifar10
from .digits import digits
from .loader import DataLoader
from .mnist import fashion_mnist, mnist, read_idx

__all__ = ["DataLoader", "augment", "cifar10", "digits", "fashion_mnist", "mnist", "read_idx"]
__getattr__ = missing(__name__)
