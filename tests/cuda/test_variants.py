"""The variants of batch norm run on its CUDA kernels, with NumPy's results."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import close

import minigrad as mg
from minigrad import backend, nn

#: of channels so short that a block has whole ones
FORWARD, BACKWARD = ["normalize"], ["input_gradient"]
WEIGHTED = ["statistics", "normalize"]
#: the layer, its mask, and the kernels that its forward and backward passes launch
CASES = {
    "batch norm": (nn.BatchNorm, {}, None, FORWARD, BACKWARD),
    "renorm": (nn.BatchRenorm, {"r_max": 1.5, "d_max": 0.5}, None, FORWARD, BACKWARD),
    "ghost": (nn.GhostBatchNorm, {"virtual_batch_size": 4}, None, FORWARD * 2, BACKWARD * 2),
    # Centered first, then shifted; differentiated as Tensor arithmetic.
    "masked": (nn.BatchNorm, {}, np.arange(8) < 6, [*WEIGHTED * 2, *FORWARD], []),
}


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("make", "options", "mask", "forward", "backward"), CASES.values(), ids=CASES
)
def test_kernels_and_numbers(rng, dtype, make, options, mask, forward, backward):
    launch = backend.get("strict").kernels.launch
    values, cotangent = (rng.normal(2, 1, (8, 3, 5)).astype(dtype) for _ in range(2))
    found, launch.launched = [], []
    for name in ("numpy", "strict"):
        mg.set_backend(name)
        layer, x = make(3, dtype=dtype, **options), mg.tensor(values, requires_grad=True)
        y = layer(x, **({} if mask is None else {"mask": mg.tensor(mask)}))
        (y * mg.tensor(cotangent)).sum().backward()
        results = [y, x.grad, layer.gamma.grad, layer.beta.grad, *layer.buffers()]
        found.append([t.numpy() for t in results])
    names = [instance.partition("<")[0] for instance, _ in launch.launched]
    launch.launched = None
    assert [n for n in names if n in WEIGHTED + BACKWARD] == forward + backward
    for ours, theirs in zip(*found, strict=True):
        close(ours, theirs, 1e-5 if dtype == "float32" else 1e-12)
