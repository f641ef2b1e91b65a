"""Backprop through batch norm step by step: every gradient, and the mistake of treating statistics as constants.

Algorithm 1 of Ioffe & Szegedy 2015 (arXiv:1502.03167) as nine operations beside the fused mg.batch_norm; the gradient
of the loss with respect to every value on the way; then the mistake that their section 2 warns of, made and run.
Takes a second.
"""

from __future__ import annotations

from itertools import zip_longest

import numpy as np

import minigrad as mg
from examples.experiment import make_parser, natural, positive
from minigrad.command import command

EPS = 1e-3

# Every value: its equation, and its gradient's. dz is d loss / d z; sums and means run over the m examples. [1] to [6]
# are the six equations of the paper's section 3, in its order; where ours is shorter, the paper's form follows.
EQUATIONS = {
    "x": ("", "[4] dcentered + dmean / m\n    = dxhat / std + 2 dvar (x - mean) / m + dmean / m"),
    "mean": ("mean of x", "[3] -sum dcentered\n    = -sum dxhat / std - 2 dvar mean of (x - mean)"),
    "centered": ("x - mean", "    dxhat / std + 2 centered dsquared\n    (it is used twice)"),
    "squared": ("centered centered", "    dvar / m"),
    "var": ("mean of squared", "[2] dvar_eps = -1/2 sum dxhat (x - mean) (var + eps)^(-3/2)"),
    "var_eps": ("var + eps", "    dstd / (2 std)"),
    "std": ("sqrt(var_eps)", "    -sum dxhat xhat / std"),
    "xhat": ("centered / std", "[1] dscaled gamma = dy gamma"),
    "gamma": ("", "[5] sum dscaled xhat = sum dy xhat"),
    "scaled": ("gamma xhat", "    dy"),
    "beta": ("", "[6] sum dy"),
    "y": ("scaled + beta", "    2 (y - t) / (2 m)"),
}


def make_problem(seed: int) -> tuple[mg.Tensor, ...]:
    """x of 4 examples and 2 channels, gamma, beta, and the targets t, in float64."""
    rng = np.random.default_rng(seed)
    x, gamma, beta = rng.normal(3, 2, (4, 2)), rng.uniform(0.5, 2, 2), rng.normal(size=2)
    inputs = [mg.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    return (*inputs, mg.tensor(rng.normal(size=(4, 2))))


def primitive_batch_norm(x: mg.Tensor, gamma: mg.Tensor, beta: mg.Tensor) -> dict[str, mg.Tensor]:
    """Algorithm 1, one operation per line; returns inputs, intermediate values and y by name."""
    mean = x.mean(axis=0, keepdims=True)
    centered = x - mean
    squared = centered * centered
    var = squared.mean(axis=0, keepdims=True)
    var_eps = var + EPS
    std = var_eps.sqrt()
    xhat = centered / std
    scaled = gamma * xhat
    y = scaled + beta
    values = x, mean, centered, squared, var, var_eps, std, xhat, gamma, scaled, beta, y
    return dict(zip(EQUATIONS, values, strict=True))


def gradients(values: dict[str, mg.Tensor], targets: mg.Tensor) -> dict[str, mg.Tensor]:
    """The gradient of the loss with respect to each of the values, leaf or intermediate."""
    loss = mg.mse_loss(values["y"], targets)
    return dict(zip(values, mg.grad(loss, list(values.values())), strict=True))


def constant_gradient(
    x: mg.Tensor, gamma: mg.Tensor, beta: mg.Tensor, targets: mg.Tensor
) -> mg.Tensor:
    """The gradient with respect to x if the batch statistics are treated as constants."""
    _, mean, var = mg.batch_norm(x, gamma, beta, eps=EPS)
    y = mg.frozen_batch_norm(x, gamma, beta, mean.detach(), var.detach(), eps=EPS)
    return mg.grad(mg.mse_loss(y, targets), x)


def train_bias(steps: int, seed: int, constant_mean: bool) -> list[tuple[float, float]]:
    """(b, loss) after 0, 1, ... steps of gradient descent on b, where x = u + b and xhat = x - E[x]."""
    rng = np.random.default_rng(seed)
    # Multiples of 1/8 over 8 examples, and a learning rate of 1/4: float64 has nothing to round.
    u, targets = (mg.tensor(rng.integers(low, 17, 8) / 8) for low in (-16, 1))
    b = mg.tensor(0, requires_grad=True, dtype=np.float64)
    optimizer = mg.optim.SGD([b], lr=1 / 4)
    history = []
    for _ in range(steps + 1):
        x = u + b
        mean = x.mean().detach() if constant_mean else x.mean()
        loss = mg.mse_loss(x - mean, targets)
        history.append((b.item(), loss.item()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return history


def difference(a: mg.Tensor, b: mg.Tensor) -> str:
    return f"{np.abs(a.numpy() - b.numpy()).max():.1e}"


def rows(*arrays: np.ndarray) -> list[str]:
    """Arrays side by side, a column for each channel, as lines of text."""
    table = np.hstack([np.atleast_2d(a) for a in arrays]).round(4) + 0.0  # -0 becomes 0
    return ["".join(f"{value:10.4f}" for value in row) for row in table]


def show(name: str, t: mg.Tensor, text: str) -> None:
    heads, lines = [f"   {name:<11}{t.shape}"], text.split("\n")
    for head, row, line in zip_longest(heads, rows(t.numpy()), lines, fillvalue=""):
        print(f"{head:<20}{row:<20}   {line}".rstrip())


@command
def main(argv: list[str] | None = None) -> None:
    parser = make_parser("backprop_through_bn", __doc__)
    parser.add_argument(
        "--seed", type=natural, default=0, help="of all numbers (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=positive, default=100, help="of part 4 (default: %(default)s)"
    )
    args = parser.parse_args(argv)

    print(f"1. Forward: Algorithm 1 as nine operations (m = 4 examples, 2 channels, eps = {EPS})\n")
    x, gamma, beta, targets = make_problem(args.seed)
    values = primitive_batch_norm(x, gamma, beta)
    for name, value in values.items():
        show(name, value, EQUATIONS[name][0])
    fused, _, _ = mg.batch_norm(x, gamma, beta, eps=EPS)
    print(f"""
   On the tape they are 15: a mean is a sum and a division, and broadcasting is an operation too.
   mg.batch_norm is one. Largest difference between the two y: {difference(fused, values["y"])}""")

    print("\n2. Backward: dz = d loss / d z by mg.grad, where loss = mean of (y - t)^2\n")
    grads = gradients(values, targets)
    for name, grad in reversed(grads.items()):
        show("d" + name, grad, EQUATIONS[name][1])
    through_fused = gradients({"x": x, "gamma": gamma, "beta": beta, "y": fused}, targets)
    print("\n   Largest difference between nine operations and mg.batch_norm:")
    for name in ("x", "gamma", "beta"):
        print(f"      d{name:<8}{difference(through_fused[name], grads[name])}")

    print("\n3. The mistake: mean and var taken for constants. The same y, and a wrong dx:\n")
    wrong = constant_gradient(x, gamma, beta, targets).numpy()
    right, xhat = grads["x"].numpy(), values["xhat"].numpy()
    all_dx = right, wrong, wrong - right
    sums, products = [dx.sum(axis=0) for dx in all_dx], [(xhat * dx).sum(axis=0) for dx in all_dx]
    print(f"{'right':>38}{'wrong':>20}{'wrong - right':>20}")
    labels = ["dx", "", "", "", "sum dx", "sum xhat dx"]
    for label, row in zip(labels, rows(*all_dx) + rows(*sums) + rows(*products), strict=True):
        print(f"   {label:<15}{row}")
    print("""
   What the wrong one lacks are the last two terms of [4]. Shifting a channel of x leaves y as it is, and so, but for
   eps, does stretching it: the right gradient asks for neither, and its sums are 0 and nearly 0. The wrong one asks
   for both, by -dmean and -dstd, and the next forward pass takes them away again.""")

    print("\n4. What comes of it (section 2 of the paper): gradient descent on b, where x = u + b,")
    print("   xhat = x - E[x] and loss = mean of (xhat - t)^2\n")
    constant, differentiated = (train_bias(args.steps, args.seed, c) for c in (True, False))
    print(f"{'E[x] a constant':>39}{'E[x] differentiated':>32}")
    print(f"{'step':>7}" + 2 * f"{'b':>12}{'loss':>20}")
    for step in range(0, args.steps + 1, max(1, args.steps // 5)):
        numbers = [f"{b:12.4f}{loss:20.15f}" for b, loss in (constant[step], differentiated[step])]
        print(f"{step:>7}" + "".join(numbers))
    print("""
   With E[x] a constant, d loss / d b = mean of 2 (xhat - t) = -2 mean of t, the same in every step: b diverges.
   The loss is constant to the last digit: u + (b + db) - E[u + (b + db)] = u + b - E[u + b].
   Differentiated, d E[x] / d b = 1 and d xhat / d b = 1 - 1 = 0: no step can help, and none is made. A layer before
   batch norm needs no bias; beta is its bias.""")


if __name__ == "__main__":
    main()
