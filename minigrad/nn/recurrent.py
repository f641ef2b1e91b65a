"""Recurrent layers: the same step for each element of a sequence, with a state passed from step to step.

Sequences are (n, time, ...). A layer returns the hidden states of all steps and the last state, which may serve as the
initial state of the sequence's next part.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..creation import zeros
from ..ops.activation import sigmoid
from ..ops.checks import require_floating
from ..ops.elementwise import tanh
from ..ops.linear import linear
from ..ops.random import generator
from ..ops.shape import stack
from ..tensor import Tensor
from . import init
from .module import Module, Parameter


class RNN(Module):
    """The plain recurrent network: h_t = tanh(W_ih x_t + W_hh h_(t-1) + b) (Elman 1990).

    Parameters
    ----------
    input_size, hidden_size : int
    weight_init : callable of (shape, rng)
        Glorot uniform by default.
    rng, dtype
        As for ``Linear``.

    Attributes
    ----------
    weight_ih : Parameter, shape (gates * hidden_size, input_size)
    weight_hh : Parameter, shape (gates * hidden_size, hidden_size)
    bias : Parameter, shape (gates * hidden_size,)
        With one gate here, three in a GRU and four in an LSTM.

    Examples
    --------
    >>> import minigrad as mg
    >>> hidden, last = mg.nn.RNN(3, 5)(mg.ones((2, 7, 3)))
    >>> hidden.shape, last.shape
    ((2, 7, 5), (2, 5))
    """

    gates = 1
    #: names of the biases: the input's, and the state's where it has its own
    biases: tuple[str, ...] = ("bias",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        weight_init: init.Init = init.glorot_uniform,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        name = type(self).__name__
        init.require_positive(name, input_size=input_size, hidden_size=hidden_size)
        rng = generator(rng)
        self.input_size, self.hidden_size = input_size, hidden_size

        def gates(size: int) -> Parameter:
            settings = weight_init, (hidden_size, size), rng, dtype
            parts = [init.drawn(name, *settings).numpy() for _ in range(self.gates)]
            return Parameter(np.concatenate(parts))

        self.weight_ih, self.weight_hh = gates(input_size), gates(hidden_size)
        for bias in self.biases:
            setattr(self, bias, Parameter(np.zeros(self.gates * hidden_size), dtype))

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Return the hidden states (n, time, hidden_size) and the last state; ``state`` is zeros by default."""
        require_floating(self.title(), x)
        if x.ndim != 3 or x.shape[2] != self.input_size or not x.shape[1]:
            raise ValueError(
                f"{self.title()}: expected x of shape (n, time, {self.input_size}), got {x.shape}"
            )
        state = self.initial(x) if state is None else state
        hidden, bias = [], getattr(self, self.biases[0])
        for t in range(x.shape[1]):
            # One step at a time: each slice of a projection of all steps would have a gradient of full size.
            state = self.step(linear(x[:, t], self.weight_ih, bias), state)
            hidden.append(self.output(state))
        return stack(hidden, axis=1), state

    def initial(self, x: Tensor) -> Any:
        """The state before the first step: zeros."""
        return zeros((x.shape[0], self.hidden_size), dtype=x.dtype, backend=x.backend)

    def step(self, projected: Tensor, state: Any) -> Any:
        """The next state, from W_ih x + b and the previous state."""
        return tanh(projected + linear(state, self.weight_hh))

    def output(self, state: Any) -> Tensor:
        """The hidden state."""
        return state

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class LSTM(RNN):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000)::

        i, f, o = sigmoid of their rows of W_ih x_t + W_hh h_(t-1) + b,   g = tanh of its
        c_t = f c_(t-1) + i g,   h_t = o tanh(c_t)

    Rows are in the order i, f, g, o, as in PyTorch. The state is the pair (h, c). The forget gate's bias starts at 1,
    so that a new network remembers.

    Examples
    --------
    >>> import minigrad as mg
    >>> hidden, (h, c) = mg.nn.LSTM(3, 5)(mg.ones((2, 7, 3)))
    >>> hidden.shape, c.shape
    ((2, 7, 5), (2, 5))
    """

    gates = 4
    bias: Parameter

    def __init__(self, input_size: int, hidden_size: int, **settings: Any) -> None:
        super().__init__(input_size, hidden_size, **settings)
        bias = np.zeros((4, hidden_size), self.bias.dtype)
        bias[1] = 1
        self.bias.load(bias.reshape(-1))

    def initial(self, x: Tensor) -> Any:
        state = super().initial(x)
        return state, state

    def step(self, projected: Tensor, state: Any) -> Any:
        if isinstance(state, Tensor):
            raise TypeError(f"{self.title()}: expected the state as a pair (h, c), got one Tensor")
        h, c = state
        gates, size = projected + linear(h, self.weight_hh), self.hidden_size
        i, f, g, o = (gates[:, k * size : (k + 1) * size] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    def output(self, state: Any) -> Tensor:
        return state[0]


class GRU(RNN):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), with the reset gate after the product, as PyTorch's::

        r, z = sigmoid of their rows of W_ih x_t + b_ih + W_hh h_(t-1) + b_hh
        n = tanh(W_in x_t + b_in + r (W_hn h_(t-1) + b_hn)),   h_t = (1 - z) n + z h_(t-1)

    Rows are in the order r, z, n. Instead of ``bias`` there are ``bias_ih`` and ``bias_hh``.

    Examples
    --------
    >>> import minigrad as mg
    >>> hidden, last = mg.nn.GRU(3, 5)(mg.ones((2, 7, 3)))
    >>> hidden.shape, last.shape
    ((2, 7, 5), (2, 5))
    """

    gates = 3
    biases = ("bias_ih", "bias_hh")
    bias_hh: Parameter

    def step(self, projected: Tensor, state: Any) -> Any:
        recurrent, size = linear(state, self.weight_hh, self.bias_hh), self.hidden_size
        gates = sigmoid(projected[:, : 2 * size] + recurrent[:, : 2 * size])
        r, z = gates[:, :size], gates[:, size:]
        n = tanh(projected[:, 2 * size :] + r * recurrent[:, 2 * size :])
        return n + z * (state - n)
