"""What error messages and warnings share: how they name a value of the wrong kind, and whose line they point at."""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

_PACKAGE = __name__.partition(".")[0]

#: keywords of PyTorch, NumPy and Keras, and the parameters here that do their work
_KEYWORDS = {
    "axis axes": "dim dims axes perm", "keepdims": "keepdim", "ddof": "correction unbiased", "num": "steps",
    "start_axis": "start_dim", "end_axis": "end_dim", "low": "a_min min", "high": "a_max max", "stop": "end",
    "shape sizes": "size", "sizes": "split_size_or_sections", "sections": "indices_or_sections",
    "labels targets": "target", "logits prediction x": "input", "backend": "device",
    "value": "fill_value constant_values", "affine": "elementwise_affine", "lr": "learning_rate", "alpha": "rho",
    "p": "rate", "num_classes": "depth", "out_features hidden_size": "units", "bias": "use_bias",
    "weight_init": "kernel_initializer", "stride": "strides", "out_channels": "filters", "epsilon": "eps",
    "training": "is_training", "num_embeddings": "input_dim",
}  # fmt: skip
#: what to do about keywords that nothing here takes, and arguments that are given by name
_WITHOUT = {
    "nothing works in place: leave it out": "inplace", "use .to(backend) afterwards, or set_backend before": "device",
    "leave it out: sequences are (n, time, features)": "batch_first", "use minigrad.pad before": "padding_mode",
    "call model.train() or model.eval() before": "training", "use .unsqueeze(axis) afterwards": "keepdim",
    "a graph is kept by backward(create_graph=True) and by minigrad.grad, which frees nothing": "retain_graph",
    "x.max(axis=1) gives the values, x.argmax(1) the indices, and minigrad.maximum(x, y) the larger of two": "max min",
    "x.flatten(start_axis, end_axis) joins other axes": "Flatten start_dim end_dim",
    "leave it out": "num_workers pin_memory map_location weights_only", "go backward before step()": "closure step",
    "call a function on the result": "activation", "use y.T": "transpose_b",
}  # fmt: skip
#: names of PyTorch, NumPy and Keras, and what to write here
_ATTRIBUTES = {
    "minigrad.concatenate": "cat concat hstack vstack append",
    "minigrad.tensor": "array as_tensor asarray from_numpy convert_to_tensor FloatTensor LongTensor new_tensor",
    "minigrad.softmax_cross_entropy": "cross_entropy nll_loss NLLLoss categorical_crossentropy "
    "sparse_categorical_crossentropy softmax_cross_entropy_with_logits sparse_softmax_cross_entropy_with_logits",
    "minigrad.binary_cross_entropy_with_logits": "binary_cross_entropy binary_crossentropy BCELoss bce_loss",
    "minigrad.mse_loss": "mean_squared_error l2_loss MSE", "abs(x - y).mean()": "L1Loss l1_loss",
    "minigrad.nn": "keras", "the functions of minigrad itself, such as minigrad.relu": "functional F",
    "minigrad.rand, minigrad.randn, or minigrad.tensor of numpy.random's": "random randint randperm normal uniform "
    "rand_like randn_like bernoulli multinomial", "minigrad.manual_seed": "seed set_random_seed",
    "minigrad.detect_anomaly": "set_detect_anomaly", "minigrad.full": "full_like fill",
    "minigrad.no_grad": "inference_mode set_grad_enabled stop_gradient enable_grad is_grad_enabled",
    "minigrad.where": "masked_fill masked_fill_ select", "x.shape": "get_shape", "x.T": "t mT", "x.clone()": "copy",
    "x.astype(dtype)": "float double half long int bool byte cast type to_dtype type_as",
    "x.broadcast_to(shape)": "expand expand_as", "x.ndim": "dim ndimension rank", "x.size": "numel nelement",
    "x.clip(low, high)": "clamp clamp_min clamp_max clip_by_value", "x.unsqueeze(axis)": "expand_dims newaxis",
    "x.transpose(axes)": "movedim moveaxis", "x.swapaxes(a, b)": "transpose_ swapdims",
    "x.repeat(n, axis=axis)": "repeat_interleave", "x.max(axis=axis)": "amax reduce_max values",
    "x.min(axis=axis)": "amin reduce_min", "x.argmax(axis)": "indices", "x.sum(axis)": "reduce_sum nansum",
    "x.mean(axis)": "reduce_mean nanmean", "x.min() of a mask": "all", "x.max() of a mask": "any",
    "an operator, as in x + y, x @ y or x**2": "add sub subtract mul multiply div divide true_divide pow power neg "
    "negative mm bmm mv dot square reciprocal rsqrt add_ sub_ mul_ div_ eq ne gt lt ge le logical_and",
    "an index, as in x[i]": "gather take index_select narrow select_index masked_select", "x.detach()": "detach_",
    "x itself: kernels take any layout": "contiguous is_contiguous", "(x * x).sum().sqrt()": "norm",
    "minigrad.einsum": "outer inner tensordot", "minigrad.optim.clip_grad_norm_, or minigrad.data.DataLoader": "utils",
    "minigrad.optim.StepLR, and so on": "lr_scheduler", "minigrad.zeros": "empty empty_like new_zeros",
    "minigrad.split": "chunk unbind array_split", "minigrad.nn.Parameter": "Parameter Variable",
    "a name, as in dtype='float32'": "float16 bfloat16 float32 float64 int8 uint8 int32 int64 bool_",
    "requires_grad = True, or False, of each Tensor": "requires_grad_", "minigrad.jit": "compile function",
    "x.copy_(value) under minigrad.no_grad()": "zero_ fill_",
    "a backend's name, as in x.to('cupy')": "is_cuda cuda device backends",
    "minigrad.grad": "func vmap retain_grad register_hook gradients GradientTape", "minigrad.op.Op": "Function",
    "minigrad.nn.Linear": "Dense", "minigrad.nn.BatchNorm": "BatchNormalization", "minigrad.log_softmax": "LogSoftmax",
    "minigrad.nn.GlobalAvgPool2d": "AdaptiveAvgPool2d GlobalAveragePooling2D",
    "minigrad.nn.InstanceNorm": "InstanceNorm1d InstanceNorm2d", "a Module's forward": "Lambda Activation Reshape",
    "minigrad.data.DataLoader of arrays": "DataLoader TensorDataset Dataset datasets MNIST",
    "minigrad.layers": "AUTO_REUSE variable_scope trainable_variables zeros_initializer ones_initializer",
    "weight_init=nn.init.he_normal or he_uniform of the layer": "kaiming_normal_ kaiming_uniform_",
    "weight_init=nn.init.glorot_normal or glorot_uniform of the layer": "xavier_uniform_ xavier_normal_",
    "optimizer.lr in a loop of your own": "ReduceLROnPlateau LambdaLR MultiStepLR LinearLR OneCycleLR",
    "the functions, which run at once": "Session placeholder global_variables_initializer get_collection",
    "minigrad.optim": "optimizers train", "minigrad.capture(model, x).to_onnx(path)": "onnx",
}  # fmt: skip
#: the same for attributes of modules, optimizers and schedules
_OF_OBJECTS = {
    ".layers, a list": "append extend insert pop add add_module", "the dtype of its layers": "half double float dtype",
    "an attribute, as in self.name = nn.Buffer(values)": "register_buffer register_parameter register_module",
    "named_modules()": "children named_children", "for module in model.modules(), a loop": "apply",
    "named_parameters()": "weights trainable_variables trainable_weights get_parameter",
    "p.requires_grad = False for each of parameters()": "requires_grad_ trainable",
    "all groups at first": "add_param_group",
    "a loop of your own, as examples/training_template.py": "compile fit evaluate predict minimize apply_gradients",
    "minigrad.summary(model, x)": "summary count_params", "lr": "learning_rate", "get_last_lr()": "get_lr",
    "minigrad.save and .state_dict()": "save save_weights get_weights", "steps": "last_epoch",
    "minigrad.load and .load_state_dict()": "load_weights set_weights", "num_batches": "num_batches_tracked",
    "a parameter's backend": "device", "a new layer": "reset_parameters reset_running_stats",
}  # fmt: skip
KEYWORDS, WITHOUT, OTHER_NAMES, OF_OBJECTS = (
    {name: ours for ours, names in table.items() for name in names.split()}
    for table in (_KEYWORDS, _WITHOUT, _ATTRIBUTES, _OF_OBJECTS)
)


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


def no_attribute(where: str, name: str, names: Mapping[str, str] = OTHER_NAMES) -> str:
    """The message for an attribute that ``where`` lacks: what it is called here, or where it is found."""
    in_place = re.match("[a-z].*_$", name) and name not in names
    ours, of = names.get("zero_" if in_place else name), where.split("'")[1]
    if ours is None and names is OTHER_NAMES and name[0] != "_":
        tensor, rooms = of == "Tensor", ("",) if of == "Tensor" else ("", ".nn", ".optim")
        modules = [vars(sys.modules.get(f"{_PACKAGE}{room}", sys)) for room in rooms]
        found = [(m["__name__"], n) for m in modules for n in m.get("__all__", ())]
        alike = [f"{m}.{n}{'(x)' * tensor}" for m, n in found if n.lower() == name.lower()]
        if alike:
            ours = " or ".join(alike)
        elif name in dir(modules[0].get("Tensor")):
            ours = f"x.{name}"
        elif name in np.__all__:
            ours = f"numpy.{name}" + ", on x.numpy(), without gradients" * callable(
                getattr(np, name)
            )
    return f"{where} has no attribute {name!r}" + (
        f": use {ours}" if ours else f"; dir({of}) lists all"
    )


def missing(module: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module: what a name that it lacks is called here."""

    def __getattr__(name: str) -> Any:
        raise AttributeError(no_attribute(f"module {module!r}", name))

    return __getattr__


class MissingModules:
    """The finder that is asked last: names what is a module in other libraries, such as ``nn.functional``."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        where, _, last = name.rpartition(".")
        imports = path is getattr(sys.modules.get(where), "__path__", "")  # else somebody searches
        if where.partition(".")[0] == _PACKAGE and imports:
            raise ModuleNotFoundError(no_attribute(f"module {where!r}", last))


sys.meta_path.append(MissingModules)


def explained(function: Function, title: str = "") -> Function:
    """Decorate a function: for arguments that it doesn't take, raise a TypeError that says what it takes."""

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            name = type(args[0]).__name__ if title == "__init__" else title or function.__name__
            explain(error, function, name.strip("_"))
            raise

    return called  # type: ignore[return-value]


def explain(error: TypeError, function: Callable[..., Any], title: str) -> None:
    """Raise a TypeError that says what ``function`` takes, if ``error`` is Python's for the arguments of its call."""
    said = str(error).removeprefix(f"{function.__qualname__}() ")
    if said == str(error):
        return
    own = [name for name in inspect.signature(function).parameters if name != "self"]
    word = (re.findall(r"keyword argument '(\w+)'", said) or [title])[0]  # title: positional ones
    for name in KEYWORDS.get(word, "").split():
        if name in own:
            raise TypeError(f"{title}: {word} is called {name} in minigrad") from None
    expected = "; ".join([", ".join(own) or "none", *filter(None, [WITHOUT.get(word)])])
    raise TypeError(f"{title}: {said}, expected {expected}") from None


class Explained:
    """Base class: constructors and attributes that other libraries have get an answer."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        own = vars(cls).get("__init__")
        if cls.__init__ is object.__init__:
            own = lambda self: super(cls, self).__init__()  # noqa: E731 to the next of several bases
        if own and cls.__module__.startswith(f"{_PACKAGE}."):
            cls.__init__ = explained(own, "__init__")  # type: ignore[method-assign]

    if not TYPE_CHECKING:  # for which all attributes would exist

        def __getattr__(self, name: str) -> Any:
            where = f"{type(self).__name__!r} object"
            norm = {"weight": "gamma", "bias": "beta"} if "gamma" in vars(self) else {}
            raise AttributeError(no_attribute(where, name, OF_OBJECTS | norm))


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
