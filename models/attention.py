"""A classifier of sequences made of attention: the encoder of a transformer.

Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser & Polosukhin 2017 (arXiv:1706.03762), section 3: layers of
self-attention and of a network for each position, each added to its input and followed by layer norm. The mean over
positions is classified.
"""

from __future__ import annotations

import numpy as np

import minigrad as mg
from minigrad import nn


def positions(time: int, width: int) -> np.ndarray:
    """Sines and cosines of wavelengths from 2 pi to 10,000 times that, shape (time, width) (section 3.5)."""
    rates = 10_000.0 ** -(np.arange(0, width, 2) / width)
    angles = np.arange(time)[:, None] * rates
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(time, -1)[:, :width]


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
        self.attention = nn.Attention(width, heads, rng=rng)
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
