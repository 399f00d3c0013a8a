"""Inference as configs/inference.yaml wires it, small, for tests."""

from pathlib import Path

from monai.transforms import Compose, EnsureTyped
from region_models import write_encoder

from bundle.cohort import EMBEDDED, SlideTable
from bundle.networks import RegionDescriber, load_region_encoder
from bundle.pipelines import (
    EmbeddingSink,
    InferenceInputs,
    PatchStream,
    RegionStream,
    SlidePipeline,
    SlideRecorder,
    TokenSink,
)
from bundle.storage import read_embeddings
from bundle.training import TokenImaged

RECORD = ("n_prototypes", "min_regions", "seed", "allow_other_tokens")
NETWORK = ("attention", "amp")
SINK = ("file_type", "keep_tokens", "overwrite")
READ = ("mpp", "patch_size", "region_patches", "min_tissue_patches", "default_mpp")


def inference(
    dataset_dir, out, weights=None, network=None, table=None, make_patch_encoder=None, device="cpu", **options
):
    """A pipeline over slides or token files; ``options`` are those of its parts."""
    out = Path(out)
    weights = write_encoder(out.parent / "model.pt") if weights is None else weights
    table = SlideTable.read(table)
    tokens_dir = options.pop("tokens_dir", out / "tokens")
    inputs = InferenceInputs.find(dataset_dir, table, [out, tokens_dir])
    kinds = (RECORD, NETWORK, SINK, READ)
    parts = {names: {name: options.pop(name) for name in names if name in options} for names in kinds}
    handlers = options.pop("val_handlers", None)
    patches = PatchStream(inputs.slides, tokens_dir, table=table, batch_size=40, **parts[READ])
    encoder_file = options.pop("patch_encoder_ckpt", out.parent / "patch_encoder.pt")
    token_sink = TokenSink(overwrite=parts[SINK].get("overwrite", False), weights=encoder_file)
    tokens = SlidePipeline(device, patches, make_patch_encoder, token_sink, out / "tokenize")
    return SlidePipeline(
        device,
        RegionStream(inputs, out, tokens_dir, tokens=tokens, table=table, transform=TokenImaged(), **options),
        RegionDescriber(load_region_encoder(weights) if network is None else network, **parts[NETWORK]),
        EmbeddingSink(SlideRecorder(weights, **parts[RECORD]), **parts[SINK]),
        out,
        postprocessing=Compose([EnsureTyped(["pred", "projection"], track_meta=False)]),
        val_handlers=handlers,
    )


def statuses(out):
    """Status of each slide in the index."""
    return {row.slide: row.status for row in EMBEDDED.read(Path(out) / "slides.csv")}


def found(out, slide_id):
    """A slide's record."""
    return read_embeddings(Path(out) / "embeddings" / f"{slide_id}.h5")
