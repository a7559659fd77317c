"""Images at addresses: a web server, S3 (moto), a file system in memory; retries, and errors of one sentence."""

import functools
import http.server
import importlib
import json
import shutil
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gazeshift import cli
from gazeshift.data import open_source, remote
from gazeshift.errors import DataError, MissingPackageError, UnreachableError
from gazeshift.models import Preprocessing
from gazeshift.records import Batch
from helpers.small_study import make_images, make_network

open_collection = pytest.importorskip("gazeshift.studies.chakraborty2022.collection").open_collection
Deviation = pytest.importorskip("gazeshift.studies.deviation.settings").Deviation

fsspec = pytest.importorskip("fsspec")
NAMES = ("dark", "light", "striped")
WHOLE = Preprocessing(resize=None, crop=None)
COUNT = 6


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.01, 0.01))


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """Every layout: a folder with labels, class folders, a Parquet file."""
    root = tmp_path_factory.mktemp("here")
    flat = make_images(root / "flat", COUNT)
    for at, file in enumerate(sorted(flat.glob("*.png"))):
        own = root / "classes" / NAMES[at % 3] / f"a picture {at}.png"
        own.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, own)
    images = [{"bytes": file.read_bytes()} for file in sorted(flat.glob("*.png"))]
    table = pa.table({"image": images, "label": [at % 3 for at in range(COUNT)]})
    (root / "table").mkdir()
    pq.write_table(table, root / "table" / "train.parquet", row_group_size=2)
    return root


class Handler(http.server.SimpleHTTPRequestHandler):
    """Counts what is asked for; breaks down a few times; may list nothing, and give no parts of files."""

    asked: ClassVar[Counter] = Counter()
    failures: ClassVar[Counter] = Counter()
    lists = gives_parts = True

    def do_GET(self) -> None:
        type(self).asked[self.path] += 1
        if type(self).failures[self.path] > 0:
            type(self).failures[self.path] -= 1
            self.send_error(503)
        elif not type(self).lists and self.path.endswith("/"):
            self.send_error(404)
        elif type(self).gives_parts and "Range" in self.headers:
            self.send_part()
        else:
            super().do_GET()

    def send_part(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        last = min(int(last or len(content) - 1), len(content) - 1)
        part = content[int(first) : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def web(here):
    Handler.asked, Handler.failures, Handler.lists, Handler.gives_parts = Counter(), Counter(), True, True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(here)))
    server.handle_error = lambda *_: None  # a reader may hang up when it has read enough
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()
    remote._files.cache_clear()


@pytest.fixture
def memory(here):
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    for file in here.rglob("*.*"):
        files.pipe_file(f"/bucket/{file.relative_to(here)}", file.read_bytes())
    yield "memory://bucket"
    files.store.clear()


@pytest.fixture(scope="module")
def s3(here):
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    given = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    given["AWS_DEFAULT_REGION"] = "us-east-1"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        remote._files.cache_clear()
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        for file in here.rglob("*.*"):
            client.upload_file(str(file), "bucket", str(file.relative_to(here)))
        yield "s3://bucket"
    remote._files.cache_clear()
    server.stop()


def whole(path: object, **more: object) -> Batch:
    return open_source(path, class_names=NAMES, **more).read(preprocessing=WHOLE)


def check_same(path: object, local: Path) -> None:
    found, expected = whole(path), whole(local)
    assert found.ids == expected.ids
    assert torch.equal(found.images, expected.images)
    assert found.labels.tolist() == expected.labels.tolist()


@pytest.mark.parametrize("layout", ["flat", "classes", "table", "table/train.parquet"])
@pytest.mark.parametrize("where", ["web", "memory", "s3"])
def test_every_layout_reads_as_it_does_here(where, layout, here, request):
    root = request.getfixturevalue(where)
    check_same(f"{root}/{layout}", here / layout)
    check_same(f"{root}/{layout}/" if "." not in layout else f"{root}/{layout}", here / layout)


def test_single_files_and_lists_of_files(web, here):
    one, two = (f"{web}/flat/{number:03d}.png" for number in range(2))
    assert open_source([one, two]).ids == ("000.png", "001.png")
    found = open_source(f"{one}?signature=x%2Fy").read(preprocessing=WHOLE)
    assert torch.equal(found.images, open_source(here / "flat" / "000.png").read(preprocessing=WHOLE).images)
    with pytest.raises(DataError, match=r"and 001.png from elsewhere"):
        open_source([here / "flat" / "000.png", two])


def test_a_server_that_lists_nothing_needs_the_labels(web, here):
    Handler.lists = False
    check_same(f"{web}/flat", here / "flat")
    found = whole(f"{web}/flat", labels=here / "flat" / "labels.csv")
    assert len(found.ids) == COUNT
    with pytest.raises(DataError, match=r"nothing is found at .*/classes"):
        open_source(f"{web}/classes")


def test_who_asks_for_no_labels_needs_none_that_fit(web, here, tmp_path):
    Handler.lists = False
    names = sorted(file.name for file in (here / "flat").glob("*.png"))
    table = tmp_path / "words.csv"
    table.write_text("file,label\n" + "".join(f"{name},no such class\n" for name in names))
    source = open_source(f"{web}/flat", labels=table, labelled=False)
    assert (list(source.ids), source.has_labels) == (names, False)
    assert source.notes == ("The server lists no files: those that the labels name were taken.",)


def test_a_server_that_gives_no_parts_of_files_cannot_serve_a_table(web):
    Handler.gives_parts = False
    with pytest.raises(DataError, match=r"train.parquet gives files as a whole only"):
        open_source(f"{web}/table")


def test_labels_may_be_elsewhere_than_the_images(web, here):
    found = whole(here / "flat", labels=f"{web}/flat/labels.csv")
    assert found.labels.tolist() == [at % 3 for at in range(COUNT)]


def test_nothing_is_fetched_before_it_is_asked_for(web):
    source = open_source(f"{web}/flat", class_names=NAMES)
    assert not [path for path in Handler.asked if path.endswith(".png")]
    source.read(2, 4, preprocessing=WHOLE)
    assert sorted(path for path in Handler.asked if path.endswith(".png")) == ["/flat/002.png", "/flat/003.png"]


def test_a_server_that_breaks_down_is_asked_again_and_not_for_ever(web):
    source = open_source(f"{web}/flat", class_names=NAMES)
    Handler.failures.update({"/flat/001.png": 2, "/flat/002.png": 100})
    with pytest.raises(
        UnreachableError, match=r"002.png cannot be read, after 4 tries: .*503.*what is finished is kept"
    ):
        source.read(preprocessing=WHOLE)
    assert Handler.asked["/flat/002.png"] == 4
    Handler.failures.clear()
    assert len(source.read(preprocessing=WHOLE).ids) == COUNT
    Handler.asked.clear()
    assert (
        open_source(f"{web}/flat/gone.png").read(preprocessing=WHOLE).skipped[0].reason.startswith("nothing is found")
    )
    assert Handler.asked["/flat/gone.png"] == 1


def test_an_outage_ends_a_study_and_leaves_no_hole_in_it(web, tmp_path):
    asked = {"model": make_network(tmp_path), "attack": ("fgsm",), "cams": ("grad_cam",), "gallery": 0, "device": "cpu"}
    study = Deviation(images=f"{web}/flat/", labels=f"{web}/flat/labels.csv", batch_size=2, strengths=(1.0,), **asked)
    Handler.failures["/flat/004.png"] = 100
    with pytest.raises(UnreachableError):
        study.run(tmp_path / "out")
    Handler.failures.clear()
    told = json.loads((study.run(tmp_path / "out") / "manifest.json").read_text())["images"]
    assert (told["used"], told["skipped"]) == (COUNT, [])


def test_an_outage_within_a_table_is_no_damage(web):
    source = open_source(f"{web}/table/train.parquet")
    Handler.failures["/table/train.parquet"] = 2
    assert len(source.read(0, 2, preprocessing=WHOLE).ids) == 2
    Handler.failures["/table/train.parquet"] = 100
    with pytest.raises(UnreachableError, match=r"train\.parquet cannot be read, after 4 tries"):
        source.read(2, 4, preprocessing=WHOLE)
    Handler.failures.clear()
    assert len(source.read(preprocessing=WHOLE).ids) == COUNT


def test_a_folder_whose_page_does_not_come_is_not_empty(web):
    Handler.failures["/classes/light/"] = 2
    assert len(open_source(f"{web}/classes/", class_names=NAMES).ids) == COUNT
    Handler.failures["/classes/light/"] = 100
    with pytest.raises(UnreachableError, match="classes/light/ cannot be read"):
        open_source(f"{web}/classes/", class_names=NAMES)


def test_a_dead_link_on_a_page_is_left_alone(web, here):
    page = here / "classes" / "index.html"
    page.write_text("".join(f'<a href="{name}/">{name}</a>' for name in (*NAMES, "gone")))
    try:
        assert len(open_source(f"{web}/classes/", class_names=NAMES).ids) == COUNT
    finally:
        page.unlink()
    assert Handler.asked["/classes/gone/"] == 1


def test_queries_tell_files_apart_and_stay_at_the_end(web):
    places = [f"{web}/flat/000.png?id=1", f"{web}/flat/000.png?id=a/b"]
    assert open_source(places).ids == ("000.png?id=1", "000.png?id=a/b")
    assert open_source(f"{web}/flat/000.png?id=a/b").ids == ("000.png",)
    assert str(remote.Remote(f"{web}/flat?key=a/b") / "000.png") == f"{web}/flat/000.png?key=a/b"
    assert str(remote.Remote(f"{web}/flat/000.png?key=a/b").parent) == f"{web}/flat?key=a/b"


def test_names_in_buckets_are_taken_as_they_are(memory, here):
    files = fsspec.filesystem("memory")
    names = ("photo#1.png", "what?.png", "100%25.png")
    for name in names:
        files.pipe_file(f"/odd/{name}", (here / "flat" / "000.png").read_bytes())
    assert set(open_source("memory://odd").read(preprocessing=WHOLE).ids) == set(names)
    for name in names:
        assert open_source(f"memory://odd/{name}").read(preprocessing=WHOLE).ids == (name,)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:1/images/", "cannot be read, after 4 tries: .*Check the network"),
        ("memory://nowhere/at/all", "nothing is found at memory://nowhere"),
        ("http://me:secret@127.0.0.1/images", "holds a user name or password"),
        ("gopher://there/images", "begin with gopher://. Known are s3"),
        ("ftp://there/images", "begin with ftp://. Known are s3"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(address, said):
    with pytest.raises(DataError, match=said) as raised:
        open_source(address)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_buckets_that_are_not_there_and_missing_keys(s3, monkeypatch):
    with pytest.raises(DataError, match="nothing is found at s3://no-such-bucket"):
        open_source("s3://no-such-bucket/images")
    remote._files.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nowhere")
    with pytest.raises(DataError, match=r"may not be read .*Set AWS_ACCESS_KEY_ID"):
        open_source(f"{s3}/flat")
    remote._files.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("hf", "huggingface_hub")])
def test_a_missing_package_is_named(scheme, package, monkeypatch):
    remote._files.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    importlib.import_module("fsspec.registry")
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, scheme, raising=False)
    with pytest.raises(MissingPackageError, match=r"pip install 'gazeshift\[remote\]'"):
        open_source(f"{scheme}://bucket/images")
    remote._files.cache_clear()


def test_classes_to_train_on_may_be_elsewhere(memory, here):
    found, expected = (open_collection(f"{root}/classes", class_names=NAMES) for root in (memory, here))
    assert found.names == expected.names
    assert found.source.labels == expected.source.labels


def test_a_study_takes_an_address_and_tells_it(web, here, tmp_path, capsys):
    flags = ["--model", make_network(tmp_path), "--attack", "fgsm", "--epsilon", "0.2", "--strengths", "1"]
    command = ["study", "deviation", *flags, "--layers", "convs", "--workers", "2", "--images", f"{web}/flat"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--out", str(tmp_path / "out")])
    assert ended.value.code == 0, capsys.readouterr().err
    assert f'"images": "{web}/flat"' in (tmp_path / "out" / "manifest.json").read_text()
    settings = {"attack": "fgsm", "epsilon": 0.2, "strengths": "1", "layers": "convs", "images": here / "flat"}
    local = Deviation(model=flags[1], **settings).run(tmp_path / "local")
    assert (local / "rows.parquet").read_bytes() == (tmp_path / "out" / "rows.parquet").read_bytes()
