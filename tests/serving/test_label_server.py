"""Real requests to a real MONAI Label server."""

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from fitted_heads import made_up_record
from label_server import READING, LabelServer, link_app, write_models
from tiny_slides import PATCH, write_slide

from bundle.heads import load_head, save_head
from bundle.networks import weights_name
from bundle.storage import read_embeddings

pytestmark = pytest.mark.label
MODELS = ["attention_map", "head_prediction", "prototype_map", "region_embedding", "similar_regions"]
WHOLE = {"location": [0, 0], "size": [0, 0]}
WIDTH = 700  # of slide "a": three regions of 256 px on a side, the last one beyond the edge
BOXES = [WHOLE, {"location": [100, 130], "size": [300, 200]}, {"location": [500, 400], "size": [4000, 4000]}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("label")


@pytest.fixture(scope="module")
def server(folder):
    """Two slides, one of them in a folder of its own, and a broken one; a head of their encoder."""
    write_slide(folder / "studies" / "a.tif", WIDTH)
    write_slide(folder / "studies" / "deep" / "b.tif", 320, seed=1)
    (folder / "studies" / "broken.tif").write_bytes(b"II*\0 this is no slide")
    conf = {**write_models(folder / "models"), **READING, "work_dir": str(folder / "work"), "zoo_source": "local"}
    conf["head"] = str(write_head(folder / "head.safetensors", conf))
    server = LabelServer(link_app(folder / "app"), folder / "studies", conf)
    yield server
    server.stop()


def write_head(path, conf):
    """A head of two classes on the 32 values of the server's encoders."""
    coefficients = np.random.default_rng(0).standard_normal((2, 32))
    encoder = {name: weights_name(conf[f"{kind}_encoder_ckpt"])
               for name, kind in (("region_encoder", "region"), ("encoder", "patch"))}  # fmt: skip
    encoder |= {"mpp": float(READING["mpp"]), "region_size_px": 16 * PATCH}
    record = made_up_record("linear", ["benign", "malignant"], 32, encoder=encoder)
    save_head(record, {"mean": np.zeros(32), "weight": coefficients, "bias": np.zeros(2)}, path)
    return path


def polygons(text, output):
    """Label and points [n, 2] of every polygon of an answer."""
    if output == "asap":
        found = ElementTree.fromstring(text).iter("Annotation")
        return [(a.get("Name"), [[float(c.get("X")), float(c.get("Y"))] for c in a.iter("Coordinate")]) for a in found]
    if output == "dsa":
        return [(e["group"], [point[:2] for point in e["points"]]) for e in json.loads(text)["elements"]]
    elements = [e for a in json.loads(text)["annotations"] for e in a["annotation"]["elements"]]
    return [(e["label"], contour) for e in elements for contour in e["contours"]]


def test_it_tells_what_it_has(server, folder):
    """Models, trainer and slides are listed; slides in depth; the studies' folder is not written to."""
    info = server.get("/info/")
    assert sorted(info["models"]) == MODELS and list(info["trainers"]) == ["slpd"]
    assert sorted(server.get("/datastore/?output=all")["objects"]) == ["a", "b", "broken"]
    assert server.ask("HEAD", "/datastore/image?image=b")[0] == 200
    assert sorted(path.name for path in (folder / "studies").iterdir()) == ["a.tif", "broken.tif", "deep"]


@pytest.mark.parametrize("output", ["json", "dsa", "asap"])
@pytest.mark.parametrize("model", MODELS)
def test_every_point_lies_in_the_requested_box(server, model, output):
    """Whole slide, box, and a box that reaches beyond the slide; the same polygons in every format."""
    for box in BOXES:
        status, text = server.infer(model, "a", output, **box, min_poly_area=0)
        assert status == 200, text
        drawn = polygons(text, output)
        x, y = box["location"]
        width, height = box["size"] if any(box["size"]) else (WIDTH, WIDTH)
        for label, points in drawn:
            left, top, right, bottom = (
                (0, 0, WIDTH, WIDTH) if label.startswith("Similar") else (x, y, x + width, y + height)
            )
            assert all(left <= px <= min(right, WIDTH) and top <= py <= min(bottom, WIDTH) for px, py in points)
        assert drawn and drawn == polygons(server.infer(model, "a", "json", **box, min_poly_area=0)[1], "json")


def test_embeddings_are_those_of_inference(server, folder):
    """The mean over a whole region is the file's row, 32 values long."""
    _, text = server.infer("region_embedding", "a", location=[10, 10], size=[200, 200])
    answer = json.loads(text)["annotations"][0]
    slide = read_embeddings(folder / "work" / "inference" / "embeddings" / "a.h5")
    row = slide.coords.tolist().index([0, 0])
    assert len(answer["embedding"]) == slide.features.shape[1] == 32
    np.testing.assert_allclose(answer["embedding"], slide.features[row], rtol=1e-6)


def test_a_head_says_of_a_slide_what_inference_says(server, folder):
    """`--conf head FILE`: probabilities of the slide and of each region are those of the head on the embedding file."""
    _, text = server.infer("head_prediction", "a", **WHOLE)
    answer = json.loads(text)["annotations"][0]
    slide = read_embeddings(folder / "work" / "inference" / "embeddings" / "a.h5")
    head = load_head(folder / "head.safetensors")
    expected = dict(zip(["benign", "malignant"], head.scores([slide]).tolist(), strict=True))
    assert answer["probabilities"] == pytest.approx(expected, abs=1e-5)
    assert answer["prediction"] == max(expected, key=expected.get) and answer["seen_in_training"] is False
    assert len(answer["regions"]) == len(slide.features)


def test_qupath_asks_in_its_own_way(server):
    """The extension's older address, a JSON body with clicks and tiles in it, XML back."""
    body = {**BOXES[1], "level": 0, "tile_size": [1024, 1024], "min_poly_area": 30}
    body["params"] = {"foreground": [], "background": [], "max_workers": 1}
    status, text = server.post("/infer/wsi/prototype_map?output=asap&image=b", body)
    assert status == 200 and polygons(text, "asap")
    known = server.get("/info/")["models"]["prototype_map"]["labels"]
    assert {label for label, _ in polygons(text, "asap")} <= set(known), "Override removes only labels that are listed"


@pytest.mark.parametrize(
    ("model", "image", "request_", "status", "words"),
    [
        ("prototype_map", "broken", WHOLE, 422, "broken.tif"),
        ("prototype_map", "nowhere", WHOLE, 404, "nowhere"),
        ("prototype_nap", "a", WHOLE, 404, "prototype_map"),
        ("prototype_map", "a", {"location": [9999, 0], "size": [10, 10]}, 422, "beside the slide"),
        ("attention_map", "a", {**WHOLE, "params": {"head": 7}}, 422, "heads 1"),
        ("similar_regions", "a", {**WHOLE, "params": {"n_similar": "some"}}, 422, "n_similar"),
    ],
)
def test_errors_say_what_is_wrong(server, model, image, request_, status, words):
    """A status that tells whose mistake it is, and a detail that names it; the server goes on."""
    got, text = server.infer(model, image, **request_)
    assert got == status and words in json.loads(text)["detail"]
    assert server.infer("prototype_map", "a", **WHOLE)[0] == 200


def wait_until_listed(server, image):
    """The datastore notices new files by itself; the requests that follow say it if it did not."""
    deadline = time.monotonic() + 120
    while image not in server.get("/datastore/?output=all")["objects"] and time.monotonic() < deadline:
        time.sleep(1)
        server.get("/info/")


def test_a_new_slide_is_found(server, folder):
    """Slides that are copied while the server runs can be asked about."""
    write_slide(folder / "studies" / "later.tif", 320, seed=2)
    wait_until_listed(server, "later")
    assert server.infer("prototype_map", "later", **WHOLE)[0] == 200


def test_slides_of_one_file_name_are_told_apart(server, folder):
    """Each is asked about by the name that the datastore lists, and answers for itself."""
    for seed, name in enumerate(("one", "two"), start=4):
        write_slide(folder / "studies" / name / "same.tif", 320, seed=seed)
    wait_until_listed(server, "two__same")
    answers = [server.infer("region_embedding", f"{name}__same", **WHOLE) for name in ("one", "two")]
    assert [status for status, _ in answers] == [200, 200], answers
    embeddings = [json.loads(text)["annotations"][0]["slide_embedding"] for _, text in answers]
    assert not np.allclose(*embeddings)


def test_files_of_the_machine_are_not_read(server, folder):
    """A slide outside of the studies and no slide at all: the same answer, by query and by the body's params."""
    write_slide(folder / "elsewhere" / "patient.tif", 320)
    for name in ("patient.tif", "nobody.tif"):
        path = str(folder / "elsewhere" / name)
        for image, more in ((path, {}), ("a", {"params": {"image": path}})):
            status, text = server.infer("prototype_map", image, **WHOLE, **more)
            assert (status, json.loads(text)["detail"].replace(name, "")) == (
                404,
                f"there is no slide '{folder / 'elsewhere'}/' among the studies in {folder / 'studies'}.",
            )


def form(slide, **fields):
    """A multipart body with a slide as ``file``, and its content type."""
    parts = [(f'"{name}"', value.encode()) for name, value in fields.items()]
    parts += [(f'"{part}"; filename="{slide.name}"', slide.read_bytes()) for part in ("file", "label")]
    body = b"".join(
        b"--cut\r\nContent-Disposition: form-data; name=%s\r\n\r\n%s\r\n" % (name.encode(), value)
        for name, value in parts
    )
    return body + b"--cut--\r\n", "multipart/form-data; boundary=cut"


def test_an_upload_is_answered(server, folder):
    """A slide in the request's body, as Label puts it into the folder of temporary files."""
    body = form(write_slide(folder / "elsewhere" / "upload.tif", 320, seed=3), wsi=json.dumps(WHOLE))
    status, text = server.ask("POST", "/infer/wsi_v2/prototype_map?output=json", *body)
    assert status == 200 and polygons(text, "json"), text


@pytest.mark.parametrize("model", ["prototype_map", "slpd"])
def test_there_is_no_model_to_replace_before_training(server, folder, model):
    """To fetch, to replace, to remove it: one answer that says what to do; an upload was answered with a plain 500."""
    body = form(write_slide(folder / "elsewhere" / "upload.tif", 320, seed=3))
    for method, path, data in (("GET", "", ()), ("GET", "info/", ()), ("PUT", "", body), ("DELETE", "", ())):
        status, text = server.ask(method, f"/model/{path}{model}", *data)
        assert (status, "POST /train/slpd" in json.loads(text)["detail"]) == (404, True), f"{method} {path}: {text}"
    status, text = server.ask("PUT", "/model/prototype_nap", *body)
    assert status == 404 and "prototype_map" in json.loads(text)["detail"]


def test_clients_write_to_the_stores_folder_only(server, folder):
    """Slides of the studies are not written over or deleted, names lead nowhere else, the given weights stay."""
    body = form(write_slide(folder / "elsewhere" / "upload.tif", 320, seed=3))
    script = folder / "elsewhere" / "script.py"
    script.write_text("")
    model, slides = folder / "models" / "model.pt", sorted((folder / "studies").rglob("*.tif"))
    before = [path.read_bytes() for path in (model, *slides)]
    for method, path, data, status in (
        ("PUT", "/datastore/image?image=a", body, 403),
        ("DELETE", "/datastore/image?id=a", (), 403),
        ("PUT", f"/datastore/image?image={folder}/outside", body, 422),
        ("PUT", "/datastore/image?image=../../outside", body, 422),
        ("PUT", "/datastore/image?image=script", form(script), 422),
        ("PUT", f"/datastore/label?image=a&tag={folder}/outside", body, 422),
        ("PUT", "/datastore/image?image=mine", body, 200),
        ("PUT", "/datastore/label?image=mine&tag=final", body, 200),
        ("DELETE", "/model/prototype_map", (), 404),
        ("PUT", "/model/prototype_map", body, 404),
    ):
        got, text = server.ask(method, path, *data)
        assert got == status, f"{method} {path}: {got} {text}"
    assert server.infer("prototype_map", "mine", **WHOLE)[0] == 200
    assert server.ask("DELETE", "/datastore/image?id=mine")[0] == 200
    assert server.infer("prototype_map", "mine", **WHOLE)[0] == 404
    assert [path.read_bytes() for path in (model, *slides)] == before
    assert [path for path in folder.rglob("outside*") if ".tif" in path.name or path.is_dir()] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_epochs": 1e30}, "max_epochs"),
        ({"max_epochs": -1}, "max_epochs"),
        ({"max_epochs": [3]}, "max_epochs"),
        ({"max_epochs": "$1+1"}, "max_epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"lr": "much"}, "lr"),
        ({"seed": 0.5, "resume": {}}, "seed: .*; resume: "),
    ],
)
def test_a_training_that_cannot_be_is_refused_at_once(server, body, field):
    """Each of these used to be answered with "submitted", and failed, or ran for ever, where nobody looked."""
    status, text = server.post("/train/slpd?enqueue=true", body)
    assert status == 422 and re.search(field, json.loads(text)["detail"]), text
    assert server.ask("GET", "/train/")[0] == 404, "nothing waits"


def test_training_inside_the_server_is_refused(server):
    """`run_sync` used to leave the server without an answer for as long as the training took."""
    status, text = server.post("/train/slpd?run_sync=true", {})
    assert status == 422 and "run_sync" in text
    status, text = server.post("/train/nobody", {})
    assert status == 404 and "slpd" in text


@pytest.mark.parametrize(
    ("wsi", "field"),
    [
        ("[]", "wsi"),
        ("{", "wsi"),
        ("null", "wsi"),
        ("NaN", "wsi"),
        ("[" * 100_000, "wsi"),
        ('{"location":"here"}', "location"),
        ('{"location":[1e400,0]}', "location"),
        ('{"location":[0]}', "location"),
        ('{"size":{"a":1}}', "size"),
        ('{"params":[1]}', "params"),
        ('{"params":{"model":[]}}', "model"),
        ('{"params":{"image":[]}}', "image"),
        ('{"params":{"location":[NaN,0]}}', "location"),
        ('{"params":{"head":[1]}}', "head"),
        ('{"params":{"n_similar":1e30}}', "n_similar"),
        ('{"params":{"output":{}}}', "output"),
    ],
)
def test_odd_questions_are_the_clients_mistakes(server, wsi, field):
    """Each of these used to be a 500; the detail names the field."""
    data, kind = urllib.parse.urlencode({"wsi": wsi}).encode(), "application/x-www-form-urlencoded"
    status, text = server.ask("POST", "/infer/wsi_v2/prototype_map?image=a&output=json", data, kind)
    assert status == 422 and field in json.loads(text)["detail"], text
    data = urllib.parse.urlencode({"params": "[1]"}).encode()
    status, text = server.ask("POST", "/infer/prototype_map?image=a", data, kind)
    assert status == 422 and "params" in json.loads(text)["detail"], text


def test_pages_of_other_sites_are_refused(server):
    """Any origin used to be told that it may ask, with credentials; what is no browser names none, and may."""
    for origin, status in (("http://evil.example", 403), ("null", 403), (f"http://127.0.0.1:{server.port}", 200)):
        for method in ("GET", "OPTIONS"):
            request = urllib.request.Request(f"http://127.0.0.1:{server.port}/info/", method=method)
            request.add_header("Origin", origin)
            request.add_header("Access-Control-Request-Method", "GET")
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    found = response.status, response.headers
            except urllib.error.HTTPError as error:
                found = error.code, error.headers
            assert found[0] == status, (origin, method)
            assert status == 200 or "Access-Control-Allow-Origin" not in found[1]
    assert server.ask("GET", "/info/")[0] == 200


def test_no_more_trainings_wait_than_may(server):
    """Hundreds could be sent; each was kept, and run."""
    said = [server.post("/train/slpd?enqueue=true", {"max_epochs": 1})[0] for _ in range(6)]
    assert said == [200] * 4 + [429] * 2
    deadline = time.monotonic() + 240
    while any(task["status"] in ("SUBMITTED", "RUNNING") for task in server.get("/train/?all=true")):
        server.ask("DELETE", "/train/")
        time.sleep(0.2)
        assert time.monotonic() < deadline
