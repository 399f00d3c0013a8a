"""Every parser of foreign files against a few files that are nearly right; ``scripts/fuzz`` draws thousands."""

import os

import pytest
from hypothesis import strategies as st

from scripts.fuzzing.__main__ import all_targets
from scripts.fuzzing.drawing import Target, draw

N_DRAWS = int(os.environ.get("FUZZ_DRAWS", "5"))  # of each parser


def test_parsers_answer_with_what_they_found_or_one_clear_error(tmp_path):
    """No traceback, no hang, no memory without measure."""
    counts = {target.name: draw(target, N_DRAWS, 3, tmp_path) for target in all_targets(tmp_path / "targets")}
    assert [finding for count in counts.values() for finding in count.findings] == []
    assert len(counts) > 45 and sum(count.n_read + count.n_refused for count in counts.values()) > 4 * len(counts)


@pytest.mark.parametrize(("parse", "what"), [(lambda path: [][0], "IndexError")])
def test_what_should_not_happen_is_found(parse, what, tmp_path):
    """A traceback is a finding, with the file beside it."""
    (finding,) = draw(Target("planted", ".bin", st.just(b"x"), parse), 1, 0, tmp_path).findings
    assert (finding.target, finding.what) == ("planted", what) and open(finding.file, "rb").read() == b"x"
