"""Unknown ids are refused, flags are read, and user errors are one message."""

import sys

import pytest

from bundle.core import BundleError, as_bool
from bundle.core.command_line import _say_user_errors_plainly, check_command_line, user_error


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("batch_size: 4\nregion_encoder_ckpt: model.pt\ntrain:\n  trainer: 1\n")
    return str(path)


@pytest.mark.parametrize(
    "words",
    [["--batch_size", "3"], ["--batch_size=3"], ["--train::trainer", "2"], ["--train#trainer=2"], ["--meta_file", "m"]],
)
def test_known_ids_pass(config, words):
    """Ids of the config, nested ones and MONAI's own arguments are accepted."""
    assert check_command_line(["training", "--config_file", config, *words]) is None


def test_an_unknown_id_is_refused_with_the_nearest_known_one(config):
    """A typing error used to change nothing and say nothing."""
    with pytest.raises(BundleError, match="--batchsize is no id of .*did you mean --batch_size"):
        check_command_line(["training", "--config_file", config, "--batchsize", "3"])


def test_weights_are_not_left_open_where_a_config_needs_them(config):
    """`--region_encoder_ckpt null` used to be a file called null; without weights inference has nothing to do."""
    with pytest.raises(BundleError, match="--region_encoder_ckpt is 'null', and nothing can be done without"):
        check_command_line(["--config_file", config, "--region_encoder_ckpt", "null"])
    assert check_command_line(["--config_file", config, "--region_encoder_ckpt", "x.pt"]) is None


def test_weights_of_a_file_of_arguments_count(config, tmp_path):
    """They used to be taken for left open, whatever they were."""
    path = tmp_path / "args.yaml"
    path.write_text("region_encoder_ckpt: x.pt\n")
    assert check_command_line(["--config_file", config, "--args_file", str(path)]) is None
    path.write_text("region_encoder_ckpt: null\n")
    with pytest.raises(BundleError, match="--region_encoder_ckpt is 'null', and nothing can be done without"):
        check_command_line(["--config_file", config, "--args_file", str(path)])


def test_ids_of_mixins_count(config, tmp_path):
    """A list of config files, as Fire reads it, is one set of ids."""
    mixin = tmp_path / "mixin.yaml"
    mixin.write_text("rank: 0\n")
    assert check_command_line([f"--config_file=['{config}','{mixin}']", "--rank", "1"]) is None
    with pytest.raises(BundleError, match="known ids: batch_size, rank, region_encoder_ckpt, train"):
        check_command_line([f"--config_file=['{config}','{mixin}']", "--zzz", "1"])


def test_a_user_error_is_found_under_what_wraps_it(capsys):
    """MONAI wraps errors of components; the message that reaches the user is ours, without a traceback."""
    try:
        try:
            raise BundleError("no slide in there")
        except BundleError as error:
            raise RuntimeError("Failed to instantiate component") from error
    except RuntimeError as wrapped:
        assert str(user_error(wrapped)) == "no slide in there"
        _say_user_errors_plainly(RuntimeError, wrapped, wrapped.__traceback__)
    assert capsys.readouterr().err == "\nStopped: no slide in there\n"


def test_other_errors_keep_their_traceback(capsys, monkeypatch):
    """Our own mistakes are not hidden."""
    seen = []
    monkeypatch.setattr(sys, "__excepthook__", lambda *error: seen.append(error[1]))
    error = ValueError("ours")
    _say_user_errors_plainly(ValueError, error, None)
    assert seen == [error]


def test_true_and_false_in_all_their_forms():
    """Everything that MONAI's command line may make of them: `--resume false` arrives as a truthy string. A word that
    means neither is not guessed at."""
    assert all(as_bool(word) is True for word in (True, "true", "True", 1, "1", "yes"))
    assert all(as_bool(word) is False for word in (False, "false", "False", 0, "0", "no", None))
    with pytest.raises(BundleError, match="'maybe' is no yes-or-no value"):
        as_bool("maybe")
