"""The same training steps on every available backend: equal weights, equal batches, equal numbers.

Trains a small sigmoid network with batch norm on the handwritten digits, once on each backend, and prints the losses of
all steps side by side. The ways to choose a backend: mg.set_backend, model.to and mg.tensor(..., backend=...).
Takes a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import minigrad as mg
from examples.experiment import make_parser, natural, positive
from minigrad import backend as backends
from minigrad import nn
from minigrad.command import command

Result = tuple[list[float], dict[str, np.ndarray]]


def make_model(seed: int) -> nn.Sequential:
    """64 pixels, two hidden layers of 32 sigmoid units with batch norm, 10 classes."""
    rng = np.random.default_rng(seed)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (64, 32):
        layers += [nn.Linear(inputs, 32, bias=False, rng=rng), nn.BatchNorm(32), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(32, 10, rng=rng))


def make_batches(steps: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """60 images and labels for each step, as NumPy arrays."""
    images, labels = mg.data.digits()
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(len(images), 60, replace=False) for _ in range(steps)]
    return [(images[i], labels[i]) for i in chosen]


def train(backend: str, steps: int, seed: int) -> Result:
    """The losses of all steps, and what the model has learned: weights and running statistics by name."""
    model = make_model(seed).to(backend)
    optimizer = mg.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    losses = []
    for images, labels in make_batches(steps, seed):
        x, t = mg.tensor(images, backend=backend), mg.tensor(labels, backend=backend)
        # From here on nothing names a backend: kernels follow the data.
        loss = mg.softmax_cross_entropy(model(x), t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.state_dict()


def differences(a: Result, b: Result) -> tuple[float, float]:
    """The largest difference of two trainings' losses, and of what their models have learned."""
    (a_losses, a_state), (b_losses, b_state) = a, b
    of_states = [np.abs(a_state[name] - b_state[name]).max() for name in a_state]
    return float(np.abs(np.subtract(a_losses, b_losses)).max()), float(max(of_states))


def ways_to(backend: str) -> dict[str, str]:
    """The three ways to swap: the code, and the backend that its result is on."""
    name, before = f'"{backend}"', backends.default().name
    ways = {
        f"mg.tensor([1, 2], backend={name})": mg.tensor([1, 2], backend=backend).backend,
        f"model.to({name})": make_model(0).to(backend).parameters()[0].backend,
    }
    mg.set_backend(backend)
    try:
        ways[f"mg.set_backend({name}); mg.tensor([1, 2])"] = mg.tensor([1, 2]).backend
    finally:
        mg.set_backend(before)
    return ways


def why_missing(backend: str) -> str | None:
    """The error message of a backend that does not work here; None if it works."""
    try:
        backends.get(backend)
    except (ImportError, RuntimeError) as error:
        return str(error)
    return None


def report(names: Sequence[str], steps: int, seed: int) -> dict[str, Result]:
    """Train on all backends of ``names``, print them side by side, and return the results of ``train``."""
    print("\nto swap:")
    for name in names:
        for code, where in ways_to(name).items():
            print(f"   {code:<50} on {where}")
    print(f"\nloss at each of {steps} steps, from the same weights on the same batches:\n")
    results = {name: train(name, steps, seed) for name in names}
    print("   step" + "".join(f"{name:>12}" for name in names))
    for step, losses in enumerate(zip(*(losses for losses, _ in results.values()), strict=True), 1):
        print(f"{step:>7}" + "".join(f"{loss:12.7f}" for loss in losses))
    first, *others = names
    if not others:
        print(f"\n{first} is the only backend here: there is nothing to compare it with.")
    for name in others:
        of_losses, of_states = differences(results[name], results[first])
        print(f"\nlargest differences between {name} and {first}:")
        print(f"   losses                           {of_losses:.1e}")
        print(f"   weights and running statistics   {of_states:.1e}")
    return results


@command
def main(argv: list[str] | None = None) -> None:
    parser = make_parser("swap_backends", __doc__)
    add = parser.add_argument
    add("--steps", type=positive, default=10, help="training steps (default: %(default)s)")
    add("--seed", type=natural, default=0, help="of weights and batches (default: %(default)s)")
    args = parser.parse_args(argv)

    names = backends.available()
    print(f"backends here: {', '.join(names)}")
    if reason := why_missing("cupy"):
        print(f"cupy is not:   {reason}")
    report(names, args.steps, args.seed)


if __name__ == "__main__":
    main()
