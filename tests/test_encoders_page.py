"""docs/encoders.md says of each model what the registry says, and with whose code its network was compared."""

import re
import runpy
from pathlib import Path

import pytest
import torch
import yaml
from encoder_files import own_file

from bundle.networks import VIT_ARCHITECTURES, PatchViT, load_patch_encoder, registry

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "encoders.md"


def rows() -> list[str]:
    """The table's rows, a model each; the page's are replaced by these where they differ."""
    yardsticks = runpy.run_path(str(ROOT / "tests" / "networks" / "test_vit_yardsticks.py"))
    return [_row(contract, yardsticks) for contract in registry().values()]


def _row(contract, yardsticks) -> str:
    numbers = ("unknown", "unknown")
    if contract.mean is not None:
        numbers = tuple(" ".join(f"{value:.4g}" for value in values) for values in (contract.mean, contract.std))
    px = "unknown" if contract.input_px is None else str(contract.input_px)
    px += "" if contract.resize_px is None else f" of {contract.resize_px}"
    mpp = "" if contract.mpp is None else "-".join(f"{value:g}" for value in dict.fromkeys(contract.mpp))
    gated = {True: "yes", False: "no", None: "unknown"}[contract.gated]
    network = "program only"
    if contract.name in VIT_ARCHITECTURES:
        by = next((k for k in ("TIMM", "TRANSFORMERS") if contract.name in yardsticks[k]), None)
        network = f"own, compared with {by.lower() if by else 'its equations'}"
    cells = [contract.name, str(contract.dim), px, contract.interpolation or "unknown", mpp or "unknown", *numbers]
    cells += [contract.output, contract.license or "unknown", gated, f"`{contract.repository}`", network]
    return f"| {' | '.join(cells)} |"


def test_the_table_is_the_registry():
    """Dimension, px, um/px, numbers, license and source of every model are those that runs use."""
    found = [line for line in PAGE.read_text().splitlines() if re.match(r"\| [a-z0-9.-]+ \| \d+ \|", line)]
    assert found == rows()


def test_the_encoder_of_the_page_works(tmp_path):
    """ "My own encoder": the page's YAML is one, and makes bare weights an encoder."""
    block = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    entries = yaml.safe_load(block)
    (tmp_path / "my.yaml").write_text(block)
    contract = registry(tmp_path / "my.yaml")["my-encoder"]
    assert len(block.splitlines()) <= 10 and contract.mean == (0.7, 0.55, 0.68) and len(entries) == 1
    torch.save(torch.load(own_file(tmp_path / "own.pt"))["teacher"], tmp_path / contract.files[0])
    with pytest.raises(Exception, match="not my-encoder: its weights have dim 12, my-encoder has 384"):
        load_patch_encoder(tmp_path / contract.files[0], 224, encoders_file=tmp_path / "my.yaml")
    torch.save(PatchViT(dim=384, depth=1, n_heads=6).state_dict(), tmp_path / contract.files[0])
    encoder = load_patch_encoder(tmp_path / contract.files[0], 256, encoders_file=tmp_path / "my.yaml", mpp=0.4)
    tokens = encoder(torch.full((2, 3, 256, 256), 100, dtype=torch.uint8))
    assert encoder.contract == contract and tokens.shape == (2, 384) and tokens.isfinite().all()


def test_the_program_of_the_page_works(tmp_path, monkeypatch):
    """ "My own encoder" that is no ViT: the page's line of TorchScript makes a file that tokenizes."""
    line = re.search(r"`(torch\.jit\.script\(network\)[^`]*)`", PAGE.read_text())[1]
    monkeypatch.chdir(tmp_path)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, 4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    exec(line, {"torch": torch, "network": network})
    assert load_patch_encoder("my_encoder.pt", 224, mean=0.5, std=0.5).dim == 8
