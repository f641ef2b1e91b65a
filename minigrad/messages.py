"""What error messages and warnings share: how they name a value of the wrong kind, and whose line they point at."""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

_PACKAGE = __name__.partition(".")[0]

#: keywords of PyTorch and NumPy, and the parameters here that do their work
KEYWORDS = {
    "dim": "axis", "dims": "axis", "keepdim": "keepdims", "correction": "ddof", "unbiased": "ddof",
    "start_dim": "start_axis", "end_dim": "end_axis", "a_min": "low", "a_max": "high", "min": "low", "max": "high",
    "steps": "num", "size": "sizes", "device": "backend", "target": "labels", "input": "logits",
    "split_size_or_sections": "sizes", "indices_or_sections": "sections",
}  # fmt: skip
#: names of PyTorch, NumPy and Keras, and what to write here
_ATTRIBUTES = {
    "minigrad.concatenate": "cat concat hstack vstack append",
    "minigrad.tensor": "array as_tensor asarray from_numpy convert_to_tensor FloatTensor LongTensor",
    "minigrad.softmax_cross_entropy": "cross_entropy nll_loss NLLLoss categorical_crossentropy "
    "sparse_categorical_crossentropy softmax_cross_entropy_with_logits",
    "minigrad.binary_cross_entropy_with_logits": "binary_cross_entropy binary_crossentropy BCELoss bce_loss",
    "minigrad.mse_loss": "mean_squared_error l2_loss MSE",
    "the functions of minigrad itself, such as minigrad.relu": "functional F",
    "minigrad.rand, minigrad.randn or minigrad.manual_seed": "random randint normal uniform seed rand_like randn_like",
    "minigrad.no_grad": "inference_mode set_grad_enabled stop_gradient",
    "minigrad.where": "masked_fill masked_fill_ select",
    "x.astype(dtype)": "float double half long int bool byte cast type to_dtype",
    "x.broadcast_to(shape)": "expand expand_as",
    "x.clip(low, high)": "clamp clamp_min clamp_max clip_by_value",
    "x.ndim": "dim ndimension rank",
    "x.size": "numel nelement",
    "x.shape": "get_shape",
    "x.T": "t mT",
    "x.unsqueeze(axis)": "expand_dims newaxis",
    "x.transpose(axes)": "movedim moveaxis",
    "x.swapaxes(a, b)": "transpose_ swapdims",
    "x.repeat(n, axis=axis)": "repeat_interleave",
    "x.max(axis)": "amax reduce_max",
    "x.min(axis)": "amin reduce_min",
    "x.sum(axis)": "reduce_sum nansum",
    "x.mean(axis)": "reduce_mean nanmean",
    "an operator, as in x + y, x @ y or x**2": "add sub subtract mul multiply div divide true_divide pow power neg "
    "negative mm bmm mv dot square reciprocal rsqrt add_ sub_ mul_ div_",
    "an index, as in x[i]": "gather take index_select narrow select_index",
    "x itself: kernels take any layout": "contiguous is_contiguous",
    "(x * x).sum().sqrt()": "norm",
    "minigrad.einsum": "outer inner tensordot",
    "minigrad.full": "full_like fill",
    "minigrad.optim.clip_grad_norm_ for gradients": "utils",
    "minigrad.optim.StepLR, and so on": "lr_scheduler",
    "minigrad.zeros": "empty empty_like",
    "minigrad.split": "chunk unbind array_split",
    "minigrad.nn.Parameter": "Parameter Variable",
    "a name, as in dtype='float32'": "float16 bfloat16 float32 float64 int8 uint8 int32 int64 bool_",
}
OTHER_NAMES = {name: ours for ours, names in _ATTRIBUTES.items() for name in names.split()}


class Size(int):
    """How many elements a tensor has, with an answer for those who call it as PyTorch's ``x.size()``."""

    __slots__ = ()

    def __call__(self, *axis: Any) -> Any:
        raise TypeError(
            "size: a Tensor's size is the number of its elements, as in NumPy; use x.shape or x.shape[axis]"
        )


def kind_of(value: Any) -> str:
    """The type of ``value``, with its package, as several share the names "Tensor" and "ndarray"; "None" for None."""
    if value is None:
        return "None"
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    return kind.__name__ if package in ("builtins", "__main__") else f"{package}.{kind.__name__}"


def not_a_tensor(value: Any) -> str:
    """What to say of ``value`` where a Tensor is expected: its kind, and the way to a Tensor."""
    says = f"expected a minigrad Tensor, got {kind_of(value)}"
    if isinstance(value, (tuple, list)) and any(hasattr(v, "lift") for v in value):
        outputs = type(value) is tuple and all(hasattr(v, "lift") for v in value)
        returns = " (batch_norm returns y, mean, var)" if outputs and len(value) == 3 else ""
        return f"{says} of {len(value)}: take one of them{returns}"
    if isinstance(value, type):
        return f"{says}: {value.__name__} is a class; call it first"
    if hasattr(value, "state_dict"):
        return f"{says}: call it with a Tensor first"
    package = type(value).__module__.partition(".")[0]
    if hasattr(value, "__dlpack__") and package not in ("numpy", "cupy"):
        return f"{says}: use mg.from_dlpack"
    numbers = isinstance(value, (int, float, list, tuple, range)) or package in ("numpy", "cupy")
    return f"{says}; wrap it with minigrad.tensor" if numbers else says


def require_numbers(name: str, **settings: Any) -> None:
    """Raise TypeError for a setting that is no Python or NumPy number, naming the function or layer ``name``."""
    for setting, value in settings.items():
        if not isinstance(value, (int, float, np.integer, np.floating)):
            hint = "; read it with .item()" if hasattr(value, "item") else ""
            raise TypeError(f"{name}: expected {setting} as a number, got {value!r}{hint}")


def require_at_least_0(name: str, **settings: Any) -> None:
    """As ``require_numbers``; ValueError for a negative number or NaN."""
    require_numbers(name, **settings)
    for setting, value in settings.items():
        if not value >= 0:
            raise ValueError(f"{name}: expected {setting} >= 0, got {value}")


def require_state(name: str, state: Any, own: Set[str] | None = None) -> None:
    """Raise unless a state that is loaded into ``name`` is a mapping, and has its ``own`` names and no others."""
    into = f"load_state_dict into {name}"
    if not isinstance(state, Mapping):
        hint = "; minigrad.load reads a file" if isinstance(state, (str, os.PathLike)) else ""
        hint = "; take its .state_dict()" if hasattr(state, "state_dict") else hint
        raise TypeError(f"{into}: expected names with their arrays, got {kind_of(state)}{hint}")
    if own is not None and (differing := sorted(own ^ state.keys())):
        raise KeyError(f"{into}: missing or unexpected {differing}")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the program that called into the package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in (_PACKAGE, "contextlib"):
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def warn_of_namesake() -> None:
    """Warn if the distribution "minigrad" is installed, another project, whose package has the same name."""
    for folder in sys.path:
        for record in Path(folder).glob("minigrad-*.dist-info/RECORD"):
            with suppress(OSError):
                if "\nminigrad/__init__.py," in f"\n{record.read_text(errors='replace')}":
                    warn(
                        f"{record.parent.stem} in {folder} is another project (or this one under its old name), whose "
                        "files mix with those of minigrad-bn: run `pip uninstall minigrad`, then install minigrad-bn "
                        "again"
                    )


def no_attribute(where: str, name: str, methods: Any = ()) -> str:
    """The message for an attribute that ``where`` lacks: what it is called here, if another library has it.

    ``methods`` are the names of the other kind, of functions for a Tensor and of a Tensor for the module.
    """
    ours = OTHER_NAMES.get(name)
    if ours is None and name in methods:
        ours = f"minigrad.{name}(x)" if where.startswith("'") else f"x.{name}"
    return f"{where} has no attribute {name!r}" + (f": use {ours}" if ours else "")


def other_keywords(function: Function) -> Function:
    """Decorate a function: a keyword that another library has for a parameter is a TypeError that names ours."""
    code = function.__code__
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    own = code.co_varnames[:count]
    others = {k: v for k, v in KEYWORDS.items() if v in own and k not in own}
    if not others:
        return function

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name in others:
                who = function.__name__.strip("_")
                raise TypeError(f"{who}: {name} is called {others[name]} in minigrad")
        return function(*args, **kwargs)

    return called  # type: ignore[return-value]


def renamed(old: str, new: str) -> Callable[[Function], Function]:
    """A decorator: the keyword ``old`` still works for the parameter ``new``, with a DeprecationWarning."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if old in kwargs:
                if new in kwargs:
                    raise TypeError(
                        f"{function.__qualname__}: {old} is the old name of {new}; got both"
                    )
                warn(f"{old} is called {new} now", DeprecationWarning)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return called  # type: ignore[return-value]

    return decorate


def old_name(old: str, new: str) -> Any:
    """A property: the attribute ``new`` under its old name, with a DeprecationWarning."""

    def warned(self: Any) -> Any:
        warn(f"{type(self).__name__}.{old} is called {new} now", DeprecationWarning)
        return self

    return property(
        lambda self: getattr(warned(self), new),
        lambda self, value: setattr(warned(self), new, value),
    )
