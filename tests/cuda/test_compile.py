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
