"""What the gateway refuses, over real HTTP: too large, too slow, too many, not an image, not allowed."""

import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from gazeshift.errors import SettingsError
from gazeshift.serve.gateway import server
from gazeshift.serve.gateway._jpeg_limits import count_scans
from gazeshift.serve.gateway.errors import GatewayError
from gazeshift.serve.gateway.open import read_token
from gazeshift.serve.gateway.origin import check_host, hosts_of
from gazeshift.serve.gateway.settings import ServeSettings
from helpers.gateways import Running, form, head, jpeg, make_detector, parsed, png, raw, refused, running, until
from helpers.small_study import NETWORK, make_network

TOKEN = "a-token-of-some-length"  # noqa: S105


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits")
    return make_detector(folder / "detector", make_network(folder))


@pytest.fixture(scope="module")
def gateway(detector: Path) -> Iterator[Running]:
    with running(ServeSettings(detector=detector, max_body=0.1, max_pixels=0.01)) as made:
        yield made


def bomb(width: int, height: int) -> bytes:
    """A small PNG file that claims to be large."""
    lines = zlib.compress(b"\0" * 1000)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", lines), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return content


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(gateway: Running) -> None:
    answer = parsed(raw(gateway.port, head(200_000)))
    assert "0.1 MiB" in refused(answer, 413, "too_large")


def test_a_body_that_grows_too_large_is_refused_while_it_comes(gateway: Running) -> None:
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    start = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    assert refused(parsed(raw(gateway.port, start, *[chunk] * 20)), 413, "too_large")
    assert gateway.state.intake.held == 0


def test_uploads_together_are_bounded(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gazeshift.serve.gateway.intake.HELD", 0.01)
    answer = gateway.judge(png())
    assert refused(answer, 503, "busy")
    assert answer.headers["retry-after"] == "1"
    assert gateway.state.intake.held == 0


@pytest.mark.parametrize("size", [(101, 100), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_before_it_is_decoded(
    gateway: Running, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gazeshift.serve.gateway.intake.decode", lambda *_, **__: pytest.fail("it was decoded"))
    assert "million allowed" in refused(gateway.judge(bomb(*size)), 422, "too_many_pixels")


def test_a_jpeg_with_very_many_scans_is_refused_before_it_is_decoded(
    gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gateway.judge(jpeg(20)).status == 200
    assert gateway.judge(jpeg(26, side=100)).status == 200  # with its own 6 these are 32 passes over all it may have
    monkeypatch.setattr("gazeshift.serve.gateway.intake.decode", lambda *_, **__: pytest.fail("it was decoded"))
    assert "more than 78 times" in refused(gateway.judge(jpeg(1000)), 422, "too_many_scans")
    assert "more than 32 times" in refused(gateway.judge(jpeg(27, side=100)), 422, "too_many_scans")
    assert refused(gateway.judge(jpeg(1000) + jpeg(0)), 422, "too_many_scans")


@pytest.mark.parametrize(("mode", "scans"), [("RGB", 10), ("L", 6), ("CMYK", 18)])
def test_scans_are_counted_as_the_decoder_meets_them(mode: str, scans: int) -> None:
    content = encoded("JPEG", mode, progressive=True)
    hidden = b"\xff\xe1" + struct.pack(">H", 2 + 400) + b"\xff\xda\0\2" * 100  # a preview within a segment
    assert count_scans(content) == scans
    assert count_scans(content[:2] + hidden + content[2:]) == scans
    assert count_scans(content + hidden * 9 + content) == scans  # what comes behind the end is not decoded
    assert count_scans(encoded("JPEG", mode)) == count_scans(encoded("JPEG", mode, restart_marker_rows=1)) == 1
    assert count_scans(content.replace(b"\xff\xda", b"\xff\xff\xff\xda")) == scans  # filled up
    assert count_scans(jpeg(1000)) == 101
    assert count_scans(png()) == 0


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 2**20, b"\xff\xfe\0\2" * 2**18, b"\xff\xfe\0\0" * 2**18, b"\xff\xda\0\2" + b"\xff\x01" * 2**19],
)
def test_a_jpeg_of_nothing_but_markers_is_refused(content: bytes) -> None:
    with pytest.raises(GatewayError, match="too many markers"):
        count_scans(b"\xff\xd8" + content)


def encoded(form: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((40, 40), 90).convert(mode).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"GIF89a", "must be one of"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "must be one of"),
        (png()[:-400], "truncated"),
        (png()[:60], "truncated"),
        (encoded("TIFF"), "must be one of JPEG"),
        (encoded("PPM"), "must be one of JPEG"),
        (png(width=4, height=4), "at least 8"),
        (bomb(30, 30), "cut off|truncated|damaged"),
    ],
)
def test_what_is_no_image_is_told(gateway: Running, content: bytes, word: str) -> None:
    message = refused(gateway.judge(content), 422, "bad_image")
    assert any(one in message for one in word.split("|")), message
    assert "Traceback" not in message


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json", "", "\xff"])
def test_other_content_types_are_refused(gateway: Running, kind: str) -> None:
    message = refused(gateway.ask("/v1/judge", png(), Content_Type=kind), 415, "unsupported_media_type")
    assert "multipart field 'image'" in message


def test_forms_that_are_none(gateway: Running) -> None:
    body, kind = form(png())
    other, _ = form(png(), name="photo")
    twice = body.rpartition(b"--cut-here--")[0] + body
    for sent, kind_of, status, code in (
        (body[:-20], kind, 400, "bad_form"),
        (b"", kind, 400, "bad_form"),
        (body, "multipart/form-data", 400, "bad_form"),
        (body, "multipart/form-data; boundary=" + "x" * 500, 400, "bad_form"),
        (body.replace(b"\r\n", b"\n"), kind, 400, "bad_form"),
        (other, kind, 422, "no_image"),
        (twice, kind, 422, "many_images"),
        (form(b"", name="x")[0].rpartition(b"--cut-here--")[0] * 101 + body, kind, 400, "bad_form"),
    ):
        assert refused(gateway.ask("/v1/judge", sent, Content_Type=kind_of), status, code)


def test_paths_and_methods_have_the_same_shape(gateway: Running) -> None:
    assert refused(gateway.ask("/nowhere"), 404, "not_found")
    assert refused(gateway.ask("/page/../_guard.py"), 404, "not_found")
    assert refused(gateway.ask("/page/%2e%2e%2f_guard.py"), 404, "not_found")
    answer = gateway.ask("/v1/judge")
    assert refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    for path in ("/v1/model/", "/metrics/", "/docs/"):
        assert refused(gateway.ask(path), 404, "not_found")
    assert refused(gateway.ask("/v1/judge/", png(), Content_Type="image/png"), 404, "not_found")
    assert refused(gateway.judge(png(), "?maps=" + "x" * 3000), 422, "unprocessable")


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000,
    ],
)
def test_what_is_no_http_is_refused_in_json(gateway: Running, head: bytes) -> None:
    assert refused(parsed(raw(gateway.port, head)), 400, "bad_request")


def test_a_head_that_is_too_long_is_refused_though_it_came_at_once(gateway: Running) -> None:
    assert refused(gateway.judge(png(), X_Long="x" * 40_000), 431, "head_too_long")


def test_a_broken_chunk_ends_the_request(gateway: Running, caplog: pytest.LogCaptureFixture) -> None:
    start = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    assert refused(parsed(raw(gateway.port, start, b"zz\r\n")), 400, "bad_request")
    assert refused(parsed(raw(gateway.port, start.replace(b"/judge", b"/nowhere") + b"zz\r\n")), 400, "bad_request")
    assert gateway.judge(png()).status == 200
    assert caplog.text == ""


def test_a_head_that_does_not_end_is_closed(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    start = time.monotonic()
    assert raw(gateway.port, b"POST /v1/judge HTTP/1.1\r\n", b"X: y\r\n", pause=0.1) == b""
    assert time.monotonic() - start < 10


def unread(port: int, count: int) -> socket.socket:
    """A connection that asks for much and takes little at a time."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect(("127.0.0.1", port))
    line.sendall(b"GET /explorer/start HTTP/1.1\r\nHost: localhost\r\n\r\n" * count)
    return line


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[server.Protocol]:
    """Connections that ended."""
    ended: list[server.Protocol] = []
    told = server.Protocol.connection_lost
    monkeypatch.setattr(server.Protocol, "connection_lost", lambda self, why: (told(self, why), ended.append(self)))
    return ended


def test_who_asks_and_never_reads_is_let_go(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, lost: list[server.Protocol]
) -> None:
    monkeypatch.setattr(server, "STALLED", 0.3)
    with unread(gateway.port, 300) as line:
        until(lambda: line.getsockname() in [one.client for one in lost])
        until(lambda: not lost[0].tasks)
    assert gateway.ask("/healthz").status == 200


def test_an_answer_that_is_never_read_ends_with_its_connection(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, lost: list[server.Protocol]
) -> None:
    monkeypatch.setattr(server, "STALLED", 0.3)
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(server.Protocol, "pause_writing", lambda _: None)  # as if it were too little to pause for
    with unread(gateway.port, 300) as line:
        until(lambda: line.getsockname() in [one.client for one in lost])


def test_who_reads_slowly_gets_all(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STALLED", 0.8)
    monkeypatch.setattr("gazeshift.serve.explorer.routes._opening", lambda _: {"about": "x" * 20_000_000})
    got, start = 0, time.monotonic()
    with unread(gateway.port, 1) as line:
        line.settimeout(10)
        while got < 20_000_000:
            piece = line.recv(1 << 16)
            assert piece, f"it ended after {got} bytes"
            got += len(piece)
            time.sleep(len(piece) / 8e6)
    assert time.monotonic() - start > 2 * 0.8


def test_too_many_connections_are_told(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 0)
    answer = parsed(raw(gateway.port))
    assert refused(answer, 503, "busy")
    assert answer.headers["retry-after"] == "1"


def test_a_model_of_any_size_takes_images_as_they_are_and_refuses_what_it_cannot(tmp_path: Path) -> None:
    file = tmp_path / "any_size.py"
    network = NETWORK.replace("    input_size = 32\n", "").replace("padding=1, stride=2", "padding=0, dilation=9")
    file.write_text(network)
    detector = make_detector(tmp_path / "detector", f"module:{file}:tiny", side=40)
    with running(ServeSettings(detector=detector)) as gateway:
        for width, height in ((40, 32), (64, 48), (24, 24)):
            answer = gateway.judge(png(width=width, height=height), "?maps=first")
            assert answer.status == 200
            assert answer.json["resized_from"] is None
            assert (answer.json["maps"]["first"]["width"], answer.json["maps"]["first"]["height"]) == (width, height)
        for path in ("/v1/judge", "/v1/judge?maps=first", "/v1/look"):
            small = gateway.ask(path, png(width=10, height=12), Content_Type="image/png")
            assert "10 x 12" in refused(small, 422, "unsuitable_image")


def test_half_a_body_leaves_nothing_behind(gateway: Running) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", gateway.port)) as line:
            line.sendall(head(len(png())) + png()[:500])
    until(lambda: gateway.state.intake.held == 0)
    assert gateway.state.waiting == 0
    assert gateway.judge(png()).status == 200


def test_a_token_is_wanted_for_everything_that_costs(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZESHIFT_TOKEN", TOKEN)
    with running(ServeSettings(detector=detector)) as gateway:
        for sent in (
            {},
            {"Authorization": TOKEN},
            {"Authorization": "Bearer " + TOKEN[:-1]},
            {"Authorization": "\xff"},
        ):
            answer = gateway.judge(png(), **sent)
            assert refused(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert gateway.ask("/metrics").status == gateway.ask("/nowhere").status == 401
        assert gateway.judge(png(), Authorization=f"Bearer {TOKEN}").status == 200
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/"):
            assert gateway.ask(path).status == 200


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ({}, True),
        ({"Origin": "http://127.0.0.1:{port}"}, True),
        ({"Origin": "http://LOCALHOST:{port}", "Host": "localhost:{port}"}, True),
        ({"Origin": "http://[::1]", "Host": "[::1]:80"}, True),
        ({"Origin": "https://localhost:443", "Host": "localhost"}, True),
        ({"Origin": "https://gate.example", "Sec_Fetch_Site": "same-origin"}, True),  # a proxy changed the host
        ({"Sec_Fetch_Site": "none"}, True),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"Origin": "http://127.0.0.1"}, False),
        ({"Origin": "http://other.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "null", "Host": ""}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://127.0.0.1:{port}", "Sec_Fetch_Site": "cross-site"}, False),
        ({"Sec_Fetch_Site": "same-site"}, False),
        ({"Sec_Fetch_Site": "cross-site"}, False),
    ],
)
def test_a_page_of_another_site_cannot_send_images(gateway: Running, headers: dict[str, str], may: bool) -> None:
    sent = {name: value.format(port=gateway.port) for name, value in headers.items()}
    body, kind = form(png())
    for answer in (gateway.judge(png(), **sent), gateway.ask("/explorer/see", body, Content_Type=kind, **sent)):
        assert may or refused(answer, 403, "wrong_origin")
        assert answer.status == (200 if may else 403)
    assert gateway.ask("/", **sent).status == gateway.ask("/healthz", **sent).status == 200


@pytest.mark.parametrize("host", ["other.example", "other.example:80", "127.0.0.1.other.example", "[", "[::2]", "a b"])
def test_a_name_pointed_to_this_machine_reads_nothing(gateway: Running, host: str) -> None:
    for path in ("/", "/explorer/start", "/v1/model", "/metrics", "/nowhere"):
        assert "must be 127.0.0.1 or localhost or ::1." in refused(gateway.ask(path, Host=host), 403, "wrong_host")
    assert refused(gateway.judge(png(), Host=host), 403, "wrong_host")
    with pytest.raises(GatewayError, match="the host must be"):
        check_host(host, hosts_of(ServeSettings(host="localhost")))
    check_host(host, hosts_of(ServeSettings(host="0.0.0.0")))  # noqa: S104 - others know it by names of their own


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9000", "LocalHost", "[::1]:8000", ""])
def test_this_machines_own_names_are_known(gateway: Running, host: str) -> None:
    assert gateway.ask("/v1/model", Host=host).status == 200
    assert gateway.judge(png(), Host=host).status == 200


def test_behind_a_proxy_a_gateway_with_a_token_is_asked_by_any_name(
    detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAZESHIFT_TOKEN", TOKEN)
    with running(ServeSettings(detector=detector)) as gateway:
        sent = {"Host": "gate.example", "Authorization": f"Bearer {TOKEN}"}
        assert gateway.judge(png(), **sent).status == 200
        assert gateway.judge(png(), Origin="https://gate.example", **sent).status == 200
        assert refused(gateway.judge(png(), Sec_Fetch_Site="cross-site", **sent), 403, "wrong_origin")


def test_tokens_that_cannot_be_used_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAZESHIFT_TOKEN", raising=False)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(ServeSettings(token_file=file)) == TOKEN
    assert read_token(ServeSettings()) == ""
    for content in ("", "short", "with\x00control-characters"):
        file.write_text(content)
        with pytest.raises(SettingsError, match="at least 16"):
            read_token(ServeSettings(token_file=file))
    with pytest.raises(SettingsError, match="token-file"):
        read_token(ServeSettings(token_file=tmp_path / "none"))


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("192.0.2.1", False), ("gate.example", False)],
)
def test_what_is_local(host: str, local: bool) -> None:
    assert ServeSettings(host=host).is_local == local


def test_errors_hold_json_alone(gateway: Running) -> None:
    answer = gateway.ask("/nowhere")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert json.loads(answer.body)["error"]["details"] == {}
