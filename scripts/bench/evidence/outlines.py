"""How much of the outline of a region's tissue can be read from the embeddings of an evaluation: ``outline.json``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bundle.core import write_text
from bundle.evaluation import RegionEncoders, SlideFeatures
from bundle.storage import TokenDataset

from ..learning.probes import outline


def main() -> None:
    """R2 of the share of tissue and of its center, for the mean token and each encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokens", type=Path, help="token files")
    parser.add_argument("evaluation", type=Path, help="output_dir of evaluating, whose embeddings are taken")
    parser.add_argument("--encoders", type=json.loads, required=True, help="JSON: weights by name")
    parser.add_argument("--seed", type=int, default=0, help="of the untrained encoder")
    options = parser.parse_args()
    dataset = TokenDataset(options.tokens, cache="none")
    encoders = RegionEncoders.load(options.encoders, dataset.token_dim, "cpu", untrained=True, seed=options.seed)
    features = SlideFeatures(dataset, encoders, options.evaluation, seed=options.seed)
    masks, slides = dataset.masks.numpy(), dataset.slide_index.numpy()
    found = {name: outline(features.regions(name).embedding, masks, slides) for name in features.names}
    write_text(options.evaluation / "outline.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
