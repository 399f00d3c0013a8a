"""A saved head as one more question of a viewer."""

import json

import numpy as np
import pytest
from fitted_heads import made_up_record
from slide_embeddings import made_up_slide

from bundle.core import BundleError
from bundle.heads import name_key, save_head
from bundle.serving.head_answers import head_questions
from bundle.serving.label_settings import LabelSettings

WHOLE = {"location": [0, 0], "size": [0, 0]}


def saved(folder, classes, **options):
    """A head that looks at the first value of a region."""
    weight = np.zeros((max(1, len(classes)), 24))
    weight[-1, 0] = 1.0
    tensors = {"mean": np.zeros(24), "weight": weight, "bias": np.zeros(len(weight))}
    save_head(made_up_record("linear" if classes else "cox", classes, 24, **options), tensors, folder / "h.safetensors")
    return folder / "h.safetensors"


def test_a_head_answers_for_the_slide_and_its_regions(tmp_path):
    """Probabilities of the slide and of each region of the box, rectangles in the classes' colors, as JSON."""
    slide = made_up_slide()
    questions = head_questions(saved(tmp_path, ["a", "b"], slides=[name_key(slide.slide_id)]))
    assert list(questions) == ["head_prediction"] and questions["head_prediction"].labels == ["a", "b"]
    answer = json.loads(json.dumps(questions["head_prediction"].answer(slide, WHOLE)))
    mean = float(slide.features[:, 0].mean())
    assert answer["probabilities"]["b"] == pytest.approx(1 / (1 + np.exp(-mean)), abs=1e-5)
    assert answer["prediction"] == ("b" if mean > 0 else "a") and answer["seen_in_training"] is True
    assert [region["prediction"] for region in answer["regions"]] == ["ab"[int(v > 0)] for v in slide.features[:, 0]]
    drawn = {each["label"]: len(each["contours"]) for each in answer["annotation"]["elements"]}
    assert drawn == {"a": int((slide.features[:, 0] <= 0).sum()), "b": int((slide.features[:, 0] > 0).sum())}
    size = int(slide.region_size_level0)
    box = {"location": [0, 0], "size": [size, size]}
    assert len(questions["head_prediction"].answer(slide, box)["regions"]) == 1


def test_risks_are_answered_and_other_slides_refused(tmp_path):
    """A head of risks says them; a slide of another encoder is refused with both named."""
    answer = head_questions(saved(tmp_path, []))["head_prediction"].answer(made_up_slide(), WHOLE)
    assert answer["prediction"] in ("Risk low", "Risk high") and answer["risk"] == pytest.approx(
        float(made_up_slide().features[:, 0].mean()), abs=1e-5
    )
    foreign = made_up_slide(region_encoder="x sha256:7")
    with pytest.raises(BundleError, match="x sha256:7"):
        head_questions(saved(tmp_path, ["a", "b"]))["head_prediction"].answer(foreign, WHOLE)


def test_the_server_takes_a_head_by_its_name(tmp_path):
    """`--conf head FILE` is a setting; without it there is no question, and one that is missing is told."""
    (tmp_path / "models").mkdir()
    for name in ("model.pt", "patch_encoder.pt"):
        (tmp_path / "models" / name).write_bytes(b"")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.yaml").write_text("")
    path = saved(tmp_path, ["a", "b"])
    assert LabelSettings.read(tmp_path, tmp_path, {"head": str(path)}).head == path
    assert LabelSettings.read(tmp_path, tmp_path, {}).head is None and head_questions(None) == {}
    with pytest.raises(BundleError, match="there is no head"):
        head_questions(tmp_path / "none.safetensors")
