"""PyTorch's table of ops, and what of its samples was compared, for the summary."""

from __future__ import annotations

from collections import Counter

import pytest


@pytest.fixture(scope="session")
def op_db(torch, oracle):
    """PyTorch's ``op_db`` by name; settings of PyTorch and hypothesis that its import changes are put back."""
    settings = oracle("hypothesis").settings
    profile = settings.get_current_profile_name()
    oracle("expecttest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends, "disable_global_flags", lambda: None)
        module = oracle("torch.testing._internal.common_methods_invocations")
    settings.load_profile(profile)
    return {
        op.name + (op.variant_test_name and f".{op.variant_test_name}"): op for op in module.op_db
    }


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
