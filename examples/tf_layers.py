"""From TensorFlow 1 to minigrad: batch norm by hand, the same as one layer, and a network, by changing the imports.

First a transform as it was written with tf.nn.moments and tf.Variable, then tf.layers.batch_normalization in its place,
with equal outputs and gradients; then a digit classifier of tf.layers.dense and tf.layers.batch_normalization, trained
with training=True and tested with training=False. Nothing collects update ops, and the moving averages move.
Takes seconds.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

import minigrad as mg
from examples.experiment import make_parser, natural, positive
from minigrad import layers, nn
from minigrad.command import command

# In place of "import tensorflow as tf"; the code below is unchanged TensorFlow code.
tf = SimpleNamespace(
    layers=layers,
    nn=SimpleNamespace(moments=layers.moments, sigmoid=mg.sigmoid),
    make_template=layers.make_template,
    ones=mg.ones,
    sqrt=mg.sqrt,
    Variable=layers.Variable,
    zeros=mg.zeros,
)

EPSILON = 0.001
HIDDEN = 32


def bn_transform(x: mg.Tensor) -> mg.Tensor:
    """Algorithm 1 of the paper (arXiv:1502.03167), line by line, and the sigmoid that it feeds."""
    mean, variance = tf.nn.moments(x, axes=[0])
    x_hat = (x - mean) / tf.sqrt(variance + EPSILON)
    gamma = tf.Variable(tf.ones(x.shape[1]))
    beta = tf.Variable(tf.zeros(x.shape[1]))
    return tf.nn.sigmoid(gamma * x_hat + beta)


def bn_layer(x: mg.Tensor) -> mg.Tensor:
    """The same, where the layer keeps gamma, beta and the moving averages."""
    return tf.nn.sigmoid(tf.layers.batch_normalization(x, epsilon=EPSILON, training=True))


def network(x: mg.Tensor, training: bool) -> mg.Tensor:
    """Logits (n, 10) of images (n, 64): two hidden layers of sigmoids, each normalized."""
    for _ in range(2):
        x = tf.layers.dense(x, HIDDEN, use_bias=False)  # beta is the bias
        x = tf.nn.sigmoid(tf.layers.batch_normalization(x, training=training))
    return tf.layers.dense(x, 10)


def compare(seed: int) -> dict[str, float]:
    """The largest differences between ``bn_transform`` and ``bn_layer``: of outputs, and of gradients for x."""
    rng = np.random.default_rng(seed)
    x = mg.tensor(rng.normal(3, 2, (60, 5)), requires_grad=True)
    weights = mg.tensor(rng.normal(size=x.shape))
    layers.reset()
    ys = [function(x) for function in (bn_transform, bn_layer)]
    grads = [mg.grad((y * weights).sum(), x) for y in ys]
    return {
        name: float(np.abs(by_hand.numpy() - layer.numpy()).max())
        for name, (by_hand, layer) in {"outputs": ys, "gradients": grads}.items()
    }


def train(steps: int, seed: int) -> tuple[layers.Template, list[float]]:
    """The network after ``steps`` of SGD on batches of 60 digits, and the loss at each of them."""
    mg.manual_seed(seed)
    images, labels = mg.data.digits("train")
    rng = np.random.default_rng(seed)
    net = tf.make_template("digits", network)
    # The first call makes the variables; here it is none of the steps.
    with nn.hold_statistics(), mg.no_grad():
        net(mg.tensor(images[:60].reshape(60, -1)), training=True)
    optimizer = mg.optim.SGD(net.parameters(), lr=0.5)
    losses = []
    for _ in range(steps):
        batch = rng.choice(len(images), 60, replace=False)
        logits = net(mg.tensor(images[batch].reshape(60, -1)), training=True)
        loss = mg.softmax_cross_entropy(logits, mg.tensor(labels[batch]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return net, losses


def accuracy(net: layers.Template) -> float:
    """The share of test digits that are recognized, normalized by the moving averages."""
    images, labels = mg.data.digits("test")
    with mg.no_grad():
        logits = net(mg.tensor(images.reshape(len(images), -1)), training=False)
    return float((logits.numpy().argmax(axis=1) == labels).mean())


def moving(net: layers.Template) -> dict[str, np.ndarray]:
    """The moving averages by name."""
    return {name: v.numpy() for name, v in net.variables().items() if "/moving_" in name}


@command
def main(argv: list[str] | None = None) -> None:
    parser = make_parser("tf_layers", __doc__)
    add = parser.add_argument
    add("--steps", type=positive, default=500, help="training steps (default: %(default)s)")
    add("--seed", type=natural, default=0, help="of weights and batches (default: %(default)s)")
    args = parser.parse_args(argv)

    print("1. By hand, and 2. as a layer: sigmoid(batch norm of x), 60 examples of 5 numbers\n")
    for name, difference in compare(args.seed).items():
        print(f"   largest difference of {name:<12}{difference:.1e}")
    print("\n   variables:")
    for name, v in layers.variables().items():
        print(f"   {name:<40}{v.shape!s:<8}{'trained' if v.requires_grad else 'moving average'}")

    print(f"\n3. A digit classifier, {args.steps} steps of SGD\n")
    net, losses = train(args.steps, args.seed)
    before = moving(net)
    print(f"   loss           {losses[0]:.4f} at the first step, {losses[-1]:.4f} at the last")
    print(f"   test accuracy  {accuracy(net):.3f}\n")
    print(f"   {'moving averages, no update ops run':<46}began at   smallest   largest")
    for name, v in before.items():
        began = float(name.endswith("variance"))
        print(f"   {name:<46}{began:8.1f}{v.min():11.4f}{v.max():10.4f}")
    same = all((before[name] == v).all() for name, v in moving(net).items())
    print(f"\n   training=True moved them; testing did {'not' if same else 'too'}.")


if __name__ == "__main__":
    main()
