"""What inference is asked to look at: slides or token files, one or a folder of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cohort import SLIDE_SUFFIXES, Known, SlideRef, SlideTable
from ..core import BundleError, files_below
from ..slides import find_slides

_TOKEN_SUFFIXES = (".h5",)


@dataclass(frozen=True)
class InferenceInputs:
    """Slides or token files by slide id.

    Attributes:
        refs: sorted by relative path.
        are_slides: they are slides; else token files.
    """

    refs: list[SlideRef]
    are_slides: bool

    @property
    def slides(self) -> list[SlideRef]:
        """What has to be tokenized: nothing where the input is token files."""
        return self.refs if self.are_slides else []

    @classmethod
    def find(
        cls,
        dataset_dir: str | Path,
        table: SlideTable | None = None,
        apart_from: Sequence[str | Path] = (),
        known: Known | None = None,
        exclude: str | Path | None = None,
    ) -> InferenceInputs:
        """Look at what is there.

        Args:
            dataset_dir: a slide, a token file, or a folder of either, searched in depth.
            table: slide table; rows that match nothing are warned about.
            apart_from: folders that a run writes to; where they lie below ``dataset_dir``, what is there is no input.
            known: of slides, see :func:`~bundle.slides.find_slides`.
            exclude: file of slides to leave out, whether they or their token files are given.

        Raises:
            BundleError: nothing is there, or slides and token files at once.
        """
        root = Path(dataset_dir)
        inside = root.resolve()
        written = [f for f in (Path(folder).resolve() for folder in apart_from) if inside in f.parents]
        if root.is_file():
            return cls(find_slides(root, table, exclude=exclude), root.suffix.lower() not in _TOKEN_SUFFIXES)
        has_tokens, has_slides = (
            any(not _is_written(path, written) for path in files_below(root, suffixes, is_quiet=True))
            for suffixes in (_TOKEN_SUFFIXES, SLIDE_SUFFIXES)
        )
        if has_tokens and has_slides:
            raise BundleError(
                f"{root} holds slides and token files (.h5): name the folder of one of them as dataset_dir."
            )
        suffixes = _TOKEN_SUFFIXES if has_tokens else SLIDE_SUFFIXES
        try:
            found = find_slides(root, table, suffixes, written, None if has_tokens else known, exclude)
            return cls(found, not has_tokens)
        except BundleError as error:
            raise BundleError(f"{error} Features of other tools may be given, too (docs/importing.md).") from error


def _is_written(path: Path, written: Sequence[Path]) -> bool:
    return any(path.resolve().is_relative_to(folder) for folder in written)
