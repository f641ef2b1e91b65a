"""What the variants, moments and statistics refuse, and the words that name it."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import refuses

import minigrad as mg
from minigrad import nn

pytestmark = pytest.mark.usefixtures("backend")

DATA = np.random.default_rng(5).standard_normal((12, 3)).astype(np.float32)
POSITIVE = "to be a positive integer, got 0"


#: words of the message, and what raises it
ERRORS = {
    # variants
    "DebiasedBatchNorm: expected momentum < 1": lambda: nn.DebiasedBatchNorm(3, momentum=1),
    f"GhostBatchNorm: expected virtual_batch_size {POSITIVE}": lambda: nn.GhostBatchNorm(3, 0),
    "GhostBatchNorm: axis 0 is the batch, and cannot be kept, got axis=(0, 2)": lambda: (
        nn.GhostBatchNorm((4, 3), 2, axis=(0, 2))(mg.ones((4, 2, 3)))
    ),
    "axis 0 is the batch, and cannot be kept, got axis=-2": lambda: nn.GhostBatchNorm(
        2, 2, axis=-2
    )(mg.ones((2, 3))),
    "BatchRenorm: corrects towards running": lambda: nn.BatchRenorm(3, statistics="population"),
    "BatchRenorm: expected r_max >= 1 and d_max >= 0, got 0.5 and 0": lambda: nn.BatchRenorm(
        3, 0.5, 0
    )(mg.ones((2, 3))),
    "got 1 and -1": lambda: nn.BatchRenorm(3, 1, lambda n: -1)(mg.ones((2, 3))),
    f"RecurrentBatchNorm: expected max_steps {POSITIVE}": lambda: nn.RecurrentBatchNorm(3, 0),
    "RecurrentBatchNorm: expected step as an int >= 0, got -1": lambda: nn.RecurrentBatchNorm(3, 2)(
        mg.ones((2, 3)), -1
    ),
    "step as an int >= 0, got 1.0": lambda: nn.RecurrentBatchNorm(3, 2)(mg.ones((2, 3)), 1.0),
    # moments
    "merge_moments: expected at least one part": lambda: mg.merge_moments([]),
    "merge_moments: expected means of one shape, got (3,) and (1,)": lambda: mg.merge_moments(
        [mg.moments(mg.ones((2, n))) for n in (3, 1)]
    ),
    "moments: expected at least one value per channel, got shape (0, 3)": lambda: mg.moments(
        mg.zeros((0, 3))
    ),
    "moments: expected a floating dtype, got int64": lambda: mg.moments(
        mg.arange(4, dtype="int64").reshape(2, 2)
    ),
    "weights are constants, got one that requires a gradient": lambda: mg.weighted_batch_norm(
        mg.ones((2, 3)), mg.ones(2, requires_grad=True), None, None
    ),
    "weighted_batch_norm: expected 0 <= ddof < 0.5, the sum of the weights, got 1": lambda: (
        mg.weighted_batch_norm(mg.ones((2, 3)), [0.25, 0.25], None, None, ddof=1)
    ),
    # population statistics
    "expected estimator 'batch_mean' or 'total', got 'mean'": lambda: nn.population_statistics(
        nn.BatchNorm(3), [DATA], "mean"
    ),
    "at least one batch that counts, got none": lambda: nn.population_statistics(
        nn.BatchNorm(3), []
    ),
    "the model has no batch norm that is not frozen": lambda: nn.population_statistics(
        nn.Linear(3, 3), [DATA]
    ),
}


@pytest.mark.parametrize(("words", "call"), ERRORS.items(), ids=ERRORS)
def test_errors(words, call):
    error = TypeError if "floating dtype" in words or "requires a gradient" in words else ValueError
    with refuses(error, words):
        call()
