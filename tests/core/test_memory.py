"""What a container or a job may use is what there is."""

import pytest

from bundle.console import doctor
from bundle.core import available_memory, memory, total_memory

MB = 1 << 20


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Makes a system of limits: text of the process's own places, and folder -> (limit, in use)."""
    root = tmp_path / "cgroup"
    monkeypatch.setattr(memory, "_SYSTEM", root)
    monkeypatch.setattr(memory, "_OWN", tmp_path / "own")

    def made(own, limit, usage, **folders):
        (tmp_path / "own").write_text(own)
        for folder, (allowed, used) in folders.items():
            at = root.joinpath(*folder.split("_")) if folder != "root" else root
            at.mkdir(parents=True, exist_ok=True)
            (at / limit).write_text(f"{allowed}\n")
            (at / usage).write_text(f"{used}\n")
            (at / "memory.stat").write_text(f"anon 0\ninactive_file {MB}\n")

    return made


V2 = ("memory.max", "memory.current")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def test_the_tightest_level_counts(system):
    """As Slurm sets it: the job's folder, some levels below the root, of which nothing was seen."""
    system("0::/job/step\n", *V2, root=("max", MB), job=(64 * MB, 10 * MB), job_step=("max", MB), other=(MB, 0))
    assert total_memory() == 64 * MB and available_memory() == 55 * MB
    system("0::/job/step\n", *V2, job_step=(32 * MB, 32 * MB))
    assert total_memory() == 32 * MB and available_memory() == MB
    (found, *_) = doctor._memory()
    assert found.state == doctor.SLOW and found.value.startswith("0 GB, by a limit; the machine has ")


def test_version_1_has_a_folder_and_a_line_of_its_own(system):
    system("5:cpu,memory:/job\n0::/other\n", *V1, memory_job=(64 * MB, 10 * MB), memory_other=(MB, 0))
    assert total_memory() == 64 * MB and available_memory() == 55 * MB


@pytest.mark.parametrize("own", ["0::/docker/of-the-host\n", "0::/../elsewhere\n", "0::/\n", ""])
def test_in_a_container_the_root_is_its_own(system, own):
    """The path is that on the host, and leads nowhere."""
    system(own, *V2, root=(64 * MB, 10 * MB))
    assert total_memory() == 64 * MB and available_memory() == 55 * MB


def test_without_limits_it_is_the_machine_s(system):
    system("", *V2)
    assert available_memory() <= total_memory() and total_memory() > 64 * MB
