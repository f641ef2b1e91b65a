"""minigrad's counterparts of PyTorch's functions: PyTorch's arguments in, minigrad's result out.

``ADAPTERS`` maps an entry of PyTorch's ``op_db`` (``name`` or ``name.variant``) to a function of the sample's
arguments, its tensors as minigrad Tensors and its dtypes as NumPy's. An adapter renames arguments, translates
conventions (momentum, ``ddof``, biased variances) and raises ``Unsupported`` for what minigrad does not offer. Where
minigrad has no function of its own, it spells out what its users write instead.
"""

from __future__ import annotations

import math

import numpy as np

import minigrad as mg


class Unsupported(Exception):
    """What a sample asks for that minigrad does not offer; the message is the reason that is printed."""


def refuse(reason, *, when):
    if when:
        raise Unsupported(reason)


# --- arithmetic ---


def clamp(x, low=None, high=None):
    """The bounds are Tensors; where x equals one, the gradient goes to x alone."""
    x = x if low is None else mg.where(x < low, low, x)
    return x if high is None else mg.where(x > high, high, x)


# --- reductions ---


def axes(x, dim):
    """PyTorch reduces over all axes for an empty ``dim``, and knows an axis 0 of a tensor that has none."""
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return None
    refuse("an axis of a tensor without axes", when=x.ndim == 0)
    return dim


def reduction(function):
    return lambda x, dim=None, keepdim=False, dtype=None: function(
        x, axis=axes(x, dim), keepdims=keepdim
    )


def extreme(function, index=None):
    """The values, and the indices of those that ``argmax`` finds."""

    def adapter(x, dim, keepdim=False):
        values = function(x, axis=axes(x, dim), keepdims=keepdim)
        return values, index and index(x, dim, keepdim)

    return adapter


def place(name):
    """argmax and argmin."""

    def adapter(x, dim=None, keepdim=False):
        places = getattr(x, name)(axes(x, dim))
        if not keepdim:
            return places
        refuse("keepdims of argmax over all axes", when=dim is None)
        return places.unsqueeze(dim)

    return adapter


argmax = place("argmax")


def cumsum(x, dim, dtype=None):
    refuse("an axis of a tensor without axes", when=x.ndim == 0)
    return x.cumsum(dim)


def einsum(operands, equation):
    refuse("'...' and repeated labels of einsum", when="." in equation or any(
        len(set(term)) < len(term) for term in equation.replace("->", ",").split(",")))  # fmt: skip
    return mg.einsum(equation, *operands)


def deviation(function):
    """var and std."""

    def adapter(x, dim=None, unbiased=True, keepdim=False, *, correction=None):
        ddof = int(unbiased) if correction is None else correction
        return function(x, axes(x, dim), ddof=ddof, keepdims=keepdim)

    return adapter


# --- products and windows ---


def number(value):
    return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value


def batched(function, ndim):
    """PyTorch takes an image, or a sequence, without a batch axis too; a tuple of one stands for an int."""

    def adapter(x, *args, **kwargs):
        refuse("an input without a batch axis", when=x.ndim < ndim)
        args = map(number, args)
        return function(x, *args, **{name: number(v) for name, v in kwargs.items()})

    return adapter


def max_pool2d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    refuse("return_indices", when=return_indices)
    return mg.max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool2d(x, kernel_size, stride=None, *settings, divisor_override=None, **others):
    refuse("divisor_override", when=divisor_override is not None or len(settings) > 3)
    return mg.avg_pool2d(x, kernel_size, stride or None, *settings, **others)


# --- normalization ---


def batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    refuse("batch norm without a channel axis", when=x.ndim < 2)
    if training:
        return mg.batch_norm(x, weight, bias, eps=eps)[0]
    return mg.frozen_batch_norm(x, weight, bias, mean, var, eps=eps)


def layer_norm(x, shape, weight=None, bias=None, eps=1e-5):
    refuse("negative eps", when=eps < 0)
    refuse("one value to normalize", when=math.prod(shape) == 1)
    return mg.layer_norm(x, weight, bias, ndim=len(shape), eps=eps)


def group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    refuse("negative eps", when=eps < 0)
    return mg.group_norm(x, groups, weight, bias, eps)


def instance_norm(
    x,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    refuse("instance_norm with running statistics", when=not use_input_stats)
    return mg.instance_norm(x, weight, bias, eps)


# --- losses ---


def cross_entropy(
    x, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    refuse("logits without examples", when=x.ndim < 2)
    settings = {"weight": weight, "label_smoothing": label_smoothing}
    if target.dtype.kind != "f":
        settings["ignore_index"] = ignore_index
    return mg.softmax_cross_entropy(x, target, reduction, **settings)


def binary_cross_entropy_with_logits(x, target, weight=None, reduction="mean", pos_weight=None):
    if weight is None:
        return mg.binary_cross_entropy_with_logits(x, target, reduction, pos_weight=pos_weight)
    losses = mg.binary_cross_entropy_with_logits(x, target, "none", pos_weight=pos_weight) * weight
    return losses if reduction == "none" else getattr(losses, reduction)()


def with_dtype(function):
    return lambda x, dim, dtype=None: function(
        x if dtype is None else x.astype(dtype), axes(x, dim)
    )


# --- shapes ---


def squeeze(x, dim=None):
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    gone = {d % x.ndim for d in dims if x.ndim}
    return x.reshape([n for i, n in enumerate(x.shape) if i not in gone or n != 1])


def swap(x, a, b):
    if not x.ndim:
        return x
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    return x.transpose(order) if (a, b) != (0, 1) or x.ndim != 2 else x.T


def repeat_interleave(x, repeats, dim=None, output_size=None):
    refuse("a number of repetitions for each element", when=isinstance(repeats, mg.Tensor))
    return x.reshape(1).repeat(repeats, axis=0) if not x.ndim else x.repeat(repeats, axis=dim)


def expand(x, shape):
    lead = len(shape) - x.ndim
    return x.broadcast_to(tuple(x.shape[i - lead] if n == -1 else n for i, n in enumerate(shape)))


def cat(tensors, dim=0):
    refuse("an empty tensor of another number of axes", when=len({t.ndim for t in tensors}) > 1)
    return mg.concatenate(tensors, dim)


def along(x, dim, key):
    return x[(slice(None),) * (dim % x.ndim) + (key,)]


def unbind(x, dim=0):
    return tuple(along(x, dim, i) for i in range(x.shape[dim])) if dim else tuple(x)


def split(x, sizes, dim=0):
    return x.split(sizes, dim)


def index_select(x, dim, index):
    refuse("an axis of a tensor without axes", when=x.ndim == 0)
    return along(x, dim, index)


def narrow(x, dim, start, length):
    start = int(start) % x.shape[dim]
    return along(x, dim, slice(start, start + length))


def slice_(x, dim=0, start=None, end=None, step=None):
    return along(x, dim, slice(start, end, step))


def flip(x, dims):
    flipped = {d % x.ndim for d in dims}
    return x[tuple(slice(None, None, -1 if i in flipped else 1) for i in range(x.ndim))]


def embedding(weight, index, **options):
    refuse("padding_idx, max_norm and scale_grad_by_freq of an embedding", when=options)
    return weight[index]


def pad(x, widths, mode="constant", value=0.0):
    """PyTorch's widths are flat, begin with the last axis, and may be negative."""
    refuse("negative padding", when=min(widths) < 0)
    given = list(zip(widths[::2], widths[1::2], strict=True))[::-1]
    mode = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    return mg.pad(x, [(0, 0)] * (x.ndim - len(given)) + given, value or 0.0, mode)


def softplus(x, beta=1, threshold=20):
    """PyTorch returns x itself where beta x is above the threshold."""
    return mg.where(x * beta > threshold, x, mg.softplus(x, beta))


# --- creation and dtypes ---


def created(function):
    """PyTorch's default dtype is float32 as well."""
    return lambda shape, *value, dtype=np.float32, **_: function(tuple(shape), *value, dtype=dtype)


def arange(start=0, end=None, step=1, **options):
    whole = all(isinstance(n, int) for n in (start, step, end or 0))
    return mg.arange(start, end, step, dtype=options.get("dtype", "int64" if whole else "float32"))


def to(x, *args, **_):
    """Devices and flags are PyTorch's own; a tensor stands for its dtype."""
    dtypes = [getattr(a, "dtype", a) for a in args if isinstance(a, (np.dtype, mg.Tensor))]
    return x.astype(dtypes[0]) if dtypes else x


ADAPTERS = {
    # arithmetic, by the operators
    "add": lambda a, b, alpha=1: a + alpha * b,
    "sub": lambda a, b, alpha=1: a - alpha * b,
    "rsub": lambda a, b, alpha=1: b - alpha * a,
    "mul": lambda a, b: a * b,
    "div.no_rounding_mode": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "float_power": lambda a, b: a**b,
    "__rsub__": lambda a, b: b - a,
    "__rmul__": lambda a, b: b * a,
    "__rdiv__": lambda a, b: b / a,
    "__rpow__": lambda a, b: b**a,
    "__rmatmul__": lambda a, b: b @ a,
    "neg": lambda x: -x,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    # elementwise
    "exp": mg.exp,
    "log": mg.log,
    "sqrt": mg.sqrt,
    "log1p": mg.log1p,
    "expm1": mg.expm1,
    "sin": mg.sin,
    "cos": mg.cos,
    "tanh": mg.tanh,
    "sigmoid": mg.sigmoid,
    "abs": mg.abs,
    "maximum": mg.maximum,
    "minimum": mg.minimum,
    "where": lambda a, condition, b: mg.where(condition, a, b),
    "clamp": clamp,
    "nn.functional.relu": mg.relu,
    "nn.functional.hardtanh": lambda x, min_val=-1, max_val=1: x.clip(min_val, max_val),
    "softmax": with_dtype(mg.softmax),
    "log_softmax": with_dtype(mg.log_softmax),
    # reductions
    "sum": reduction(mg.sum),
    "mean": reduction(mg.mean),
    "amax": reduction(mg.max),
    "amin": reduction(mg.min),
    "max.reduction_with_dim": extreme(mg.max, argmax),
    "min.reduction_with_dim": extreme(mg.min),
    "argmax": argmax,
    "argmin": place("argmin"),
    "prod": reduction(mg.prod),
    "logsumexp": reduction(mg.logsumexp),
    "cumsum": cumsum,
    "var": deviation(mg.var),
    "std": deviation(mg.std),
    # products
    "matmul": mg.matmul,
    "mm": mg.matmul,
    "bmm": mg.matmul,
    "mv": mg.matmul,
    "dot": mg.matmul,
    "einsum": einsum,
    "nn.functional.linear": mg.linear,
    # windows
    "nn.functional.conv1d": batched(mg.conv1d, 3),
    "nn.functional.conv2d": batched(mg.conv2d, 4),
    "nn.functional.conv_transpose2d": batched(mg.conv_transpose2d, 4),
    "nn.functional.max_pool2d": batched(max_pool2d, 4),
    "nn.functional.avg_pool2d": batched(avg_pool2d, 4),
    # normalization
    "nn.functional.batch_norm": batch_norm,
    "nn.functional.layer_norm": layer_norm,
    "nn.functional.group_norm": group_norm,
    "nn.functional.instance_norm": instance_norm,
    # losses
    "nn.functional.mse_loss": mg.mse_loss,
    "nn.functional.cross_entropy": cross_entropy,
    "nn.functional.binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    # shapes
    "reshape": mg.reshape,
    "view": lambda x, shape: x.view(shape),
    "reshape_as": lambda x, other: x.reshape(other.shape),
    "ravel": mg.ravel,
    "flatten": lambda x, start_dim=0, end_dim=-1: x.flatten(start_dim, end_dim),
    "squeeze": squeeze,
    "squeeze.multiple": squeeze,
    "unsqueeze": mg.unsqueeze,
    "transpose": swap,
    "T": lambda x: x.T,
    "permute": mg.permute,
    "broadcast_to": mg.broadcast_to,
    "expand": expand,
    "cat": cat,
    "tile": lambda x, reps: x.tile(reps),
    "repeat_interleave": repeat_interleave,
    "stack": lambda tensors, dim=0: mg.stack(tensors, dim),
    "unbind": unbind,
    "split": split,
    "split_with_sizes": split,
    "__getitem__": lambda x, key: x[key],
    "select": along,
    "narrow": narrow,
    "slice": slice_,
    "flip": flip,
    "index_select": index_select,
    "nn.functional.embedding": embedding,
    **{
        f"nn.functional.pad.{mode}": pad
        for mode in ("constant", "reflect", "replicate", "circular")
    },
    "nn.functional.gelu": mg.gelu,
    "nn.functional.silu": mg.silu,
    "nn.functional.leaky_relu": mg.leaky_relu,
    "nn.functional.softplus": softplus,
    # creation and dtypes
    "zeros": created(mg.zeros),
    "ones": created(mg.ones),
    "full": created(mg.full),
    "zeros_like": lambda x, dtype=None, **_: mg.zeros_like(x, dtype=dtype),
    "ones_like": lambda x, dtype=None, **_: mg.ones_like(x, dtype=dtype),
    "arange": arange,
    "to": to,
    "clone": mg.clone,
    "item": lambda x: x.item(),
}
