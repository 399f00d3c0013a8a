"""Arguments that a config does not write are the ids of their names."""

import inspect
import sys

import pytest
import yaml
from monai.bundle import ConfigParser

from bundle.core import CONFIGS, FromIds, target_of
from bundle.core.from_ids import located
from scripts.pins.wiring import components


def told(width, depth=2, *, name="", **others):
    """What it was called with."""
    return {"width": width, "depth": depth, "name": name, **others}


def needs_itself(part):
    """Cannot be made by ids alone."""
    return part


def parsed(**ids):
    """A parser of a config with these ids, and one component for each of `made`."""
    imports = ["$from bundle.core.as_typed import values"]
    parser = ConfigParser({"imports": imports, "from_ids": "@imports#0", **ids})
    parser.parse()
    return parser


def part(**written):
    return {"_target_": "@from_ids", "of": f"{__name__}.told", **written}


def test_an_argument_is_the_id_of_its_name_unless_it_is_written():
    """A value, a list, an expression and another component; what is written counts, defaults stay without an id."""
    got = parsed(width=[1, 2], name="$'a' + 'b'", made=part()).get_parsed_content("made")
    assert got == {"width": [1, 2], "depth": 2, "name": "ab"}
    got = parsed(width={"_target_": f"{__name__}.told", "width": 5}, made=part(depth="@seven", more=1), seven=7)
    assert got.get_parsed_content("made") == {"width": told(5), "depth": 7, "name": "", "more": 1}


def test_a_later_value_is_the_one_that_counts():
    """As MONAI's command line and mixins do it: an id, and an argument of the component itself."""
    parser = parsed(width=1, made=part())
    parser["width"], parser["made#depth"] = 3, 4
    assert parser.get_parsed_content("made") == {"width": 3, "depth": 4, "name": ""}


def test_what_is_called_may_come_later():
    """`_mode_: callable` gives a function that takes further arguments; ids are asked for when it is called."""
    made = parsed(width=1, name="x", made=part(_mode_="callable")).get_parsed_content("made")
    assert made(depth=9) == {"width": 1, "depth": 9, "name": "x"}


def test_what_needs_itself_is_refused():
    """It would never end."""
    parser = parsed(part={"_target_": "@from_ids", "of": f"{__name__}.needs_itself"})
    with pytest.raises((ValueError, RuntimeError)) as caught:
        parser.get_parsed_content("part")
    causes, error = [], caught.value
    while error is not None:
        causes.append(str(error))
        error = error.__cause__
    assert any("needs_itself needs" in cause and "write one of them out" in cause for cause in causes)


def test_a_name_of_nothing_is_refused():
    """Otherwise MONAI would say that None is not callable."""
    with pytest.raises(ModuleNotFoundError, match=r"no class or function is called bundle\.core\.nothing"):
        FromIds({}, lambda name: None)("bundle.core.nothing")


def test_the_published_name_is_the_package_s_own():
    """MONAI Label imports this package under another name; its configs still say `bundle`."""
    assert located("bundle.core.FromIds") is sys.modules["bundle.core"].FromIds
    assert target_of({"_target_": "@from_ids", "of": "a.b"}) == "a.b" and target_of({"_target_": "a.b"}) == "a.b"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_component_is_there_and_gets_what_it_must(path):
    """None lacks an argument that has no default."""
    config = yaml.safe_load(path.read_text())
    if path.name == "two_encoders.yaml":
        config = yaml.safe_load((CONFIGS / "tokenize.yaml").read_text()) | config
    for where, name, written, taken in components(config):
        made = located(name)
        if made is None or written.get("_mode_") == "callable":  # MONAI's own, by their last names; called later
            continue
        given = {key for key in written if not key.startswith("_")} | set(taken)
        kinds = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
        for parameter in inspect.signature(made).parameters.values():
            has_default = parameter.default is not parameter.empty or parameter.kind in kinds
            assert has_default or parameter.name in given, f"{where} lacks {parameter.name}"
