"""All instances of the kernel templates, derived from their sources by the names of the template parameters.

New kernels are tested without being listed; a new parameter name is an error until it is in ``VALUES``.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from pathlib import Path

from minigrad import kernels
from minigrad.kernels.cuda import TYPES, WIDTH, Kernel, source
from minigrad.kernels.cuda.elementwise import ACTIVATIONS
from minigrad.kernels.cuda.loss import LABELS

FILES = sorted(p.name for p in Path(kernels.__file__).parent.glob("cuda/*.cu"))
#: values of the template parameters
VALUES = {
    "T": tuple(TYPES.values()),
    "A": ("float", "double"),
    "I": ("int", "Index"),
    "Label": tuple(LABELS.values()),
    "Seed": ("Index", "const Index*"),
    "STATES": (0, 1),
    "WEIGHTED": (0, 1),
    "WHOLE": (0, 1),
    "Over": ("Planes", "Columns"),
    "Activation": tuple(ACTIVATIONS.values()),
}
_SIZES = {"double": 8, "float": 4, "Half": 2, "BFloat16": 2}
_HEAD = re.compile(
    r"template <([^\n]*)>\s+__global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\("
)


@cache
def heads(file):
    """The kernels of a file, and the names of their template parameters."""
    text = source(file)
    found = {
        Kernel(file, name): tuple(p.split()[-1] for p in parameters.split(", "))
        for parameters, name in _HEAD.findall(text)
    }
    if len(found) != text.count("__global__"):
        raise ValueError(f"{file}: expected templates only, found {sorted(k.name for k in found)}")
    return found


@cache
def instances(kernel):
    """The values of the template parameters, for every instance."""
    names = heads(kernel.file)[kernel]
    if unknown := [n for n in names if n not in VALUES and n != "V"]:
        raise ValueError(f"{kernel}: no values are known of template parameters {unknown}")
    found = []
    for values in product(*[VALUES.get(n, ("one", "most")) for n in names]):
        given = dict(zip(names, values, strict=True))
        if "V" in given:
            given["V"] = WIDTH // _SIZES[given["T"]] if given["V"] == "most" else 1
        found.append(tuple(given.values()))
    return found


KERNELS = [kernel for file in FILES for kernel in heads(file)]
