"""Damages the byte after an array's memory and frees it: where malloc's checks are on, that ends this process."""

import ctypes

import numpy as np

array = np.empty(5001, np.uint8)  # not a multiple of 8: the byte after it is free
ctypes.c_ubyte.from_address(array.ctypes.data + array.size).value ^= 0xFF
del array
