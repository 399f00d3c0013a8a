"""What each id of the configs is: a text, a number, a flag or a list; and how a word of the command line becomes it."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

from .errors import BundleError, SettingError
from .settings import FORCE, as_bool, as_number, is_forced

TEXT, NUMBER, FLAG, FORCED_FLAG, WORD = "text", "number", "flag", "flag or force", "word"
TEXTS, NUMBERS, NAMED_TEXTS = "texts", "numbers", "named texts"
NOT_GIVEN = {"", "null", "None", "none"}
_NAMES_A_SLIDE = {"query"}  # which may be called None

# Each id once, with the same meaning in all configs. After the bar: ids that may be left open (null).
_IDS = {
    TEXT: "bundle_root dataset_dir output_dir index_dir head_path device title by task size wsi_reader dtype file_type "
    "centering fill_missing token_shift kmeans_backend prototype_match prototype_task prototype_center_start "
    "verify batch_within unit | model_path tokens_dir slide_table slides_dir slide_cache coords_dir exclude splits "
    "region_encoder_ckpt patch_encoder_ckpt second_encoder_ckpt encoders_file head patch_encoder second_encoder "
    "encoder head_encoder save_head label site time event censored query where harmonize center_tokens",
    NUMBER: "seed max_epochs min_epochs batch_size num_workers val_interval checkpoint_interval checkpoint_minutes "
    "nan_retries k_neighbors embed_dim depth n_heads drop_path n_registers vit_patch_size out_dim hidden_dim "
    "bottleneck_dim "
    "lr min_lr lr_warmup_epochs weight_decay weight_decay_end clip_grad freeze_last_layer_epochs n_global global_size "
    "n_local local_size student_temperature teacher_temperature warmup_teacher_temperature "
    "teacher_temperature_warmup_epochs teacher_momentum center_momentum token_shift_strength min_region_tissue "
    "n_prototypes n_neighbors min_regions prototype_warmup_epochs intra_weight inter_weight kmeans_restarts "
    "kmeans_iterations prototype_ramp_epochs sinkhorn_iterations sinkhorn_queue koleo_weight slides_per_batch "
    "mask_weight mask_share max_enlarge slide_cache_gb min_tissue min_tissue_patches mpp_tolerance snap "
    "patch_batch_size mil_max_patches n_cohort_prototypes n_bootstrap n_seeds thumbnail_px projector_regions "
    "projector_px min_prototypes n_examples n_examples_per_slide region_px max_slides sampled_patches time_budget "
    "| mpp default_mpp patch_size region_patches region_um patch_input_px second_input_px patches_per_slide prototype "
    "n_kinds",
    FORCED_FLAG: "amp",
    FLAG: "compile cuda_graph resume token_shift_region_spread skip_same_view_prototypes center_update_per_loss "
    "ordered preserve_sites untrained keep_fat overwrite head_maps attention keep_tokens same_patient index_regions "
    "prune allow_other_tokens allow_patient_overlap | encode_background",
    WORD: "cache mask_missing standardize_tokens n_folds | prototype_temperature region",  # a word, a number or a flag
    TEXTS: "features protocols formats layers | classes",
    NUMBERS: "mean std global_scale local_scale mask_ratio train_fractions | patch_mean patch_std second_mean "
    "second_std",
    NAMED_TEXTS: "encoders | slide_vectors",
}
_NEEDED = {kind: names.partition("|")[0].split() for kind, names in _IDS.items()}
_OPEN = {kind: names.partition("|")[2].split() for kind, names in _IDS.items()}
KIND_OF: dict[str, str] = {name: kind for kinds in (_NEEDED, _OPEN) for kind, names in kinds.items() for name in names}
MAY_BE_OPEN: frozenset[str] = frozenset(name for names in _OPEN.values() for name in names)


def is_not_given(name: str, word: Any) -> bool:
    """Whether a word leaves an id open that may be: ``null``, ``None``, ``none``, nothing; a slide may be called so."""
    is_open = name in MAY_BE_OPEN and not (word and name in _NAMES_A_SLIDE)
    return is_open and isinstance(word, str) and word in NOT_GIVEN


def read_word(name: str, word: str, shown: str = "") -> Any:
    """What a word that was given for an id stands for. Nothing is evaluated, and no reference is followed.

    A text is the word itself, whatever it looks like. ``null``, ``None``, ``none`` and an empty word leave an id open
    that may be, but for the name of a slide.

    Args:
        name: an id of :data:`KIND_OF`.
        word: as it was typed.
        shown: the id, as the message calls it; empty: as the command line does.

    Raises:
        SettingError: the word is nothing of the kind; the message has id, word, and the form that works.
    """
    kind = KIND_OF[name]
    if is_not_given(name, word):
        return None
    try:
        return _READERS[kind](word)
    except (BundleError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        reason = str(error) if isinstance(error, _WordError) else _FORMS[kind]
        raise SettingError(f"{shown or f'--{name}'} is {word!r}; {reason}") from None


class _WordError(ValueError):
    """A word that has a form which works; the message names it."""


def _text(word: str) -> str:
    if not word:
        raise _WordError("give a text that is not empty.")
    if word.startswith("%"):
        raise _WordError(f"MONAI takes a leading % for its own; give a path as ./{word}, and rename anything else.")
    return word


def _number(word: str) -> int | float:
    number = as_number(word, "it")
    try:
        return int(word)
    except ValueError:
        return number


def _forced_flag(word: str) -> bool | str:
    return FORCE if is_forced(word) else as_bool(word)


def _word(word: str) -> Any:
    if word.startswith(("$", "@", "%")):
        raise ValueError
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return _text(word)


def _texts(word: str) -> list[str] | str:
    """A list's items as they are written, quotes apart: ``[a,20_01]`` is two texts. No comma: the word itself."""
    if not word.startswith(("[", "(")) and "," not in word:
        return _text(word)
    body = _body(word)
    if not isinstance(body, ast.List | ast.Tuple):
        raise ValueError
    return [_written(item, word) for item in body.elts]


def _named_texts(word: str) -> dict[str, str] | str:
    if not word.startswith("{"):
        return _text(word)
    body = _body(word)
    if not isinstance(body, ast.Dict) or None in body.keys:
        raise ValueError
    names = [_written(key, word) for key in body.keys if key]
    if len(set(names)) < len(names):
        raise _WordError("a name stands there twice; give each its own.")
    return dict(zip(names, (_written(item, word) for item in body.values), strict=True))


def _numbers(word: str) -> list[int | float] | int | float:
    value = ast.literal_eval(word)
    for number in value if isinstance(value, list | tuple) else [value]:
        as_number(number, "it")
    return list(value) if isinstance(value, tuple) else value


def _body(word: str) -> ast.expr:
    body = ast.parse(word, mode="eval").body
    if (ast.get_source_segment(word, body) or "").strip("() \t") != word.strip("() \t"):
        raise ValueError  # Python takes what follows a # for a comment
    return body


def _written(item: ast.expr, word: str) -> str:
    if isinstance(item, ast.Constant) and isinstance(item.value, str):
        return _text(item.value)
    if "#" in word:
        raise ValueError  # some of it is a comment, unless all items are in quotes
    return _text(ast.get_source_segment(word, item) or "")


_READERS: Mapping[str, Callable[[str], Any]] = {
    TEXT: _text,
    NUMBER: _number,
    FLAG: as_bool,
    FORCED_FLAG: _forced_flag,
    WORD: _word,
    TEXTS: _texts,
    NUMBERS: _numbers,
    NAMED_TEXTS: _named_texts,
}
_FORMS = {
    NUMBER: "give a number.",
    FLAG: "give true or false.",
    FORCED_FLAG: "give true or false, or force.",
    WORD: "give a word or a number; expressions and references stand in config files only.",
    TEXTS: "give a list with its items in quotes: \"['one','two']\".",
    NUMBERS: "give a list of numbers: [0.25,1.0].",
    NAMED_TEXTS: "give names and texts in quotes: \"{'one':'first','two':'second'}\".",
}
