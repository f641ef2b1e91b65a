"""Compile functions that only compiled functions call: code to be linked, and no machine code of its own.

Numba makes each function it compiles ready to be called by itself. Of a kernel's inner functions that is about a third
of the time, and lost: the kernel links their code, and it is optimized and translated with the kernel's own.
"""

from __future__ import annotations

from typing import Any

from numba import _dynfunc  # type: ignore[attr-defined,unused-ignore]
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering


class _Code(JITCodeLibrary):  # type: ignore[misc,unused-ignore]
    """A function's code and what it calls, to be linked only."""

    def _optimize_final_module(self) -> None:
        """Leave that to the kernels."""

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):  # type: ignore[misc,unused-ignore]
    _name = "lowering_for_linking"

    def run_pass(self, state: Any) -> bool:
        target, function = state.targetctx, state.func_id
        state.library = _Code(target.codegen(), function.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        found = state["cr"]
        # Python cannot call it: Numba looks for an object that stands for the function.
        empty = _dynfunc.make_function(
            function.func, function.func_name, "", 0, found.env, (state.library,)
        )
        target.insert_user_function(empty, found.fndesc, [state.library])
        state["cr"] = found._replace(cfunc=empty)
        return True


class Inner(CompilerBase):  # type: ignore[misc,unused-ignore]
    """Numba's compiler with this way to lower a function."""

    def define_pipelines(self) -> list[Any]:
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [
            (_Lowering if step is NativeLowering else step, title) for step, title in manager.passes
        ]
        manager.finalize()
        return [manager]
