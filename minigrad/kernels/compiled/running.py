"""Running statistics, moved by those of a batch."""

from __future__ import annotations

from .launch import inner, kernel


@inner
def _finite(x):
    total = x.dtype.type(0)
    for i in range(len(x)):
        total += x[i] - x[i]
    return total == 0


@kernel
def move_statistics(
    running_mean, running_var, num_batches, mean, var, momentum, correction, debiased
):
    """running = (1 - new) running + new batch; a cumulative average for a negative momentum.

    Says whether the batch is finite; nothing has moved if it is not.
    """
    if not _finite(var):
        return False
    num_batches[()] += 1
    n = float(num_batches[()])
    new = 1 / n if momentum < 0 else (1 - momentum) / (1 - momentum**n if debiased else 1.0)
    kept, new_var = mean.dtype.type(1 - new), mean.dtype.type(new * correction)
    new = mean.dtype.type(new)
    for c in range(len(mean)):
        running_mean[c] = kept * running_mean[c] + new * mean[c]
        running_var[c] = kept * running_var[c] + new_var * var[c]
    return True
