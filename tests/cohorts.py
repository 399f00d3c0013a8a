"""Small cohorts of token files for tests."""

from pathlib import Path

import numpy as np

from bundle.storage import TokenFileWriter
from scripts.pins.token_files import token_attributes


def write_tokens(path, n_regions=5, side=4, dim=6, dtype="float16", seed=0, **attributes):
    """Write a file of random regions in random order; its tokens (zero outside the mask), mask and coordinates."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((n_regions, side, side, dim)).astype(dtype)
    mask, coords = random.random((n_regions, side, side)) > 0.3, random.integers(0, 9999, (n_regions, 2))
    features *= mask[..., None]
    attributes = {"slide_id": Path(path).stem, "encoder": "vit sha256:aa", "mpp": 0.5, **attributes}
    with TokenFileWriter(
        path, region_patches=side, dim=dim, dtype=dtype, coords=coords, mask=mask, attributes=attributes
    ) as writer:
        for region in random.permutation(n_regions):
            writer.write(region, features[region])
    return features, mask, coords


def write_cohort(
    folder: Path, regions=(3, 4, 1, 5), dim=12, seed=0, encoder="test", labels=("a", "b", "a", "b")
) -> Path:
    """Token files with two kinds of regions a slide, and ``slide_table.csv`` beside them."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = rng.normal(size=(4, dim))
    for slide, n_regions in enumerate(regions):
        mask = np.ones((n_regions, 16, 16), bool)
        mask[:, :, :2] = False
        attributes = token_attributes(f"slide_{slide}", n_regions) | {"encoder": encoder}
        coords = np.stack([np.arange(n_regions) * 4096, np.zeros(n_regions)], 1)
        path = folder / f"slide_{slide}.h5"
        with TokenFileWriter(path, region_patches=16, dim=dim, coords=coords, mask=mask, attributes=attributes) as file:
            for region in range(n_regions):
                kind = kinds[(region + 2 * (slide % 2)) % 4]
                file.write(region, (kind + rng.normal(size=(16, 16, dim))) * mask[region, ..., None])
    rows = [f"slide_{slide},{labels[slide % len(labels)]},p{slide}" for slide in range(len(regions))]
    (folder / "slide_table.csv").write_text("\n".join(["slide,label,patient", *rows, ""]))
    return folder
