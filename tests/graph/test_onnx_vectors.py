"""The ONNX project's own test vectors for the operators that ``from_onnx`` reads.

A vector is tried if all of its operators are read. It has to pass, or to be listed with a reason; one that is listed
and passes is an error too.
"""

from __future__ import annotations

import re
import warnings
from importlib import import_module
from pkgutil import iter_modules

import numpy as np
import pytest

import minigrad as mg
from minigrad.onnx.operators import OPERATORS

onnx = pytest.importorskip("onnx", reason="the vectors come with the onnx package")

READ = {*OPERATORS, "Constant"}
#: dtypes that NumPy does not have
NARROW = "BFLOAT16|FLOAT8E.*|FLOAT4E.*|U?INT[24]"
#: of vectors, by regular expressions for their names, why they are not passed
OUT_OF_SCOPE = {
    rf"test_cast_.*_to_({NARROW})": "dtypes that NumPy does not have",
    rf"test_cast_(e8m0_)?({NARROW})_to_.*": "dtypes that NumPy does not have",
    r"test_equal_string.*": "strings",
    r"test_identity_(opt|sequence)": "optional values and sequences",
    r"test_(averagepool|maxpool|convtranspose)_[13]d.*": "windows over one or three axes",
    r"test_(maxpool_with_argmax|batchnorm.*_training_mode|.*dropout.*_mask).*": "further outputs",
    r"test_(average|max)pool_2d_.*(ceil|dilations).*": "windows that hang over, or have gaps",
    r"test_(average|max)pool_2d_(pads.*|same_.*)": "padding of over half a window, or on one side",
    r"test_averagepool_2d_precomputed_(pads|same_upper)": "means without the padding",
    r"test_div_u?int.*": "quotients of integers",
    r"test_dropout_.*_old": "operators of versions before 13",
    r"test_convtranspose_(autopad_same|kernel_shape|output_shape)": "a wanted size of the output",
    r"test_(edge|reflect|wrap)_pad": "padding by elements",
    r"test_argmax_.*_select_last_index": "the last of equals",
    r"test_clip_min_greater_than_max": "a lower bound above the upper",
    r"test_reduce_(max|min)_empty_set.*": "the extreme of no values, which minigrad refuses",
    r"test_not_\dd": "operators of version 1; those from 13 on are read",
    r"test_training_dropout(_default)?": "masks from NumPy's old generator",
}


def vectors():
    """The cases of the operators that are read; importing the package's modules generates them."""
    cases = import_module("onnx.backend.test.case.node")
    kinds = {kind.lower() for kind in READ}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in iter_modules(cases.__path__):
            if module.name.replace("_", "") in kinds:
                import_module(f"{cases.__name__}.{module.name}")
    return {
        case.name: case
        for case in sorted(cases._NodeTestCases, key=lambda case: case.name)
        if all(n.domain == "" and n.op_type in READ for n in case.model.graph.node)
    }


VECTORS = vectors()


def listed(name):
    return [pattern for pattern in OUT_OF_SCOPE if re.fullmatch(pattern, name)]


PASSING = [name for name in VECTORS if not listed(name)]


def array(value):
    """Vectors come as arrays, and some as TensorProto."""
    known = isinstance(value, (np.ndarray, np.generic))
    return np.asarray(value) if known else onnx.numpy_helper.to_array(value)


def run(name):
    """Compare with what the vector says; dtypes and shapes count."""
    case = VECTORS[name]
    model = mg.from_onnx(case.model.SerializeToString())
    for inputs, expected in case.data_sets:
        made = model(*(mg.tensor(array(x)) for x in inputs))
        made = made if isinstance(made, tuple) else (made,)
        for y, value in zip(made, expected, strict=True):
            y, value = y.numpy(), array(value)
            assert y.dtype == value.dtype
            assert y.shape == value.shape
            np.testing.assert_allclose(y, value, rtol=case.rtol, atol=case.atol)


@pytest.mark.parametrize("name", PASSING)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_it_passes(name):
    run(name)


ABSURD = (-(2**63), -3, 0, 2**16, 2**32, 2**63 - 1)


def absurd(case):
    """Copies of a model with an absurd number in one of its attributes, and its inputs; then other inputs."""
    inputs = [array(x) for x in case.data_sets[0][0]]
    for number in ABSURD:
        for i, node in enumerate(case.model.graph.node):
            for j, attribute in enumerate(node.attribute):
                changed = type(case.model)()
                changed.CopyFrom(case.model)
                found = changed.graph.node[i].attribute[j]
                if attribute.ints:
                    found.ints[0] = number
                    yield changed, inputs
                    found.ints[:] = [number] * len(found.ints)
                else:
                    found.i, found.f = number, number
                yield changed, inputs
        for i, x in enumerate(inputs):
            if x.dtype == np.int64 and x.size:
                other = [*inputs[:i], np.full_like(x, number), *inputs[i + 1 :]]
                yield case.model, other


def test_absurd_numbers_are_refused_or_cost_little():
    """Every attribute and every shape, axis and index of a vector of each operator: ValueError, or an answer."""
    most, ends = 2**22, {"ran": 0, "refused": 0}
    by_kind: dict[tuple[str, ...], str] = {}
    for name in PASSING:
        node = VECTORS[name].model.graph.node[0]
        by_kind.setdefault((node.op_type, *sorted(a.name for a in node.attribute)), name)
    for name in by_kind.values():
        for model, inputs in absurd(VECTORS[name]):
            try:
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    mg.from_onnx(model.SerializeToString(), max_bytes=most)(*map(mg.tensor, inputs))
                ends["ran"] += 1
            except ValueError:
                ends["refused"] += 1
    assert min(ends.values()) > 40


@pytest.mark.parametrize("pattern", OUT_OF_SCOPE)
def test_out_of_scope_is_what_does_not_pass(pattern):
    names = [name for name in VECTORS if re.fullmatch(pattern, name)]
    assert names, "no vector has such a name: take it off the list"
    for name in names:
        with pytest.raises((AssertionError, ValueError, TypeError)):
            run(name)


def test_they_are_counted():
    """So that they don't vanish when names or the operators that are read change."""
    assert len(PASSING) >= 350
    assert len(VECTORS) - len(PASSING) <= 135
    tried = {n.op_type for name in PASSING for n in VECTORS[name].model.graph.node}
    assert READ - tried == {"Not"}  # its vectors are of version 1; see test_onnx_import
    assert all(len(listed(name)) < 2 for name in VECTORS)
