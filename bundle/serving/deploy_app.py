"""Inference as a MONAI Deploy application: a slide in, its embeddings out. Needs the MONAI Deploy App SDK.

python deploy_app.py --input <slide or folder with one> --output <folder> --model <folder with the .pt files>
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Fragment, Operator, OperatorSpec

from ..core import BundleError
from ..networks import load_patch_encoder, load_region_encoder, weights_name
from ..slides import find_slides
from ..storage import write_embeddings
from .region_pipeline import encode_regions, insist_on_kind, load_regions, stated_settings

_log = logging.getLogger(__name__)


class RegionLoaderOperator(Operator):
    """Opens the slide of the input folder and finds its regions; ``regions`` reads their patches when iterated.

    Args:
        input_path: a slide, or a folder with one.
        reading: see :func:`~bundle.serving.region_pipeline.load_regions`.
    """

    def __init__(
        self, fragment: Fragment, *args: Any, input_path: Path, reading: dict[str, Any], **options: Any
    ) -> None:
        self.input_path, self.reading = input_path, reading
        super().__init__(fragment, *args, **options)

    def setup(self, spec: OperatorSpec) -> None:
        """One output."""
        spec.output("regions")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Once, for the first slide."""
        slides = find_slides(self.input_path)
        if len(slides) > 1:
            raise BundleError(f"{self.input_path} holds {len(slides)} slides; an application takes one at a time.")
        regions = load_regions(slides[0].path, slide_id=slides[0].slide_id, section=slides[0].section, **self.reading)
        op_output.emit(regions, "regions")


class RegionEncoderOperator(Operator):
    """Regions to the slide's embeddings, by ``patch_encoder.pt``, ``model.pt`` and its head of the model folder.

    Args:
        model_path: that folder.
        encoding: of the patch encoder, see :func:`~bundle.networks.load_patch_encoder`.
        reading: how slides are read, which must be as the weights were trained.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        model_path: Path,
        encoding: dict[str, Any],
        reading: dict[str, Any],
        **options: Any,
    ) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.patch_encoder = load_patch_encoder(model_path / "patch_encoder.pt", device=device, **encoding)
        insist_on_kind(model_path, self.patch_encoder, reading)
        self.region_encoder = load_region_encoder(model_path / "model.pt", device=device)
        self.weights = weights_name(model_path / "model.pt")
        super().__init__(fragment, *args, **options)

    def setup(self, spec: OperatorSpec) -> None:
        """Regions in, a record out."""
        spec.input("regions")
        spec.output("slide")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Encode all regions, one after the other."""
        regions = op_input.receive("regions")
        try:
            slide = encode_regions(regions, self.patch_encoder, self.region_encoder, self.weights)
            op_output.emit(slide, "slide")
        finally:
            regions.close()


class EmbeddingWriterOperator(Operator):
    """Writes ``<slide_id>.h5``, which maps, search and evaluation of this bundle read.

    Args:
        output_path: the folder.
    """

    def __init__(self, fragment: Fragment, *args: Any, output_path: Path, **options: Any) -> None:
        self.output_path = output_path
        super().__init__(fragment, *args, **options)

    def setup(self, spec: OperatorSpec) -> None:
        """A record in."""
        spec.input("slide")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write the record."""
        slide = op_input.receive("slide")
        write_embeddings(slide, self.output_path / f"{slide.slide_id}.h5")
        _log.info("slide %s: %d regions, %d prototypes", slide.slide_id, len(slide), slide.n_prototypes)


class SlideEmbeddingApp(Application):
    """Slide -> regions -> embeddings -> file; folders come from the command line or from Deploy's environment.

    Args:
        reading: settings of how slides are read; um/px and sizes that are None are as the weights say.
        encoding: what the file of the patch encoder does not say (``encoder``, a name; or ``mean``, ``std`` and
            ``input_px``), see :func:`~bundle.networks.load_patch_encoder`.
    """

    def __init__(
        self, *args: Any, reading: dict[str, Any] | None = None, encoding: dict[str, Any] | None = None, **options: Any
    ) -> None:
        self.reading = reading or {}
        self.encoding = encoding or {}
        super().__init__(*args, **options)

    def compose(self) -> None:
        """Three operators in a row."""
        folders: AppContext = Application.init_app_context(self.argv)
        once = CountCondition(self, 1)
        where, models = Path(folders.input_path), Path(folders.model_path)
        reading, encoding = stated_settings(models, self.reading, self.encoding)
        loader = RegionLoaderOperator(self, once, input_path=where, reading=reading, name="region_loader")
        encoder = RegionEncoderOperator(
            self, model_path=models, encoding=encoding, reading=reading, name="region_encoder"
        )
        writer = EmbeddingWriterOperator(self, output_path=Path(folders.output_path), name="embedding_writer")
        self.add_flow(loader, encoder, {("regions", "regions")})
        self.add_flow(encoder, writer, {("slide", "slide")})
