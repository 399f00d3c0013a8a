"""An evaluation as one HTML page that needs nothing else: no script, no font, no file beside it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from html import escape

import numpy as np

from ...pages import SlidePicture, html_page
from ..findings import Evaluation
from .evaluation_errors import Mistake, worst_mistakes
from .evaluation_figures import Panel, calibration_panels, roc_panels, survival_panels
from .evaluation_planes import plane_panels
from .evaluation_rows import arm_name, best_arm, metric, metric_names, readable
from .evaluation_tables import comparisons_table, confusion_tables, results_table, settings_table

_TASKS = {"classification": "Classification by", "ordinal": "Ordered classes by", "survival": "Survival by"}
_MANY_NAMES = 12


def evaluation_page(evaluation: Evaluation, title: str, picture: SlidePicture | None = None) -> str:
    """The page as text.

    Args:
        evaluation: records of a finished evaluation.
        title: heading.
        picture: slide id -> RGB uint8 [h, w, 3] (alone, or with its um/px), or None where there is no such slide.
    """
    sections = _sections(evaluation, picture)
    links = "".join(f'<a href="#part-{i}">{escape(name)}</a> ' for i, (name, _) in enumerate(sections))
    parts = "".join(f'<h2 id="part-{i}">{escape(name)}</h2>{body}' for i, (name, body) in enumerate(sections))
    top = f"<h1>{escape(title)}</h1>{_headline(evaluation)}{_warnings(evaluation)}<nav>{links}</nav>"
    return html_page(title, top + parts)


def _sections(evaluation: Evaluation, picture: SlidePicture | None) -> list[tuple[str, str]]:
    """Heading and body of each part, in the order of the page."""
    found = [("Results", results_table(evaluation)), ("Comparisons", comparisons_table(evaluation))]
    if evaluation.task == "survival":
        found.append(("Survival by predicted risk", _survival(evaluation)))
    else:
        found += [("ROC curves", _roc(evaluation)), ("Calibration", _calibration(evaluation))]
        found.append(("Confusion matrices", _confusion(evaluation)))
    found.append(("Embeddings", _planes(evaluation)))
    heading = "Patients most out of place" if evaluation.task == "survival" else "Most confident errors"
    found.append((heading, _mistakes(evaluation, picture)))
    found.append(("What the intervals mean", _meaning(evaluation)))
    return [*found, ("Settings", settings_table(evaluation.settings))]


def _headline(evaluation: Evaluation) -> str:
    n_slides = len({slide for slides in evaluation.slides for slide in slides})
    sites = {site for site in evaluation.sites if site is not None}
    counts = f"{len(evaluation.units)} patients, {n_slides} slides, "
    counts += f"{len(sites)} site{'s' if len(sites) != 1 else ''}" if sites else "sites unknown"
    task = escape(_TASKS.get(evaluation.task, evaluation.task))
    lead = f'<p class="lead">{task} <b>{escape(evaluation.label)}</b>: {counts}; {_how_split(evaluation)}</p>'
    if evaluation.task == "survival":
        n_events = int((evaluation.targets[:, 1] > 0).sum())
        return lead + f"<p>{n_events} patients had the event, {len(evaluation.units) - n_events} are censored.</p>"
    of_class = Counter(evaluation.targets.astype(int).tolist())
    names = [f"{escape(name)} ({of_class[index]})" for index, name in enumerate(evaluation.classes)]
    return lead + f"<p>Classes (patients): {', '.join(names)}.</p>"


def _how_split(evaluation: Evaluation) -> str:
    """How patients were split, and whether sites were; told from the rows themselves, not from the settings."""
    splits = evaluation.splits
    if evaluation.split_kind == "folds":
        tested = Counter(np.concatenate([split.test for split in splits]).tolist()) if splits else Counter()
        once = len(tested) == len(evaluation.units) and set(tested.values()) == {1}
        text = f"{len(splits)} folds split by patient" + (", every patient tested once." if once else ".")
    else:
        sizes = [f"{len(split.train)} patients to learn from, {len(split.test)} to test" for split in splits]
        text = f"a fixed split by patient: {'; '.join(sizes)}."
    if len({site for site in evaluation.sites if site is not None}) < 2:
        return text
    crossed = [s for s in splits if _sites(evaluation, s.train) & _sites(evaluation, s.test)]
    shared = "Sites stand on both sides of a split" if crossed else "No site stands on both sides of a split"
    return f"{text} {shared}."


def _sites(evaluation: Evaluation, rows: Sequence[int] | np.ndarray) -> set[str]:
    return {site for site in (evaluation.sites[int(row)] for row in rows) if site is not None}


def _warnings(evaluation: Evaluation) -> str:
    boxes = []
    leaks = [split.name for split in evaluation.splits if np.intersect1d(split.train, split.test).size]
    if leaks:
        text = f"Patients stand on both sides of {escape(', '.join(leaks))}: these figures are not to be used."
        boxes.append(f'<div class="box grave"><b>Leakage.</b> {text}</div>')
    for encoder, slides in evaluation.pretraining_overlap.items():
        if slides:
            text = f"{escape(readable(encoder))} was pre-trained on {len(slides)} of the slides that it is tested on: "
            text += f"{_names(slides)}. Its figures may be too good."
            boxes.append(f'<div class="box grave"><b>Pre-training overlap.</b> {text}</div>')
    if evaluation.warnings:
        items = "".join(f"<li>{escape(warning)}</li>" for warning in evaluation.warnings)
        boxes.append(f'<div class="box"><b>Warnings</b><ul>{items}</ul></div>')
    return "".join(boxes) or '<p class="quiet">No warnings.</p>'


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(escape(name) for name in names[:_MANY_NAMES])
    return shown + (f" and {len(names) - _MANY_NAMES} more" if len(names) > _MANY_NAMES else "")


def _figure(panel: Panel) -> str:
    picture = ""
    if panel.svg:
        data = base64.b64encode(panel.svg.encode()).decode()
        picture = f'<img alt="{escape(panel.alt)}" src="data:image/svg+xml;base64,{data}">'
    keys = "".join(f"<li>{_swatch(key.color, key.mark)}<span>{escape(key.label)}</span></li>" for key in panel.keys)
    legend = f'<ul class="key">{keys}</ul>' if keys else ""
    note = f'<p class="note">{escape(panel.note)}</p>' if panel.note else ""
    return f"<figure><figcaption>{escape(panel.title)}</figcaption>{picture}{legend}{note}</figure>"


def _swatch(color: str, mark: str) -> str:
    if mark in {"solid", "dashed", "dotted"}:
        return f'<i class="line" style="border-bottom-style:{mark};border-bottom-color:{color}"></i>'
    return f'<i style="color:{color}">{mark}</i>'


def _grid(panels: Sequence[Panel], kind: str = "grid") -> str:
    return f'<div class="{kind}">{"".join(map(_figure, panels))}</div>' if panels else "<p>No predictions.</p>"


def _roc(evaluation: Evaluation) -> str:
    how = "Mean over folds, ± one standard deviation as a band" if evaluation.split_kind == "folds" else "Test patients"
    more = "" if len(evaluation.classes) == 2 else "; mean over classes, one against the rest"
    if len(evaluation.classes) == 2:
        more = f"; “{escape(evaluation.classes[1])}” is positive"
    return f"<p>{how}{more}.</p>{_grid(roc_panels(evaluation))}"


def _calibration(evaluation: Evaluation) -> str:
    text = "A point on the diagonal is as sure as it is right; each stands for an equal share of the patients."
    if evaluation.split_kind == "folds":
        text += " Patients of all folds are in one diagram, for the points and for the ECE beside the names; the table "
        text += "has the mean over folds, which small folds make larger."
    return f"<p>{text}</p>{_grid(calibration_panels(evaluation))}"


def _confusion(evaluation: Evaluation) -> str:
    tables = confusion_tables(evaluation).items()
    figures = "".join(f"<figure><figcaption>{escape(name)}</figcaption>{body}</figure>" for name, body in tables)
    text = "Patients, with the most probable class as prediction; the darker, the larger the share of the true class."
    return f'<p>{text}</p><div class="flow">{figures}</div>' if figures else "<p>No predictions.</p>"


def _survival(evaluation: Evaluation) -> str:
    where = "their fold" if evaluation.split_kind == "folds" else "the test patients"
    text = f"Halves by the median risk of {where}. Kaplan-Meier curves with 95 % bands; small bars are censored "
    text += "patients, the numbers below count those still followed. The log-rank test compares the halves within each "
    text += "test set."
    return f"<p>{text}</p>{_grid(survival_panels(evaluation))}"


def _planes(evaluation: Evaluation) -> str:
    groups = plane_panels(evaluation)
    if not groups:
        return "<p>No embeddings were kept.</p>"
    text = "One point a patient, first two principal components. Where sites part more clearly than labels, the "
    text += "encoder has learned the site. Two components show little of the whole: the table decides."
    bodies = [f"<h3>{escape(name)}</h3>{_grid(panels, 'pair')}" for name, panels in groups.items()]
    return f"<p>{text}</p>{''.join(bodies)}"


def _mistakes(evaluation: Evaluation, picture: SlidePicture | None) -> str:
    arm = best_arm(evaluation)
    if arm is None:
        return "<p>No predictions.</p>"
    found = worst_mistakes(evaluation, arm, picture)
    if not found:
        return f"<p>{escape(arm_name(arm))} makes none.</p>"
    cards = "".join(_card(evaluation, mistake) for mistake in found)
    numbers = "" if evaluation.task == "survival" else "; in brackets the probability of the class"
    name = escape(metric(metric_names(evaluation)[0]).title) if evaluation.results else "figure"
    text = f"Of {escape(arm_name(arm))}: it has the best {name} of the arms drawn above{numbers}."
    return f'<p>{text}</p><div class="grid">{cards}</div>'


def _card(evaluation: Evaluation, mistake: Mistake) -> str:
    slides, site = evaluation.slides[mistake.row], evaluation.sites[mistake.row]
    picture = f'<img alt="slide of the patient" src="{mistake.picture}">' if mistake.picture else ""
    where = f"; site {escape(site)}" if site is not None else ""
    lines = f"<p><b>{escape(evaluation.units[mistake.row])}</b></p><p>{escape(mistake.text)}</p>"
    return f'<div class="card">{picture}{lines}<p class="quiet">{_names(slides)}{where}</p></div>'


def _meaning(evaluation: Evaluation) -> str:
    if evaluation.split_kind == "folds":
        text = "Were the study repeated with other patients from the same source, about 95 of 100 such intervals would "
        text += "hold the figure that models trained on this many patients reach on average. "
    else:
        text = "Were other patients from the same source tested, about 95 of 100 such intervals would hold the figure "
        text += "that this one trained model reaches on all of them. "
    if evaluation.task == "survival":
        text += "One that holds 0.5 for the c-index is compatible with guessing."
    else:
        text += "One that holds 0.5 for the AUC is compatible with guessing."
    limits = "They do not cover patients from other hospitals, stains or scanners, errors in the labels, another "
    limits += "pre-training of the encoders (other seeds), or the choice of the best row after seeing all of them."
    return f"<p>{text}</p><p>{limits}</p>"
