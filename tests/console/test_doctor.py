"""What ``slpd doctor`` says of a machine."""

import json

import pytest

from bundle.console import doctor
from bundle.console.doctor import MISSING, SLOW, Finding, look
from bundle.core import bfloat16


@pytest.fixture(autouse=True)
def _short_probes(monkeypatch):
    monkeypatch.setattr(doctor, "_PROBED_MB", 1)
    monkeypatch.setattr(bfloat16, "_ROUND_S", 0.01)


def test_a_machine_is_described_without_private_paths(tmp_path, capsys):
    """Packages, readers, GPU, memory, disk, locks; in JSON for a bug report, with no path in it."""
    doctor.main([str(tmp_path), "--json"])
    text = capsys.readouterr().out
    names = {finding["name"] for finding in json.loads(text)}
    assert {"Python", "versions", "OpenSlide", "memory", "disk", "file locks", "bfloat16 on the CPU"} <= names
    assert str(tmp_path) not in text and not list(tmp_path.iterdir()), "and nothing is left behind"


def test_what_is_missing_has_a_command_that_mends_it(tmp_path, monkeypatch, capsys):
    """And the status says so; what is only slow does not."""
    monkeypatch.setattr(doctor.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    found = {finding.name: finding for finding in doctor._readers()}
    assert found["OpenSlide"].state == MISSING and "pip install openslide" in found["OpenSlide"].advice
    assert found["cuCIM"].state == SLOW and "--no-deps cucim-cu13" in found["cuCIM"].advice
    monkeypatch.setattr(doctor, "look", lambda folder: [Finding("a", "b", SLOW, "c")])
    assert doctor.main([str(tmp_path)]) == 0 and "-> c" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "look", lambda folder: [Finding("a", "b", MISSING, "c")])
    assert doctor.main([str(tmp_path)]) == 1 and "1 missing" in capsys.readouterr().out


def test_a_gpu_that_torch_cannot_use_is_missing(monkeypatch):
    """Where nvidia-smi lists one and torch was built for the CPU; on a CPU alone nothing is wrong."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(doctor, "_output", lambda words: "NVIDIA H200, 580.1, 143771 MiB")
    (found,) = doctor._gpus()
    assert found.state == MISSING and "H200" in found.value and "[gpu]" in found.advice
    monkeypatch.setattr(doctor, "_output", lambda words: "")
    (found,) = doctor._gpus()
    assert found.state == doctor.GOOD


def test_a_folder_that_cannot_be_written(tmp_path):
    found = {finding.name: finding for finding in doctor._disk(tmp_path / "none")}
    assert found["disk"].state == MISSING and "slpd doctor FOLDER" in found["disk"].advice
    assert any(finding.name == "disk" and "free" in finding.value for finding in look(tmp_path))
