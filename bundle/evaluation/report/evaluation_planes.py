"""Embeddings of patients in the plane of their first two principal components, by label and by site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from ..findings import Evaluation
from .evaluation_figures import COLORS, TEXT_SIZE, Key, Panel, new_axes, to_svg
from .evaluation_rows import readable

# Shape and color say the same, for readers who see no colors: Matplotlib's marker and the character for the key.
_MARKERS = (("o", "●"), ("^", "▲"), ("s", "■"), ("D", "◆"), ("v", "▼"), ("P", "✚"), ("X", "✖"))
_MANY_POINTS = 2000


def plane_panels(evaluation: Evaluation) -> dict[str, list[Panel]]:
    """Encoder -> its panels: by label (or by time and event), and by site where sites are known."""
    found = {}
    for encoder, vectors in evaluation.slide_vectors.items():
        known: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(1))
        if known.sum() < 3:
            note = "Fewer than three patients have an embedding."
            found[readable(encoder)] = [Panel("by label", "", "", [], note)]
            continue
        plane, shares = _project(vectors[known])
        labels = [_target_panel(evaluation, plane, shares, known)]
        sites = [site for site, used in zip(evaluation.sites, known, strict=True) if used]
        if any(site is not None for site in sites):
            labels.append(_site_panel(sites, plane, shares))
        found[readable(encoder)] = labels
    return found


def _project(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float64], list[float]]:
    """Coordinates [n, 2] and the share of the variance on each; a flat second axis where there is none."""
    n_components = min(2, *vectors.shape)
    pca = PCA(n_components, svd_solver="full")
    plane = np.zeros((len(vectors), 2))
    with np.errstate(invalid="ignore"):
        plane[:, :n_components] = pca.fit_transform(vectors.astype(np.float64))
    shares = np.zeros(2)
    shares[:n_components] = np.nan_to_num(pca.explained_variance_ratio_)
    return plane, shares.tolist()


def _target_panel(
    evaluation: Evaluation, plane: NDArray[np.float64], shares: Sequence[float], known: NDArray[np.bool_]
) -> Panel:
    if evaluation.task != "survival":
        classes = [evaluation.classes[int(target)] for target in evaluation.targets[known]]
        return _group_panel("by label", plane, shares, classes, evaluation.classes)
    time, event = evaluation.targets[known, 0], evaluation.targets[known, 1] > 0
    figure, axes = _plane_axes(shares)
    scale = ScalarMappable(Normalize(float(time.min()), float(time.max())), "cividis")
    colors = scale.to_rgba(time)
    across, up = plane.T
    faces = np.where(event[:, None], colors, (1, 1, 1, 0))
    axes.scatter(across, up, s=22, facecolors=faces, edgecolors=colors, linewidths=1.2, rasterized=_is_many(plane))
    bar = figure.colorbar(scale, ax=axes)
    bar.set_label("time", fontsize=TEXT_SIZE)
    bar.ax.tick_params(labelsize=TEXT_SIZE)
    keys = [Key("event", "#444444", "●"), Key("censored", "#444444", "○")]
    return Panel("by time and event", to_svg(figure), "Embeddings colored by time", keys)


def _group_panel(
    title: str, plane: NDArray[np.float64], shares: Sequence[float], groups: Sequence[str], order: Sequence[str]
) -> Panel:
    """Points in the color and shape of their group; groups that are not in ``order`` are small and gray."""
    counts = Counter(groups)
    names = [name for name in order if name in counts]
    figure, axes = _plane_axes(shares)
    keys = []
    for index, name in enumerate([*(name for name in counts if name not in names), *names], len(names) - len(counts)):
        color, marker, character = _look(index)
        across, up = plane[np.array(groups) == name].T
        size, width = (20, 0.0) if index >= 0 else (10, 0.7)
        axes.scatter(
            across, up, s=size, color=color, marker=marker, alpha=0.75, linewidths=width, rasterized=_is_many(plane)
        )
        keys.append(Key(f"{name} ({counts[name]})", color, character))
    n_gray = len(counts) - len(names)
    keys = keys[n_gray:] + keys[:n_gray]
    return Panel(title, to_svg(figure), f"Embeddings colored {title}: " + "; ".join(key.label for key in keys), keys)


def _look(index: int) -> tuple[str, str, str]:
    """Color, marker and its character; the shapes move on by one with each round of the colors: 49 looks."""
    if index < 0:
        return "#888888", *(("o", "•"), ("x", "×"))[-index % 2]
    return COLORS[index % len(COLORS)], *_MARKERS[(index + index // len(COLORS)) % len(_MARKERS)]


def _is_many(plane: NDArray[np.float64]) -> bool:
    """Whether points are to be pixels: as shapes they would make the page heavy."""
    return len(plane) > _MANY_POINTS


def _site_panel(sites: Sequence[str | None], plane: NDArray[np.float64], shares: Sequence[float]) -> Panel:
    """The largest sites in colors; the others, where there are more than can be told apart, and unknown ones gray."""
    counts = Counter(site for site in sites if site is not None).most_common()
    n_shown = len(COLORS)
    shown, n_others = [site for site, _ in counts[:n_shown]], max(len(counts) - n_shown, 0)
    others = f"{n_others} other site{'s' if n_others > 1 else ''}"
    groups = ["unknown site" if site is None else site if site in shown else others for site in sites]
    return _group_panel("by site", plane, shares, groups, sorted(shown))


def _plane_axes(shares: Sequence[float]) -> tuple[Figure, Axes]:
    first, second = (f"component {i} ({100 * share:.0f} % of variance)" for i, share in enumerate(shares, 1))
    return new_axes(first, second)
