"""Which values a config may have for a path, a name or a number: words, and expressions that run nothing."""

import ast
import re
from collections.abc import Mapping, Set
from os import PathLike
from typing import Any

from .kinds import KIND_OF, NAMED_TEXTS, TEXT, TEXTS

_REFERENCE = "_of_"
_PLAIN = (
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
    ast.Load,
)  # fmt: skip
_CALLED = {"torch.device", "torch.cuda.is_available", "int", "dist.get_rank", "dist.get_world_size"}


def may_stand_in_config(value: Any, name: str, ids: Set[str]) -> bool:
    """Whether a value may stand in a config: nothing in it is run but the joining and choosing that configs do."""
    if isinstance(value, Mapping):
        return "_target_" not in value and all(may_stand_in_config(item, name, ids) for item in value.values())
    if isinstance(value, list | tuple):
        return all(may_stand_in_config(item, name, ids) for item in value)
    if not isinstance(value, str):
        return not isinstance(value, PathLike) and (KIND_OF[name] != TEXT or not isinstance(value, bool | int | float))
    if not value.startswith(("$", "@", "%")):
        return "::" not in value
    references = re.findall(r"@(\w*)", value)
    is_text = KIND_OF[name] in (TEXT, TEXTS, NAMED_TEXTS) and name != "device"
    if not set(references) <= ids or (is_text and not references):
        return False
    try:
        tree = ast.parse(value.removeprefix("$").replace("::", "_").replace("@", _REFERENCE), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return _is_plain(tree.body, is_text)


def _is_plain(node: ast.AST, joins_texts: bool) -> bool:
    if isinstance(node, ast.Constant):
        return not joins_texts or isinstance(node.value, str)
    if isinstance(node, ast.Name):
        return node.id.startswith(_REFERENCE)
    if joins_texts:
        is_sum = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)
        return is_sum and _is_plain(node.left, True) and _is_plain(node.right, True)  # type: ignore[attr-defined]
    if isinstance(node, ast.Pow | ast.LShift):
        return False
    if isinstance(node, ast.Call):
        is_known = ast.unparse(node.func) in _CALLED and not node.keywords
        return is_known and all(_is_plain(argument, False) for argument in node.args)
    if isinstance(node, ast.Attribute):
        return node.attr == "type" and _is_plain(node.value, False)
    if isinstance(node, ast.Subscript):
        return ast.unparse(node) == "os.environ['LOCAL_RANK']"
    return isinstance(node, _PLAIN) and all(_is_plain(child, False) for child in ast.iter_child_nodes(node))
