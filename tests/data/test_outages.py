"""A server that refuses, is down, or sends pages of its own: nothing is lost in silence, and no signature is told."""

import http.server
import threading
from collections import Counter

import pytest

from gazeshift.data import open_source, remote
from gazeshift.data.remote import Remote
from gazeshift.errors import DataError, UnreachableError
from gazeshift.models import Preprocessing
from helpers.small_study import make_images

fsspec = pytest.importorskip("fsspec")
WHOLE = Preprocessing(resize=None, crop=None)
NAMES = ("dark", "light", "striped")
COUNT = 3


class Server(http.server.ThreadingHTTPServer):
    """Gives what it is told to give: the content, or the status, of each path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, bytes] = {}
        self.status: dict[str, int] = {}
        self.asked: Counter[str] = Counter()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        self.wfile.write(self.answer())

    def answer(self) -> bytes:
        path = self.path.partition("?")[0]
        status = self.server.status.get(path, 200 if path in self.server.content else 404)
        content = self.server.content.get(path, b"") if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "text/html" if path.endswith("/") else "application/octet-stream")
        self.end_headers()
        return content

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A folder ``/flat/`` with its page, pictures and labels."""
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.01))
    remote._files.cache_clear()
    server = Server()
    files = sorted(make_images(tmp_path / "flat", COUNT).iterdir())
    server.content = {f"/flat/{file.name}": file.read_bytes() for file in files}
    server.content["/flat/"] = page(*(file.name for file in files))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    remote._files.cache_clear()


def page(*links: str) -> bytes:
    return "".join(f'<a href="{link}">{link}</a>\n' for link in links).encode()


@pytest.mark.parametrize("status", [401, 403, 429, 500])
@pytest.mark.parametrize("name", ["000.png", "train.parquet"])
def test_a_refusal_ends_the_run_and_tells_no_signature(status, name, web):
    web.status[f"/flat/{name}"] = status
    with pytest.raises(UnreachableError, match=f"{name} (may not|cannot) be read.*{status}") as raised:
        open_source(f"{web.address}/flat/{name}?signature=SECRET").read(preprocessing=WHOLE)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(("status", "tries"), [(401, 1), (403, 1), (404, 1), (408, 3), (429, 3), (500, 3)])
def test_what_may_be_over_soon_is_asked_for_again_and_nothing_else(status, tries, web):
    web.status["/flat/000.png"] = status
    with pytest.raises(DataError):
        Remote(f"{web.address}/flat/000.png").read_bytes()
    assert web.asked["/flat/000.png"] == tries


def test_labels_that_do_not_come_are_not_labels_that_are_not_there(web):
    """Without them the model's own answers would stand in, and nobody would know."""
    root = f"{web.address}/flat/"
    assert open_source(root, class_names=NAMES).labels == (0, 1, 2)
    web.status["/flat/labels.csv"] = 503
    with pytest.raises(UnreachableError, match=r"labels\.csv cannot be read, after 3 tries"):
        open_source(root, class_names=NAMES)
    web.status["/flat/labels.csv"] = 404
    assert open_source(root, class_names=NAMES).labels == (None,) * COUNT
    web.status["/flat/labels.csv"] = 403  # so do buckets answer where there is none
    web.content["/flat/val.txt"] = b"000.png 2\n001.png 1\n002.png 0\n"
    assert open_source(root, class_names=NAMES).labels == (2, 1, 0)


def test_a_page_is_walked_once_and_nobody_is_asked_elsewhere(web):
    web.content["/flat/"] += page("../", "more/", ".cache/", f"{web.address}/private/")
    web.content["/flat/more/"] = page("../", "./", "../more/", f"{web.address}/flat/more/", "z.png", "./a.png")
    web.content["/private/"] = page("secret.png")
    found = dict(Remote(f"{web.address}/flat/").below())
    assert list(found) == [f"{at:03d}.png" for at in range(COUNT)] + ["labels.csv", "more/a.png", "more/z.png"]
    assert web.asked["/private/"] == web.asked["/"] == 0
    assert web.asked["/flat/more/"] == web.asked["/flat/"] == 1


def test_hidden_folders_in_buckets_are_left_alone(tmp_path):
    files = fsspec.filesystem("memory")
    for name in ("b/one.png", "a/two.png", ".cache/three.png", "b/.trash/four.png", ".five.png"):
        files.pipe_file(f"/hidden/{name}", b"x")
    assert [own for own, _ in Remote("memory://hidden").below()] == [".five.png", "a/two.png", "b/one.png"]
    files.rm("/hidden", recursive=True)


def test_a_file_too_large_for_memory_is_not_asked_for(monkeypatch):
    files = fsspec.filesystem("memory")
    files.pipe_file("/large/one.png", b"x" * 11)
    monkeypatch.setattr(remote, "MAX_BYTES", 10)
    monkeypatch.setattr(type(files), "cat_file", lambda *_, **__: pytest.fail("asked for"))
    ((_, one),) = Remote("memory://large").below()
    with pytest.raises(DataError, match=r"large/one.png is larger than"):
        one.read_bytes()
    files.rm("/large", recursive=True)
