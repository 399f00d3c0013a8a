"""The answers of a search as files and as a page: complete, escaped, self-contained, bounded, readable on a phone."""

import csv
import json
import re

import numpy as np
import pytest
from browser import NASTY, assert_fits, screenshot

from bundle.core import BundleError
from bundle.explore import NeighborsFiles, NeighborsReport
from bundle.explore.search.answer import PrototypePair, RegionPlace, SearchAnswer, SimilarRegions, SimilarSlide

SCALE = [i / 100 for i in range(101)]


def place(slide, number):
    return RegionPlace(slide, 4096 * number, 1024, 4096.0, 0.9 - 0.01 * number)


def make_answer(query="query", n_neighbors=3, **options):
    """Neighbors with three pairs each."""
    neighbors = []
    for rank in range(n_neighbors):
        name = f"slide_{rank}"
        pairs = [
            PrototypePair(
                k, 2 - k, 0.8 - 0.1 * k, 0.5 - 0.1 * k, 0.003, [place(query, k), place(query, k + 3)], [place(name, k)]
            )
            for k in range(3)
        ]
        neighbors.append(
            SimilarSlide(name, 0.75 - 0.05 * rank, {"slide": name, "site": "AB"[rank % 2]}, pairs, 3 + rank)
        )
    about = {"values": {"label": "nested"}, "n_compared": 40, "n_prototypes": 3, "scale": SCALE, "where": "site=A|B"}
    return SearchAnswer(query, "sets", neighbors=neighbors, **(about | options))


def make_region_answer():
    found = [place("slide_1", 4), place(NASTY, 5)]
    groups = [SimilarRegions(place("query", n), found) for n in range(2)]
    return SearchAnswer("query", "regions", regions=groups, found_values={"slide_1": {"site": "A"}}, n_compared=9)


def picture(slide_id, x, y, size):
    """A tile whose color tells its place; slides ending in 2 are not at hand."""
    if slide_id.endswith("2"):
        return None
    return np.full((64, 64, 3), (200, int(x / 4096) * 20 % 256, 90), np.uint8)


def write(folder, answers, **options):
    return NeighborsReport(folder, **options)(answers).read_text(encoding="utf-8")


def test_the_page_says_what_was_found(tmp_path):
    """Neighbors in order with similarity and table, each pair with its cosine and shares, pictures of both sides."""
    page = write(tmp_path, [make_answer()], pictures=picture)
    names = re.findall(r"</span> (slide_\d), similarity (0\.\d{3}) <span class=\"rank\">more than (\d\d) %", page)
    assert names == [("slide_0", "0.750", "75"), ("slide_1", "0.700", "70"), ("slide_2", "0.650", "65")]
    assert page.count("cosine 0.800") == 3 and "Prototypes 2 and 2" in page and "Prototypes 1 and 3" in page
    assert "query: 50 % of its tissue" in page and "slide_0: below 1 % of its tissue" in page
    assert "label <b>nested</b>" in page and "site <b>B</b>" in page
    assert (
        "40 slides" in page and "limited to site=A|B" in page and "0.500, and for 90 % of pairs 0.050 to 0.950" in page
    )
    assert page.count("<img") == 3 * 3 * 2 + 2 * 3  # slide_2 is not at hand
    assert "3 regions without a picture" in page
    assert re.findall(r"Only 3 of (\d) prototypes have a match", page) == ["4", "5"]
    assert "at 4096, 1024" in page  # the place of a region without a picture
    assert all("alt=" in tag for tag in re.findall(r"<img[^>]*>", page))


def test_a_search_by_regions_shows_them_side_by_side(tmp_path):
    """The region that was searched for, then what was found with slide and similarity."""
    page = write(tmp_path, [make_region_answer()], pictures=picture)
    assert page.count("searched for</figcaption>") == 2 and page.count("slide_1, <b>0.860</b>") == 2
    assert "the regions of 9 slides" in page and page.count("<img") == 6


def test_nothing_of_the_users_is_taken_for_html(tmp_path):
    """Slide ids, table values and filters are escaped, and the page asks for no file and no address."""
    answer = make_answer(NASTY, values={NASTY: NASTY}, where=NASTY)
    page = write(tmp_path, [answer, make_region_answer()], pictures=picture, title=NASTY)
    assert "<script" not in page and "<img src=x" not in page and "alert('x" not in page and "&lt;script&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:image/jpeg;base64,|#)', page) and "url(" not in page


def test_pictures_are_bounded(tmp_path):
    """Beyond the limit regions are named by their place, and the page says so; without slides it says what to do."""
    answers = [make_answer() for _ in range(4)]
    page = write(tmp_path, answers, pictures=picture, max_pictures=10)
    assert page.count("<img") == 10 and "10 pictures are shown" in page
    none = write(tmp_path, answers)
    assert none.count("<img") == 0 and "Give --slides_dir" in none and none.count("at 4096, 1024") > 4


def test_what_is_unknown_is_left_out(tmp_path):
    """Without a scale none is named; no neighbor is no blank."""
    page = write(tmp_path, [make_answer(n_neighbors=0, scale=[])])
    assert "What is usual" not in page and "No neighbor was found" in page


def test_whole_slides_stand_beside_their_regions(tmp_path):
    """The query's and each neighbor's, where they are at hand; they count among the pictures."""
    thumbnails = lambda name: (np.full((40, 80, 3), 90, np.uint8), 8.0) if name != "slide_1" else None  # noqa: E731
    page = write(tmp_path, [make_answer()], thumbnails=thumbnails)
    assert re.findall(r'alt="slide (\w+)"', page) == ["query", "slide_0", "slide_2"]
    assert write(tmp_path, [make_answer()], thumbnails=thumbnails, max_pictures=2).count("<img") == 2


def test_files_hold_everything(tmp_path):
    """A row a neighbor with the table's columns; JSON with pairs and places, and no NaN."""
    answers = [make_answer(), make_region_answer()]
    NeighborsFiles(tmp_path / "new")(answers)
    rows = list(csv.DictReader((tmp_path / "new" / "results.csv").open(newline="", encoding="utf-8")))
    assert len(rows) == 3 + 4
    assert (rows[1]["slide"], rows[1]["rank"], rows[1]["similarity"], rows[1]["site"]) == ("slide_1", "2", "0.7", "B")
    assert (rows[3]["query_x"], rows[3]["x"], rows[3]["by"], rows[4]["slide"]) == ("0", "16384", "regions", NASTY)
    plain = json.loads((tmp_path / "new" / "results.json").read_text(), parse_constant=pytest.fail)
    assert plain[0]["scale"][50] == 0.5 and plain[0]["neighbors"][2]["pairs"][1]["cosine"] == pytest.approx(0.7)
    assert plain[0]["neighbors"][0]["pairs"][0]["query_regions"][1]["x"] == 3 * 4096
    assert plain[1]["regions"][0]["found"][0]["slide_id"] == "slide_1"
    (tmp_path / "file").touch()
    for report in (NeighborsFiles(tmp_path / "file"), NeighborsReport(tmp_path / "file")):
        with pytest.raises(BundleError, match="cannot be written"):
            report(answers)


def test_the_page_fits_the_screen(tmp_path):
    """In Chromium, on a phone and on a desk: nothing wider than the window, every picture shown and large enough."""
    answers = [make_answer(NASTY + "x" * 80), make_region_answer()]
    page = write(tmp_path, answers, pictures=picture)
    assert_fits(page, tmp_path, 60)


def test_pictures_of_both_slides_are_seen(tmp_path):
    """In a screenshot the tiles of the query and of the neighbor stand in one card, the query's on the left."""
    shot = screenshot(write(tmp_path, [make_answer(n_neighbors=1)], pictures=picture), tmp_path, height=900)
    rows, columns = np.nonzero((np.abs(shot.astype(int) - (200, 0, 90)) < 12).all(2))
    assert len(rows) > 2 * 50 * 50
    used = np.flatnonzero(np.bincount(columns, minlength=1280) > 30)
    assert (np.diff(used) > 3).sum() == 1, "a block on the left and one on the right"
