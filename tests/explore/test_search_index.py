"""The index: what is added is found, extended without touching the rest, and refuses what cannot be compared."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from slide_embeddings import made_up_slide, without_prototypes

from bundle.cohort import SlideTable
from bundle.core import BundleError
from bundle.core.lock import LOCK, MARKER, writer_lock
from bundle.explore import Indexer, Searcher, SearchIndex
from bundle.storage import tissue_shares, typical_regions, write_embeddings

pytest.importorskip("faiss")
ROOT = Path(__file__).parents[2]


def write_slides(folder, numbers):
    for number in numbers:
        write_embeddings(made_up_slide(f"s{number}", seed=number), folder / f"s{number}.h5")
    return folder


def update(tmp_path, **options):
    return Indexer(tmp_path / "embeddings", tmp_path / "index", **options).run()


def indexed(tmp_path, n_slides):
    """An index of the slides s0, s1, ...; gives the folder of their embeddings."""
    folder = write_slides(tmp_path / "embeddings", range(n_slides))
    update(tmp_path)
    return folder


def rewrite(tmp_path):
    """Replace three slides until the arrays are written anew and the old files are gone."""
    for turn in range(3):
        for number in range(3):
            slide = made_up_slide(f"s{number}", seed=100 * turn + number)
            write_embeddings(slide, tmp_path / "embeddings" / f"s{number}.h5")
        update(tmp_path)


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("*.safetensors")}


def test_an_index_holds_what_the_files_hold(tmp_path):
    """Embeddings, prototypes, shares, most typical regions and region embeddings are those of the slides, also of
    slides without prototypes, with one region, and with fewer prototypes than others."""
    kinds = {"a": (12, 3), "b": (1, 1), "c": (4, 0), "d": (30, 2)}
    slides = {name: made_up_slide(name, n, max(k, 1), seed=n) for name, (n, k) in kinds.items()}
    slides["c"] = without_prototypes(slides["c"])
    for name, slide in slides.items():
        write_embeddings(slide, tmp_path / "embeddings" / f"{name}.h5")
    done = update(tmp_path, n_examples=3)
    assert sorted(done.added) == sorted(kinds) and not done.failed
    index = SearchIndex.load(tmp_path / "index")
    ends, starts = np.cumsum(index.slides.n_prototypes), np.cumsum(index.slides.n_regions)
    for name, slide in slides.items():
        row = index.rows[name]
        own = index.slides.chosen(np.array([row]))
        unit = slide.slide_embedding / np.linalg.norm(slide.slide_embedding)
        np.testing.assert_allclose(own.embedding[0], unit, rtol=1e-5)
        np.testing.assert_allclose(own.prototypes, slide.prototypes, atol=1e-6)
        np.testing.assert_allclose(own.share, tissue_shares(slide), rtol=1e-6)
        numbers, cosine = typical_regions(slide, 3)
        np.testing.assert_array_equal(np.isnan(own.example_cosine), numbers < 0)
        np.testing.assert_array_equal(own.example_coords[numbers >= 0], slide.coords[numbers[numbers >= 0]])
        np.testing.assert_array_equal(own.example_cosine, cosine)
        regions = index.regions.features[starts[row] - len(slide) : starts[row]].astype(np.float32)
        expected = slide.features / np.linalg.norm(slide.features, axis=1, keepdims=True)
        np.testing.assert_allclose(regions, expected, atol=1e-3)
    assert ends[-1] == 6 and len(index.slides) == 4


def test_typical_regions_and_shares_are_what_they_say():
    """The most typical region has the largest cosine of its prototype's members; shares count patches with tissue."""
    slide = made_up_slide(n_regions=13, n_prototypes=3, seed=4)
    numbers, cosine = typical_regions(slide, 6)
    for prototype in range(3):
        members = np.flatnonzero(slide.assignment == prototype)
        order = sorted(members, key=lambda region: -slide.similarity[region, prototype])
        assert numbers[prototype][numbers[prototype] >= 0].tolist() == order[:6]
        expected = slide.mask[members].sum() / slide.mask.sum()
        assert tissue_shares(slide)[prototype] == pytest.approx(expected)
    assert (numbers < 0).sum() == 18 - 13 and np.isnan(cosine[numbers < 0]).all()
    without = without_prototypes(slide)
    assert tissue_shares(without).shape == (0,) and typical_regions(without, 2)[0].shape == (0, 2)


def test_extending_leaves_what_is_there_alone(tmp_path):
    """New slides come into files of their own: the old files are not written again, and old slides not read again."""
    indexed(tmp_path, 5)
    before = contents(tmp_path / "index")
    unreadable = tmp_path / "embeddings" / "s0.h5"
    status = unreadable.stat()
    unreadable.write_bytes(b"\0" * status.st_size)  # would fail if it were read
    os.utime(unreadable, ns=(status.st_atime_ns, status.st_mtime_ns))
    write_slides(tmp_path / "embeddings", [5, 6])
    done = update(tmp_path)
    assert (done.added, done.replaced, done.unchanged, done.failed) == (["s5", "s6"], [], 5, {})
    after = contents(tmp_path / "index")
    assert {name: after[name] for name in before} == before and len(after) == len(before) + 2
    assert len(SearchIndex.load(tmp_path / "index")) == 7
    assert str(update(tmp_path)) == "0 added, 0 replaced, 7 unchanged"


def test_an_extended_index_answers_as_one_made_at_once(tmp_path):
    """In three steps, one of them replacing slides, or in one: the same neighbors with the same similarities."""
    folder = indexed(tmp_path, 8)
    for number in (2, 3):
        write_embeddings(made_up_slide(f"s{number}", n_regions=9, seed=50 + number), folder / f"s{number}.h5")
    done = update(tmp_path)
    assert done.replaced == ["s2", "s3"] and done.unchanged == 6
    write_slides(folder, range(8, 12))
    update(tmp_path)
    Indexer(folder, tmp_path / "at_once").run()
    for by in ("sets", "embedding"):
        steps, once = (
            Searcher(tmp_path / name, by, k=11).run(folder / "s7.h5")[0].neighbors for name in ("index", "at_once")
        )
        assert [n.slide_id for n in steps] == [n.slide_id for n in once] and len(once) == 11
        np.testing.assert_allclose([n.similarity for n in steps], [n.similarity for n in once], rtol=1e-5)


def test_slides_without_a_file_are_reported_and_removed_on_request(tmp_path):
    """A deleted embedding file: the slide stays and is named; with prune it goes, and can no longer be found."""
    folder = indexed(tmp_path, 4)
    (folder / "s1.h5").unlink()
    done = update(tmp_path)
    assert done.missing == ["s1"] and "s1" in str(done) and len(SearchIndex.load(tmp_path / "index")) == 4
    done = update(tmp_path, prune="true")
    assert (done.missing, done.removed) == ([], ["s1"])
    found = Searcher(tmp_path / "index", k=9).run("s0")[0].neighbors
    assert sorted(n.slide_id for n in found) == ["s2", "s3"]


def test_replaced_slides_do_not_pile_up(tmp_path):
    """When more rows are dead than alive the arrays are written anew, old files go, and answers stay."""
    folder = write_slides(tmp_path / "embeddings", range(3))
    rewrite(tmp_path)
    index = SearchIndex.load(tmp_path / "index")
    assert len(index) == 3 and len(index.slides) < 9
    assert {path.stem.split(".")[0] for path in (tmp_path / "index").glob("*.safetensors")} == set(index.catalog.parts)
    answer = Searcher(tmp_path / "index", "regions", k=1).run("s0")[0]
    truth = Searcher(tmp_path / "index", "regions", k=1).run(folder / "s0.h5")[0]
    assert [g.found[0][:3] for g in answer.regions] == [g.found[0][:3] for g in truth.regions]


def test_a_table_may_know_slides_by_their_file(tmp_path, caplog):
    """An id that is not the file's name, as of two slides of one name in a cohort: values that were found by the file
    stay, in the same update and later; a changed table is taken over."""
    write_embeddings(made_up_slide("site1__a", slide_path="a.svs"), tmp_path / "embeddings" / "site1__a.h5")
    table = tmp_path / "table.csv"
    for grade, changed in (("1", 0), ("1", 0), ("2", 1)):
        table.write_text(f"slide,grade\na.svs,{grade}\n")
        assert update(tmp_path, table=SlideTable.read(table)).retabled == changed
        assert SearchIndex.load(tmp_path / "index").entry(0).values["grade"] == grade
    assert "match no slide" not in caplog.text


@pytest.mark.parametrize("by", ["sets", "embedding", "regions"])
def test_a_reader_does_not_mind_updates(tmp_path, by):
    """A searcher that has answered once goes on, with what it has read, when all files that it came from are gone."""
    indexed(tmp_path, 3)
    before = contents(tmp_path / "index")
    searcher = Searcher(tmp_path / "index", by, k=2)
    first = searcher.run(tmp_path / "embeddings" / "s0.h5")[0]
    rewrite(tmp_path)
    assert not set(before) & set(contents(tmp_path / "index"))
    again = searcher.run("s0")[0]
    assert [n.slide_id for n in again.neighbors] == [n.slide_id for n in first.neighbors]
    assert [g.found for g in again.regions] == [g.found for g in first.regions]


def test_an_update_while_an_index_is_read(tmp_path, monkeypatch):
    """Files that went between the table of contents and the arrays: both are read again, once."""
    indexed(tmp_path, 3)
    stale = SearchIndex.load(tmp_path / "index")
    rewrite(tmp_path)
    given = [stale, SearchIndex.load(tmp_path / "index")]
    monkeypatch.setattr(SearchIndex, "load", lambda folder: given.pop(0))
    assert len(Searcher(tmp_path / "index", k=2).run("s0")[0].neighbors) == 2
    given[:] = [stale, stale]
    with pytest.raises(BundleError, match="updated meanwhile"):
        Searcher(tmp_path / "index").run("s0")


@pytest.mark.parametrize(
    "attribute, value, word",
    [
        ("region_encoder", "model sha256:f00", "region encoder"),
        ("encoder", "other sha256:9", "patch encoder"),
        ("mpp", 1.0, "resolution"),
    ],
)
def test_embeddings_of_other_weights_are_refused(tmp_path, attribute, value, word):
    """Another region encoder, patch encoder or resolution: not indexed, not searched with; the message says which."""
    folder = indexed(tmp_path, 3)
    slide = made_up_slide("other", **{attribute: value})
    write_embeddings(slide, tmp_path / "query.h5")
    with pytest.raises(BundleError, match=word):
        Searcher(tmp_path / "index").run(tmp_path / "query.h5")
    write_embeddings(slide, folder / "other.h5")
    done = update(tmp_path)
    assert word in done.failed["other"] and len(SearchIndex.load(tmp_path / "index")) == 3
    mixed = Indexer(folder, tmp_path / "mixed").run()  # a new index keeps to the first file
    assert mixed.added == ["other"] and word in mixed.failed["s0"]


def test_a_renamed_file_of_weights_is_the_same_encoder(tmp_path):
    """The hash of the weights counts, not what their file was called."""
    indexed(tmp_path, 2)
    write_embeddings(made_up_slide("other", region_encoder="copy sha256:1"), tmp_path / "q.h5")
    assert len(Searcher(tmp_path / "index").run(tmp_path / "q.h5")[0].neighbors) == 2


def test_damaged_files_are_reported_and_left_out(tmp_path):
    """A cut file beside good ones: named in the report, the others indexed; nothing but bad files: an error."""
    folder = write_slides(tmp_path / "embeddings", range(3))
    (folder / "s1.h5").write_bytes(b"no embeddings")
    done = update(tmp_path)
    assert list(done.failed) == ["s1"] and "s1 not indexed" in str(done)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.h5").write_bytes(b"")
    with pytest.raises(BundleError, match="no slide of"):
        Indexer(tmp_path / "bad", tmp_path / "nothing").run()


def test_a_slide_in_two_files_is_indexed_once(tmp_path):
    """A copy under another name is reported, at once and later; when the first file is gone it takes its place."""
    folder = write_slides(tmp_path / "embeddings", range(2))
    write_embeddings(made_up_slide("s0", seed=0), folder / "t.h5")
    for _ in range(2):
        done = update(tmp_path)
        assert list(done.failed) == ["t"] and len(SearchIndex.load(tmp_path / "index")) == 2
    (folder / "s0.h5").unlink()
    done = update(tmp_path)
    assert (done.replaced, done.failed, done.missing) == (["s0"], {}, [])
    assert SearchIndex.load(tmp_path / "index").is_live.sum() == 2


@pytest.mark.parametrize("array", ["features", "slide_embedding", "prototypes"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, array):
    """A NaN would stand before every true neighbor: such a slide is neither indexed nor searched with."""
    folder = write_slides(tmp_path / "embeddings", range(2))
    slide = made_up_slide("bad")
    getattr(slide, array)[..., 0] = np.nan
    write_embeddings(slide, folder / "bad.h5")
    assert "NaN" in update(tmp_path).failed["bad"]
    with pytest.raises(BundleError, match="NaN"):
        Searcher(tmp_path / "index").run(folder / "bad.h5")


def test_the_slide_table_can_change_later(tmp_path):
    """New values are taken over without reading a slide, and filters see them."""
    indexed(tmp_path, 3)
    table = tmp_path / "table.csv"
    table.write_text("slide,site\ns0,A\ns1,B\ns2.tiff,A\n")
    done = update(tmp_path, table=SlideTable.read(table))
    assert (done.retabled, done.unchanged) == (3, 3)
    found = Searcher(tmp_path / "index", where="site=A").run("s1")[0].neighbors
    assert sorted(n.slide_id for n in found) == ["s0", "s2"]
    assert update(tmp_path, table=SlideTable.read(table)).retabled == 0


@pytest.mark.parametrize("kind", ["slides", "regions"])
def test_a_flipped_bit_of_an_index_is_found(tmp_path, kind):
    """It was searched with: whatever was changed, in an array or in what the file says of it, the file is named."""
    indexed(tmp_path, 3)
    path = next(p for p in (tmp_path / "index").glob("part*") if ("regions" in p.name) == (kind == "regions"))
    whole, random = path.read_bytes(), np.random.default_rng(0)
    start = 8 + int.from_bytes(whole[:8], "little")
    for place in [9, start, len(whole) - 1, *random.integers(start, len(whole), 10).tolist()]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << random.integers(8)]) + whole[place + 1 :])
        with pytest.raises(BundleError, match=path.name):
            Searcher(tmp_path / "index", by="regions").run("s0")


@pytest.mark.parametrize(
    "damage", "missing,no json,other,newer,cut part,lost part,lost rows,no entries,no number".split(",")
)
def test_a_damaged_index_says_so(tmp_path, damage):
    """Whatever is broken, the message names the folder and the way out; nothing is unpickled."""
    indexed(tmp_path, 3)
    folder = tmp_path / "index"
    catalog, part = folder / "index.json", next(p for p in folder.glob("part*") if "regions" not in p.name)
    plain = json.loads(catalog.read_text())
    if damage == "missing":
        catalog.unlink()
    elif damage == "no json":
        catalog.write_text("{")
    elif damage == "cut part":
        part.write_bytes(part.read_bytes()[:200])
    elif damage == "lost part":
        part.unlink()
    else:
        change = {
            "other": {"kind": "x"},
            "newer": {"index_version": 99},
            "lost rows": {"entries": plain["entries"][:2]},
            "no entries": {"entries": [False] * 3},
            "no number": {"n_examples": [4]},
        }
        catalog.write_text(json.dumps(plain | change[damage]))
    with pytest.raises(BundleError, match=str(folder)):
        Searcher(folder).run("s0")


WRITER = """
import sys
from pathlib import Path
from bundle.core.lock import writer_lock
with writer_lock(Path(sys.argv[1]), "search index", "index_dir"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """A process that writes to the index until it is ended."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "index")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_one_process_at_a_time_writes(tmp_path, writer):
    """Of two writers the later undid what the other had added. The second is told who writes, and reading goes on; a
    writer that was killed leaves its file, and no lock."""
    write_slides(tmp_path / "embeddings", range(3))
    with pytest.raises(BundleError, match=f"index is being written by process {writer.pid} on .*: wait until"):
        update(tmp_path)
    assert not (tmp_path / "index" / "index.json").exists()
    writer.kill()
    writer.wait()
    assert str(writer.pid) in (tmp_path / "index" / LOCK).read_text()
    assert len(update(tmp_path).added) == 3
    with writer_lock(tmp_path / "index", "search index", "index_dir"):
        assert len(Searcher(tmp_path / "index").run("s0")[0].neighbors) == 2
        with pytest.raises(BundleError, match=f"process {os.getpid()} on "):
            update(tmp_path)
    assert update(tmp_path).unchanged == 3


def test_an_update_that_fails_gives_the_lock_back(tmp_path):
    """The next one in the same process writes."""
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "embeddings" / "s0.h5").write_bytes(b"no embeddings")
    for _ in range(2):
        with pytest.raises(BundleError, match="no slide of .* can be indexed"):
            update(tmp_path)
    write_slides(tmp_path / "embeddings", [0])
    assert update(tmp_path).added == ["s0"]


def test_a_file_system_without_locks_has_markers(tmp_path, monkeypatch):
    """As some network file systems are. The second writer is told who writes, and what to do if that is long dead; a
    marker of a process of this machine that is no more is taken over, one of another machine is not."""
    write_slides(tmp_path / "embeddings", range(2))

    def no_locks(handle, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    marker = tmp_path / "index" / MARKER
    with writer_lock(tmp_path / "index", "search index", "index_dir"):
        assert marker.exists()
        with pytest.raises(BundleError, match=f"process {os.getpid()} on .*: wait until .* remove {marker}"):
            update(tmp_path)
    assert len(update(tmp_path).added) == 2
    assert not marker.exists()
    gone = subprocess.Popen(["true"])
    gone.wait()
    marker.write_text(f"{gone.pid}\n{socket.gethostname()}\n")
    assert update(tmp_path).unchanged == 2
    marker.write_text(f"{gone.pid}\nanother-machine\n")
    with pytest.raises(BundleError, match=f"process {gone.pid} on another-machine"):
        update(tmp_path)


def test_a_forked_process_does_not_hold_the_lock(tmp_path):
    """Workers that outlive the writer would keep everybody out of the folder; a child that ends gives nothing back."""
    with writer_lock(tmp_path, "test", "folder"):
        waits, ready = os.pipe()
        here, there = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(ready)
            os.write(there, b"x")
            os.read(waits, 1)
            os._exit(0)
        os.read(here, 1)
        with pytest.raises(BundleError, match="is being written"), writer_lock(tmp_path, "test", "folder"):
            pass
    with writer_lock(tmp_path, "test", "folder"):
        pass
    os.close(ready)
    os.waitpid(child, 0)
    for end in (waits, here, there):
        os.close(end)


def test_a_link_in_the_lock_s_place_is_refused(tmp_path):
    """What it leads to would be emptied."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / LOCK).symlink_to(tmp_path / "precious")
    with pytest.raises(BundleError, match="is a link"), writer_lock(tmp_path, "test", "folder"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_another_users_lock_file_is_enough(tmp_path, monkeypatch):
    """It can be read only: the lock is taken all the same. A folder in which none can be made holds up nobody who has
    nothing to write."""
    indexed(tmp_path, 2)
    opened = os.open

    def read_only(path, flags, *mode, **options):
        if Path(path).name == LOCK and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, *mode, **options)

    monkeypatch.setattr(os, "open", read_only)
    with writer_lock(tmp_path / "index", "search index", "index_dir"):
        with pytest.raises(BundleError, match="is being written by process .* be searched meanwhile"):
            update(tmp_path)
    (tmp_path / "index" / LOCK).unlink()
    assert update(tmp_path).unchanged == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """A file stands where the folder should be."""
    write_slides(tmp_path / "embeddings", range(2))
    (tmp_path / "index").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        update(tmp_path)
