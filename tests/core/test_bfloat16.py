"""bfloat16 on a CPU: tried, refused where it is slower, forced."""

import pytest
import torch
import yaml

from bundle.console.commands import COMMANDS
from bundle.console.words import read_words
from bundle.core import CONFIGS, BundleError, as_amp, begin, bfloat16
from bundle.core.bfloat16 import Speeds, cpu_speeds, insist_on_quick_bfloat16
from bundle.core.from_ids import taken_from_ids
from bundle.core.kinds import read_word

SLOW, QUICK = Speeds(40.0, 8.0), Speeds(40.0, 50.0)


def pretend(monkeypatch, speeds):
    """A CPU of these speeds; gives how often it was asked."""
    asked = []
    monkeypatch.setattr(bfloat16, "cpu_speeds", lambda: asked.append(1) or speeds)
    return asked


def test_the_block_is_timed_once_a_process(monkeypatch):
    """Both kinds are run, and a second question costs nothing."""
    monkeypatch.setattr(bfloat16, "_ROUND_S", 0.001)
    cpu_speeds.cache_clear()
    first = cpu_speeds()
    assert min(first) > 0 and cpu_speeds() is first
    cpu_speeds.cache_clear()


@pytest.mark.parametrize("amp", [True, "true", 1])
def test_it_is_refused_where_it_is_slower(monkeypatch, amp):
    """With both numbers and the two ways on; a run asks at its start."""
    pretend(monkeypatch, SLOW)
    with pytest.raises(BundleError, match="8 against 40 blocks a second, 0.2 times .*--amp false.*--amp force"):
        begin(amp=amp)
    pretend(monkeypatch, QUICK)
    begin(amp=amp)


@pytest.mark.parametrize(("amp", "device"), [(False, "cpu"), ("force", "cpu"), ("FORCE", "cpu"), (True, "cuda:0")])
def test_it_is_not_tried_where_nobody_asks(monkeypatch, amp, device):
    """Without amp, where it is forced, and on other devices."""
    asked = pretend(monkeypatch, SLOW)
    insist_on_quick_bfloat16(amp, torch.device(device))
    assert not asked and as_amp(amp) is (amp is not False)


def test_force_is_a_word_of_amp_alone():
    """It is read from the command line as true and false are; nothing else is taken."""
    assert [read_word("amp", word) for word in ("force", "true", "no")] == ["force", True, False]
    assert read_words(COMMANDS["train"], ["--amp", "force", "tokens"]).values == {
        "amp": "force",
        "dataset_dir": "tokens",
    }
    assert read_words(COMMANDS["train"], ["--amp", "tokens"]).values == {"amp": "true", "dataset_dir": "tokens"}
    for name, word in (("amp", "maybe"), ("resume", "force")):
        with pytest.raises(BundleError, match=f"--{name} is '{word}'"):
            read_word(name, word)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_with_amp_asks_first(path):
    """A command that took amp and did not hand it to its beginning would be slow without a word."""
    config = yaml.safe_load(path.read_text())
    if "begin" in config:
        assert config["begin"] == {"_target_": "@from_ids", "of": "bundle.core.begin"}
        assert ("amp" in taken_from_ids(begin, config, {})) == ("amp" in config)
