"""Compile the kernels for GPUs without having one: NVRTC needs no driver.

``cd tests && python -m cuda.nvrtc`` prints the registers of every instance, and the bytes that did not fit into them.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import re
from ctypes.util import find_library
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cuda import templates
from cuda.emulator import folder

from minigrad.kernels.cuda import OPTIONS, source

MISSING = "NVRTC (nvidia-cuda-nvrtc-cu12) is not installed"
#: compute capabilities, from Volta to Hopper
ARCHITECTURES = (70, 75, 80, 86, 89, 90)
_ENTRY = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers",
    re.DOTALL,
)
#: permitted lines of a log: ptxas's statistics, and that an architecture is old
_EXPECTED = re.compile(
    r"(ptxas +(info|\.) .*)?( +\d+ bytes stack frame.*)?|nvrtc: warning: Architectures prior to .*"
)


class Usage(NamedTuple):
    """Registers per thread of an instance, and bytes spilled to memory."""

    registers: int
    spilled: int

    def __str__(self):
        return f"{self.registers}+{self.spilled}" if self.spilled else f"{self.registers}"


class Nvrtc:
    """The compiler as a library."""

    def __init__(self, path):
        self._library = ctypes.CDLL(path)
        major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._call("Version", ctypes.byref(major), ctypes.byref(minor))
        self._call("GetNumSupportedArchs", ctypes.byref(count))
        supported = (ctypes.c_int * count.value)()
        self._call("GetSupportedArchs", supported)
        self.name, self.architectures = f"NVRTC {major.value}.{minor.value}", tuple(supported)

    def __call__(self, text, names, architecture):
        """The log, and the mangled name of each instance; no names if the compiler fails."""
        return self._compile(text, names, f"-arch=sm_{architecture}", "-Xptxas", "-v")[:2]

    def assembly(self, text, name, architecture):
        """An instance in PTX."""
        return self._compile(text, [name], f"-arch=compute_{architecture}")[2]

    def _compile(self, text, names, *more):
        program, size, lowered = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_char_p()
        self._call("CreateProgram", ctypes.byref(program), text.encode(), None, 0, None, None)
        for name in names:
            self._call("AddNameExpression", program, name.encode())
        options = [option.encode() for option in (*OPTIONS, *more)]
        given = (ctypes.c_char_p * len(options))(*options)
        failed = self._library.nvrtcCompileProgram(program, len(options), given)
        texts = []
        for what in ("ProgramLog", "PTX"):
            self._call(f"Get{what}Size", program, ctypes.byref(size))
            found = ctypes.create_string_buffer(size.value)
            self._call(f"Get{what}", program, found)
            texts.append(found.value.decode())
        lows = {}
        for name in [] if failed else names:
            self._call("GetLoweredName", program, name.encode(), ctypes.byref(lowered))
            lows[name] = lowered.value.decode()
        self._call("DestroyProgram", ctypes.byref(program))
        return texts[0], lows, texts[1]

    def _call(self, function, *args):
        if error := self._library[f"nvrtc{function}"](*args):
            raise RuntimeError(f"nvrtc{function}: error {error}")


@cache
def compiler():
    """NVRTC from its wheel or the system; None where it is not installed."""
    spec = importlib.util.find_spec("nvidia")
    wheels = [
        library
        for place in (spec.submodule_search_locations if spec else ())
        for library in Path(place).glob("*/lib/libnvrtc.so.*")
    ]
    if wheels:
        return Nvrtc(min(wheels, key=lambda path: path.suffix))  # older ones know older GPUs
    library = find_library("nvrtc")
    return Nvrtc(library) if library else None


def compiled(text, names, architecture):
    """The usage of each instance, cached in a folder. A warning is an error."""
    here = Path(__file__).read_text()
    key = "\0".join([text, *names, *OPTIONS, str(architecture), compiler().name, here])
    kept = folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if not kept.exists():
        log, found = compiler()(text, names, architecture)
        if not found or not all(_EXPECTED.fullmatch(line) for line in log.splitlines()):
            raise RuntimeError(f"{compiler().name}, sm_{architecture}: {log}")
        usage = {
            entry: (int(registers), int(stores) + int(loads))
            for entry, stores, loads, registers in _ENTRY.findall(log)
        }
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({name: usage[found[name]] for name in names}))
        part.rename(kept)
    return {name: Usage(*usage) for name, usage in json.loads(kept.read_text()).items()}


def chosen(kernel, architecture):
    """The instances to compile: all for the oldest and the newest GPUs, and of float alone for those between."""
    every = [kernel.instance(p) for p in templates.instances(kernel)]
    ends = architecture in (ARCHITECTURES[0], ARCHITECTURES[-1])
    return every if ends else [name for name in every if "<float" in name]


def report():
    """Print a table: a line per instance, a column per architecture; bytes spilled after a plus."""
    if compiler() is None:
        print(MISSING)
        return
    supported = [a for a in ARCHITECTURES if a in compiler().architectures]
    print(f"registers ({compiler().name})".ljust(52), *[f"sm_{a}".rjust(8) for a in supported])
    for kernel in templates.KERNELS:
        found = [compiled(source(kernel.file), chosen(kernel, a), a) for a in supported]
        for name in found[0]:
            usages = [usages.get(name) for usages in found]
            print(name.ljust(52), *[f"{'' if u is None else u!s:>8}" for u in usages])


if __name__ == "__main__":
    report()
