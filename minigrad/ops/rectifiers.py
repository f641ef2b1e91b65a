"""The kin of relu: leaky_relu, gelu, silu, softplus."""

from __future__ import annotations

import math
from typing import Any

from ..messages import require_numbers
from ..op import Op
from ..tensor import Tensor, apply
from .activation import SIGMOID, sigmoid
from .arithmetic import where
from .checks import require_floating
from .elementwise import tanh

#: Chebyshev coefficients in t = 2 / (2 + z) of log(erfc(z) / t) + z^2, for z >= 0
ERFC = (
    -0.6513268598908547, 0.6419697923564902, 0.01947647320418584, -0.009561514786808632,
    -9.46595344482037e-4, 3.668394978527615e-4, 4.252332480690777e-5, -2.027857811253424e-5,
    -1.624290004647026e-6, 1.303655835580523e-6, 1.562644172206614e-8, -8.523809591492654e-8,
    6.529054439098851e-9, 5.059343495551469e-9, -9.913641564930331e-10, -2.273651222931836e-10,
    9.646791102015527e-11, 2.394038083039115e-12, -6.886027526497552e-12, 8.944879273090725e-13,
    3.130921399342958e-13, -1.127082236136725e-13, 3.810905255189232e-16, 7.106097613609237e-15,
    -1.523028201457104e-15, -9.457494571291233e-17,
)  # fmt: skip


class Erf(Op):
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x: of no array module's own."""

    elementwise = True

    def forward(self, k: Any, x: Any) -> Any:
        z = k.xp.minimum(abs(x), 6)  # from where on it is 1 to the last bit
        t = 2 / (2 + z)
        u, a, b = 4 * t - 2, 0 * z, 0 * z
        for c in ERFC[25 if x.dtype.itemsize > 4 else 10 : 0 : -1]:  # Clenshaw's recurrence
            a, b = u * a - b + c, a
        y = k.xp.sign(x) * (1 - t * k.xp.exp(u * a / 2 - b + ERFC[0] - z * z))
        return y.astype(x.dtype, copy=False)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (x,) = node.inputs
        return gy * (-x * x).exp() * (2 / math.sqrt(math.pi))


class Softplus(Op):
    elementwise = True

    def forward(self, k: Any, x: Any) -> Any:
        y = k.xp.maximum(x, 0) + k.xp.log1p(k.xp.exp(-abs(x)))
        return y.astype(x.dtype, copy=False)

    def backward(self, node: Any, needs: Any, gy: Tensor) -> Any:
        (x,) = node.inputs
        return gy * apply(SIGMOID, x)


ERF, SOFTPLUS = Erf(), Softplus()


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where it is positive, ``negative_slope`` x elsewhere (Maas et al. 2013); errors as ``relu``.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.leaky_relu(mg.tensor([-2, 2]), 0.25)
    Tensor([-0.5,  2. ])
    """
    require_floating("leaky_relu", x)
    require_numbers("leaky_relu", negative_slope=negative_slope)
    return where(x > 0, x, x * float(negative_slope))


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x times the probability that a standard normal value is smaller (Hendrycks & Gimpel 2016, arXiv:1606.08415).

    Parameters
    ----------
    x : Tensor of floating dtype
    approximate : {"none", "tanh"}
        x/2 (1 + erf(x / sqrt(2))), or x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.gelu(mg.tensor([-10, 0, 10]))
    Tensor([-0.,  0., 10.])
    """
    require_floating("gelu", x)
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
    wide = x.widened()
    if approximate == "none":
        inner = apply(ERF, wide * math.sqrt(0.5))
    else:
        inner = tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3))
    return (0.5 * wide * (1 + inner)).astype(x.dtype)


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), also called swish (Hendrycks & Gimpel 2016, arXiv:1606.08415); errors as ``relu``."""
    require_floating("silu", x)
    return x * sigmoid(x)


def softplus(x: Tensor, beta: float = 1.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, a smooth relu, with beta > 0; it overflows nowhere, so that it needs no threshold.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.softplus(mg.tensor([-1e4, 0, 100]))
    Tensor([  0.       ,   0.6931472, 100.       ])
    """
    require_floating("softplus", x)
    require_numbers("softplus", beta=beta)
    if not beta > 0:
        raise ValueError(f"softplus: expected beta > 0, got {beta}")
    return apply(SOFTPLUS, x) if beta == 1 else apply(SOFTPLUS, x * float(beta)) / float(beta)
