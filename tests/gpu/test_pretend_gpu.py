"""What would break on a GPU is found without one: the tests beside this file, on a pretended GPU."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

HERE = Path(__file__).parent
DEVICE = HERE.parent / "pretend_gpu"
ROOT = HERE.parents[1]

pytestmark = [
    pytest.mark.skipif(torch.version.cuda is not None, reason="torch has a real GPU to ask for, which tells more"),
    pytest.mark.skipif(sys.platform != "linux", reason="a pretended GPU is built for Linux only"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Variables under which a process has a GPU."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler: what needs a GPU was not tried on a pretended one")
    library, torch_folder = tmp_path_factory.mktemp("device") / "libpretend.so", Path(torch.__file__).parent
    paths = [f"-I{torch_folder}/include", f"-L{torch_folder}/lib", f"-Wl,-rpath,{torch_folder}/lib"]
    command = [compiler, "-std=c++20", "-fPIC", "-shared", str(DEVICE / "device.cpp"), "-o", str(library), *paths]
    done = subprocess.run([*command, "-ltorch_cpu", "-lc10"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {**os.environ, "PYTHONPATH": str(DEVICE), "PRETEND_GPU": str(library), "OMP_NUM_THREADS": "1"}


STRICT = """
import pytest, torch
from torch.nn.functional import linear

gpu, cpu = torch.ones(3, 4, device="cuda"), torch.ones(3, 4)
assert gpu.is_cuda and gpu.device == torch.device("cuda:0") and torch.equal(gpu.cpu(), cpu)
for meet in (lambda: gpu + cpu, lambda: cpu[gpu[0].long()], lambda: torch.cat([gpu, cpu]), lambda: gpu @ cpu.T):
    with pytest.raises(RuntimeError, match="cuda:0"):
        meet()
with pytest.raises(TypeError, match="numpy"):
    gpu.numpy()
torch.cuda.set_sync_debug_mode("error")
gpu.add(1).sum().square_()
cpu.to("cuda", non_blocking=True)
waits = (gpu.sum().item, gpu.cpu, gpu.nonzero, gpu.tolist, lambda: bool(gpu[0, 0] > 0), lambda: gpu[gpu > 0], cpu.cuda)
for wait in (*waits, lambda: gpu[torch.zeros(1, dtype=torch.long)], torch.cuda.synchronize):
    with pytest.raises(RuntimeError, match="synchronizing"):
        wait()
torch.cuda.set_sync_debug_mode("default")
weight = torch.arange(8.0, device="cuda").view(2, 4).requires_grad_()
with torch.autocast("cuda", torch.bfloat16):
    assert linear(gpu, weight).dtype == torch.bfloat16
linear(gpu, weight).sum().backward()
assert torch.equal(weight.grad.cpu(), torch.full((2, 4), 3.0))
print("STRICT")
"""


def test_the_pretended_gpu_is_strict(environment):
    """Tensors of two devices do not meet, NumPy gets none of them, waiting is found, autocast and gradients work."""
    done = subprocess.run([sys.executable, "-c", STRICT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "STRICT\n", done.stderr


FILES = ["test_gpu_numbers.py", "test_gpu_inference.py", "test_gpu_runs.py", "test_gpu_benchmark.py"]


@pytest.fixture(scope="module")
def pretended(environment, tmp_path_factory):
    """How the tests of these files, but for compilers and TorchScript, which are not pretended, end in one process."""
    report, paths = tmp_path_factory.mktemp("report") / "report.xml", [str(HERE / name) for name in FILES]
    kept = "not compile and not torchscript and not (every_cache and (none or memory))"  # where tokens lie is one here
    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "-q", "-k", kept]
    words = [sys.executable, "-m", "pytest", *paths, *options, f"--junitxml={report}"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert report.is_file(), done.stdout + done.stderr
    return list(ElementTree.parse(report).iter("testcase")), done.stdout[-6000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_what_needs_a_gpu_works_on_a_pretended_one(pretended, name):
    """The tests beside this one pass there, and none is skipped."""
    cases, said = pretended
    own = [case for case in cases if case.get("classname", "").endswith(Path(name).stem)]
    assert own and not any(case.findall("*") for case in own), said
