"""Data sets and batches."""

from .digits import digits
from .idx import read_idx
from .loader import DataLoader
from .mnist import fashion_mnist, mnist

__all__ = ["DataLoader", "digits", "fashion_mnist", "mnist", "read_idx"]
