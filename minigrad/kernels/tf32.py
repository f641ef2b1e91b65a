"""Whether a GPU may round what it multiplies."""

from __future__ import annotations

from typing import Any


def allow_tf32(allow: bool = True) -> None:
    """Let float32 products and convolutions on a GPU use TF32, or forbid it again, in this process.

    TF32 is float32 with 10 bits of mantissa instead of 23: the tensor cores of NVIDIA's GPUs since Ampere (2020) round
    what they multiply to it, which is several times faster, and add in float32. Three decimal digits are left of seven.
    It is forbidden by default, as is anything else that rounds what is multiplied; the environment variable
    ``CUPY_TF32`` does not change that. What is called from then on follows, whenever CuPy is loaded; a recorded CUDA
    graph stays as it was recorded.

    It is about cuDNN's convolutions and CuPy's products of two matrices, those that other code in this process asks
    CuPy for as well; CuPy's products of stacks of matrices stay in float32. CPUs, other dtypes and older GPUs (CuPy
    then warns) compute as before.

    Parameters
    ----------
    allow : bool
        True, the default, allows it; False forbids it.

    See Also
    --------
    tf32_allowed : how it is set

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.tf32_allowed()
    False
    >>> mg.allow_tf32()
    >>> mg.tf32_allowed()
    True
    >>> mg.allow_tf32(False)
    """
    global _allowed
    for xp in _governed:
        _tell(xp, allow)
    _allowed = bool(allow)


def tf32_allowed() -> bool:
    """Whether ``allow_tf32`` has allowed it; not, unless it was called.

    Examples
    --------
    >>> import minigrad as mg
    >>> mg.tf32_allowed()
    False
    """
    return _allowed


def govern(xp: Any) -> None:
    """Have CuPy, the module, multiply as ``allow_tf32`` says from now on."""
    _tell(xp, _allowed)
    _governed.append(xp)


def _tell(xp: Any, allow: bool) -> None:
    # CuPy has no public name for it. Left alone, it would ask CUPY_TF32 at the first product.
    core = xp._core
    types = core._routines_linalg
    kind = types.COMPUTE_TYPE_TF32 if allow else types.COMPUTE_TYPE_DEFAULT
    core.set_compute_type("float32", kind)


_allowed = False
_governed: list[Any] = []
