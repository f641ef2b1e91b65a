"""A classifier of sequences made of attention: the encoder of a transformer.

Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser & Polosukhin 2017 (arXiv:1706.03762), section 3: layers of
self-attention and of a network for each position, each added to its input and followed by layer norm. The mean over
positions is classified.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn


def positions(time: int, width: int) -> np.ndarray:
    """Sines and cosines of wavelengths from 2 pi to 10,000 times that, shape (time, width) (section 3.5)."""
    rates = 10_000.0 ** -(np.arange(0, width, 2) / width)
    angles = np.arange(time)[:, None] * rates
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(time, -1)[:, :width]


class Attention(nn.Module):
    """Multi-head attention (section 3.2)::

        softmax(Q K^T / sqrt(d)) V,   with Q, K, V three linear maps of the inputs, cut into heads of d features

    Parameters
    ----------
    features, heads : int
        Features of each element, in and out, which the heads must divide.
    rng : numpy.random.Generator, optional
    dtype : NumPy dtype
    """

    def __init__(
        self,
        features: int,
        heads: int = 1,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        if heads < 1 or features % heads:
            raise ValueError(
                f"Attention: expected heads that divide {features} features, got {heads}"
            )
        self.features, self.heads = features, heads
        maps = [nn.Linear(features, features, rng=rng, dtype=dtype) for _ in range(4)]
        self.query, self.key, self.value, self.output = maps

    def forward(self, x: mg.Tensor, memory: mg.Tensor | None = None, mask: Any = None) -> mg.Tensor:
        """Attend from each element of x (n, time, features) to those of ``memory`` (n, steps, features), by default x.

        ``mask`` is True where attention is allowed, in any shape that broadcasts against (n, time, steps): (time,
        steps), or (n, 1, steps) to exclude padding. Each element must be allowed to attend to at least one.
        """
        memory = x if memory is None else memory
        for t in (x, memory):
            if t.ndim != 3 or t.shape[2] != self.features:
                raise ValueError(
                    f"Attention: expected shape (n, time, {self.features}), got {t.shape}"
                )
        maps = (self.query, x), (self.key, memory), (self.value, memory)
        q, k, v = (self._heads(linear(t)) for linear, t in maps)
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(self.features // self.heads)
        if mask is not None:
            scores = mg.where(mask, scores, -1e9 if scores.dtype.itemsize > 2 else -6e4)
        found = mg.softmax(scores) @ v
        return self.output(found.transpose(1, 2, 0, 3).reshape(x.shape))

    def _heads(self, t: mg.Tensor) -> mg.Tensor:
        """(n, time, features) as (heads, n, time, features of a head)."""
        n, time, features = t.shape
        return t.reshape(n, time, self.heads, features // self.heads).transpose(2, 0, 1, 3)


class EncoderLayer(nn.Module):
    """LayerNorm(x + attention), then LayerNorm(x + W_2 relu(W_1 x + b_1) + b_2); (n, time, width) to the same.

    Parameters
    ----------
    width, heads, inner : int
        Features of each position, heads of the attention, units between W_1 and W_2.
    dropout : float in [0, 1)
        Of what is added to x.
    rng : numpy.random.Generator, optional
    """

    def __init__(
        self,
        width: int,
        heads: int,
        inner: int,
        dropout: float,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.attention = Attention(width, heads, rng=rng)
        self.norm1 = nn.LayerNorm(width)
        self.linear1, self.linear2 = (
            nn.Linear(width, inner, rng=rng),
            nn.Linear(inner, width, rng=rng),
        )
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout, rng)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        x = self.norm1(x + self.dropout(self.attention(x)))
        return self.norm2(x + self.dropout(self.linear2(mg.relu(self.linear1(x)))))


class TransformerEncoder(nn.Module):
    """Sequences (n, time, features) to logits (n, classes); see ``transformer_encoder``."""

    def __init__(self, classes, features, width, heads, layers, dropout, rng) -> None:
        self.embedding = nn.Linear(features, width, rng=rng)
        self.dropout = nn.Dropout(dropout, rng)
        self.layers = [EncoderLayer(width, heads, 4 * width, dropout, rng) for _ in range(layers)]
        self.fc = nn.Linear(width, classes, rng=rng)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        x = self.embedding(x)
        places = mg.constant(positions(*x.shape[1:]), dtype=x.dtype, backend=x.backend)
        x = self.dropout(x + places)
        for layer in self.layers:
            x = layer(x)
        return self.fc(x.mean(1))


def transformer_encoder(
    classes: int = 10,
    features: int = 28,
    width: int = 64,
    heads: int = 4,
    layers: int = 2,
    dropout: float = 0.1,
    rng: np.random.Generator | None = None,
) -> TransformerEncoder:
    """A small one, for the rows of images; the paper's base model has ``width=512, heads=8, layers=6``.

    Parameters
    ----------
    classes, features : int
        Of the output, and of each element of a sequence.
    width, heads, layers : int
        Features of each position inside, heads of each attention, and layers.
    dropout : float in [0, 1)
    rng : numpy.random.Generator, optional
        Two networks built from equal generators have equal weights.
    """
    return TransformerEncoder(classes, features, width, heads, layers, dropout, rng)
