"""PyTorch's table of ops, and what of its samples was compared, for the summary."""

from __future__ import annotations

import warnings
from collections import Counter

import pytest


@pytest.fixture(scope="session")
def op_db(torch):
    """PyTorch's ``op_db`` by name. Its import warns, and changes settings of PyTorch's and hypothesis's."""
    hypothesis = pytest.importorskip("hypothesis")
    pytest.importorskip("expecttest", reason="PyTorch's own tests import it (extra: oracles)")
    profile = hypothesis.settings.get_current_profile_name()
    flags = torch.backends.disable_global_flags
    torch.backends.disable_global_flags = lambda: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.testing._internal.common_methods_invocations import op_db as ops
    finally:
        torch.backends.disable_global_flags = flags
        hypothesis.settings.load_profile(profile)
    return {op.name + (op.variant_test_name and f".{op.variant_test_name}"): op for op in ops}


def pytest_terminal_summary(terminalreporter):
    found = [
        value
        for outcome in ("passed", "failed", "xfailed")
        for report in terminalreporter.getreports(outcome)
        for name, value in report.user_properties
        if name == "op_db"
    ]
    if not found:
        return
    left_out = sum((Counter(f["left out"]) for f in found), Counter())
    terminalreporter.section("PyTorch's sample inputs")
    terminalreporter.write_line(
        f"{sum(f['ran'] for f in found)} cases compared, {left_out.total()} left out"
    )
    for reason, n in left_out.most_common():
        terminalreporter.write_line(f"{n:>5} {reason}")
