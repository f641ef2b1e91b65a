"""``.ci/gpu`` without a GPU: its messages, limits, and interpretation of compute-sanitizer's output."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "gpu"
PARTS = ["quick", "suite", "sanitize", "examples", "bench", "kernels", "profile"]
PASSES, FAILS = "print('3 passed')", "print('1 failed'); raise SystemExit(1)"
HANGS = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """The script as a module, on a machine whose GPU answers."""
    loader = SourceFileLoader("ci_gpu", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("ci_gpu", loader))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, "ci_gpu", module)
    loader.exec_module(module)
    monkeypatch.setattr(module, "device", lambda out: ("Card 9000-X", ""))
    monkeypatch.setattr(module, "CUDA", str(tmp_path / "no CUDA"))
    return module


def steps(*programs, limit=30):
    """A part of these programs."""

    def run(part):
        for i, program in enumerate(programs):
            part.step(f"step {i}", [sys.executable, "-c", program])

    return limit, run


def results(out):
    return json.loads((out / "summary.json").read_text())


def test_without_a_gpu_nothing_has_passed(tmp_path):
    """CuPy is hidden where it is installed."""
    (tmp_path / "cupy.py").write_text("raise ImportError('no CuPy here')")
    run = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    expected = [f"{part}: not run: ImportError: no CuPy here" for part in PARTS]
    assert (run.returncode, run.stdout.splitlines()[-len(PARTS) :], run.stderr) == (3, expected, "")
    summary = results(tmp_path / "out")
    assert [part["status"] for part in summary.values()] == ["not run"] * len(PARTS)


def test_wrong_arguments(gpu, tmp_path, capsys):
    for arguments in (["quikc"], ["quick", "everything"]):
        with pytest.raises(SystemExit) as exit:
            gpu.main([str(tmp_path), *arguments])
        assert exit.value.code == 2
        assert f"expected {', '.join(PARTS)}" in capsys.readouterr().err


def test_parts_go_on_after_one_that_fails(gpu, monkeypatch, tmp_path, capsys):
    """And those that are run again replace their own results only."""
    table = {"quick": steps(PASSES, FAILS, PASSES), "suite": steps(PASSES)}
    monkeypatch.setattr(gpu, "PARTS", table)
    assert gpu.main([str(tmp_path)]) == 1
    quick, suite = capsys.readouterr().out.splitlines()[-2:]
    assert quick.startswith("quick: failed in ") and quick.endswith("1 failed")
    assert suite.startswith("suite: passed in ")
    table["quick"] = steps(PASSES)
    assert gpu.main([str(tmp_path), "quick"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    summary = results(tmp_path)
    assert {name: part["status"] for name, part in summary.items()} == {
        "quick": "passed",
        "suite": "passed",
    }
    assert "3 passed" in (tmp_path / "quick.log").read_text()


def test_a_part_is_stopped_at_its_limit_with_its_children(gpu, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "PARTS", {"quick": steps(HANGS, PASSES, limit=2)})
    started = gpu.time.monotonic()
    assert gpu.main([str(tmp_path)]) == 1
    assert gpu.time.monotonic() - started < 20
    assert capsys.readouterr().out.splitlines()[-1].startswith("quick: stopped after 2 s")
    child = (tmp_path / "quick.log").read_text().partition("child ")[2].split()[0]
    state = Path("/proc", child, "stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"
    assert [r["status"] for r in results(tmp_path)["quick"]["steps"]] == ["stopped", "not run"]


TOOL = """
import os, subprocess, sys
says, check = os.environ["SAYS"], sys.argv[2]
assert sys.argv[3:5] == ["--error-exitcode", "9"]
print("========= COMPUTE-SANITIZER", flush=True)
if says == "refuses":
    print("========= Error: Device not supported. Please refer to the documentation")
    sys.exit(1)
code = subprocess.run(sys.argv[5:]).returncode
summary = {"memcheck": "ERROR SUMMARY: {} errors", "racecheck": "RACECHECK SUMMARY: {} hazards displayed (0 errors)"}
if says != "nothing":
    print("=========", summary[check].format(2 if says == "errors" else 0))
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("says", "tests", "status", "words"),
    [
        ("clean", "0", 0, "sanitize: passed in "),
        ("clean", "1", 1, "sanitize: failed in "),
        ("errors", "9", 1, "sanitize: failed in "),
        ("nothing", "0", 1, "the tool does not say that it found nothing"),
        ("refuses", "0", 3, "sanitize: not run: memcheck: Error: Device not supported"),
        (None, "0", 3, "sanitize: not run: there is no compute-sanitizer"),
    ],
)
def test_the_sanitizers_word(gpu, monkeypatch, tmp_path, capsys, says, tests, status, words):
    """The stand-in runs the given program, like the tool, and prints what the test sets."""
    tool = tmp_path / "bin" / "compute-sanitizer"
    tool.parent.mkdir()
    if says is not None:
        tool.write_text(f"#!{sys.executable}\n{TOOL}")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    monkeypatch.setenv("SAYS", says or "")
    probed = f"print('{gpu.PROBED}')\nraise SystemExit({tests})"
    monkeypatch.setattr(gpu, "PROBED_PYTEST", probed)
    assert gpu.main([str(tmp_path / "out"), "sanitize"]) == status
    assert words in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("part", ["examples", "bench", "kernels", "profile"])
def test_what_a_part_runs_is_there(gpu, monkeypatch, tmp_path, part):
    """Every command's arguments are taken, and every program compiles; none is run."""
    commands = []

    def run(command, limit, log):
        commands.append(command)
        return 0, "done"

    monkeypatch.setattr(gpu, "run", run)
    monkeypatch.setattr(gpu.shutil, "which", lambda tool, path: tool)
    assert gpu.main([str(tmp_path), part]) == 0
    for command in commands:
        start = command.index(sys.executable)
        how, what, *arguments = (
            command[start + 1 :] if "-" in command[start + 1][:1] else ["", "", ""]
        )
        if how == "-c":
            compile(what, "program", "exec")
        elif how == "-m":
            module = importlib.import_module(what.replace("benchmarks", "benchmarks.__main__"))
            if hasattr(module, "parse"):
                module.parse(arguments)
    assert commands


@pytest.mark.parametrize(
    ("said", "status"),
    [("==ERROR== ERR_NVGPUCTRPERM - permission", "not run"), ("==ERROR== launch failed", "failed")],
)
def test_a_card_whose_counters_may_not_be_read(gpu, monkeypatch, tmp_path, said, status):
    monkeypatch.setattr(gpu, "run", lambda command, limit, log: (1, said))
    monkeypatch.setattr(gpu.shutil, "which", lambda tool, path: tool)
    gpu.main([str(tmp_path), "profile"])
    assert results(tmp_path)["profile"]["status"] == status


@pytest.mark.parametrize(("later", "same"), [(0.9, True), (0.8, False)])
def test_curves_of_two_backends_are_compared(tmp_path, later, same):
    for folder, accuracy in (("numpy", 0.9), ("cupy", later)):
        rows = ["seed,network,step,test_accuracy"]
        for seed in (0, 1):
            rows += [f"{seed},BN,{step},{accuracy + 0.02 * seed}" for step in (0, 10)]
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "deep_sigmoid_mlp_digits.csv").write_text("\n".join(rows))
    program = [sys.executable, SCRIPT.parent / "check_backends.py"]
    folders = [tmp_path / "numpy", tmp_path / "cupy"]
    run = subprocess.run([*program, *folders], capture_output=True, text=True)
    assert (run.returncode == 0) is same
    assert ("BN: at most 0.0000" in run.stdout) if same else ("step 0: 0.100 apart" in run.stderr)
