"""Every kernel compiles for all GPUs since Volta without warnings or register spills."""

from __future__ import annotations

import pytest
from cuda import nvrtc, templates

from minigrad.kernels.cuda import source

pytestmark = pytest.mark.skipif(nvrtc.compiler() is None, reason=nvrtc.MISSING)
#: a multiprocessor has 65,536: at least two blocks of 256 threads
REGISTERS = 128
#: bytes: ptxas spills a few float64 registers outside the loops where that admits another block
SPILLED = {True: 64, False: 0}


@pytest.fixture(params=nvrtc.ARCHITECTURES, ids="sm_{}".format)
def architecture(request):
    if request.param not in nvrtc.compiler().architectures:
        pytest.skip(f"{nvrtc.compiler().name} does not compile for sm_{request.param}")
    return request.param


@pytest.mark.parametrize("kernel", templates.KERNELS, ids=lambda kernel: kernel.name)
def test_kernels_compile_without_warnings_and_fit_into_registers(kernel, architecture):
    names = nvrtc.chosen(kernel, architecture)
    usages = nvrtc.compiled(source(kernel.file), names, architecture)
    for name, usage in usages.items():
        assert usage.registers <= REGISTERS and usage.spilled <= SPILLED["double" in name], name


@pytest.mark.parametrize(
    ("instance", "together", "alone"),
    [
        ("normalize<float, 4, Planes, 0>", 4, 3),
        ("normalize<float, 4, Columns, 0>", 4, 12),
        ("input_gradient<Half, 8, Planes, 0>", 2, 2),
        ("input_gradient<Half, 8, Columns, 0>", 2, 16),
    ],
)
def test_numbers_are_stored_16_bytes_at_a_time(instance, together, alone):
    """But for those that a channel has one each of; the compiler took vectors apart where it was left to itself."""
    text = nvrtc.compiler().assembly(source("batch_norm.cu"), instance, 90)
    assert text.count("st.global.v4.u32") == together and text.count("st.global.f32") == alone
    assert text.count("st.global") == together + alone


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("int unused = 3;", "never referenced"),
        ("int a; x[0] = a;", "used before its value is set"),
        ("x[0] = y;", "undefined"),
    ],
)
def test_a_warning_is_an_error(body, message):
    text = f"template <class T> __global__ void planted(T* x) {{ {body} x[1] = 0; }}\n"
    with pytest.raises(RuntimeError, match=message):
        nvrtc.compiled(text, ["planted<float>"], 90)
