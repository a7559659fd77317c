"""What nobody gets round, over real HTTP: the token on every route, headers on every answer, limits to the byte."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from gazeshift.calibrated import open_guarded
from gazeshift.errors import ModelError, SettingsError
from gazeshift.serve.gateway import guarded_model, server
from gazeshift.serve.gateway.open import read_token
from gazeshift.serve.gateway.settings import ServeSettings
from helpers.gateways import Running, form, head, make_detector, parsed, png, raw, refused, running, until
from helpers.small_study import make_network

TOKEN = "a-token-of-some-length"  # noqa: S105
PUBLIC = {"/", "/docs", "/openapi.json", "/healthz", "/readyz", "/page/{name}"}


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reach")
    return make_detector(folder / "detector", make_network(folder))


@pytest.fixture(scope="module")
def gateway(detector: Path) -> Iterator[Running]:
    with running(ServeSettings(detector=detector, max_body=0.5)) as made:
        yield made


def test_every_route_but_the_public_ones_wants_the_token(detector: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZESHIFT_TOKEN", TOKEN)
    with running(ServeSettings(detector=detector)) as gateway:
        routes = [
            ("POST", "/v1/judge"),
            ("POST", "/v1/look"),
            ("GET", "/v1/model"),
            ("GET", "/metrics"),
            ("GET", "/explorer/start"),
            ("GET", "/explorer/samples/any.jpg"),
            ("POST", "/explorer/see"),
            ("POST", "/explorer/report"),
            ("GET", "/pages"),
            ("GET", "/docs/"),
        ]
        listed = {path for method, path in routes} | set(gateway.ask("/openapi.json").json["paths"])
        for path in listed - PUBLIC:
            for method in ("GET", "HEAD", "POST"):
                assert gateway.ask(path, method=method).status == 401, (method, path)
        assert refused(gateway.ask("/v1/model", Authorization=f"Bearer {TOKEN}x"), 401, "unauthorized")
        assert refused(gateway.ask("/v1/model", Authorization=f"Bearer {TOKEN.upper()}"), 401, "unauthorized")
        assert refused(gateway.ask("/v1/model", Authorization="Bearer "), 401, "unauthorized")
        assert refused(gateway.ask("/v1/model", Authorization=f"Basic {TOKEN}"), 401, "unauthorized")
        assert gateway.ask("/v1/model", Authorization=f"bearer {TOKEN}").status == 200


def test_every_answer_has_the_same_headers_once(gateway: Running) -> None:
    for path, kept in (("/v1/model", "no-store"), ("/nowhere", "no-store"), ("/docs", "no-store"), ("/", "no-cache")):
        lines = raw(gateway.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        found = [line.partition(": ")[::2] for line in lines.partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")]
        for name, value in (
            ("cache-control", kept),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "deny"),
            ("referrer-policy", "no-referrer"),
        ):
            assert [given for one, given in found if one == name] == [value], path


def test_pages_run_nothing_from_elsewhere_and_stand_in_no_frame(gateway: Running) -> None:
    policy = gateway.ask("/docs").headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert not [rule for rule in policy if rule.startswith("script-src")]
    for path in ("/", "/page/main.js"):
        policy = gateway.ask(path).headers["content-security-policy"].split("; ")
        kept = {"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"}
        assert kept | {"base-uri 'none'", "form-action 'none'"} <= set(policy), path


def test_a_long_path_counts_as_a_long_head(gateway: Running) -> None:
    assert refused(gateway.ask("/nowhere?" + "x" * 40_000), 431, "head_too_long")
    assert refused(gateway.ask("/" + "x" * 40_000), 431, "head_too_long")


def test_a_body_may_be_as_large_as_is_said_and_not_a_byte_larger(gateway: Running) -> None:
    most = gateway.ask("/v1/model").json["limits"]["body_bytes"]
    assert most == 2**19
    picture = png()
    for body, status in ((picture + bytes(most - len(picture)), 200), (picture + bytes(most + 1 - len(picture)), 413)):
        assert gateway.judge(body).status == status
        assert gateway.judge(iter([body[:1000], body[1000:]])).status == status  # in chunks: no length is declared


def test_limits_are_told_as_they_are(gateway: Running) -> None:
    told, settings = gateway.ask("/v1/model").json["limits"], gateway.state.settings
    assert told == {
        "body_bytes": 2**19,
        "pixels": 32_000_000,
        "formats": ["JPEG", "PNG", "WEBP", "BMP", "GIF"],
        "queue": settings.queue,
        "timeout_seconds": settings.timeout,
    }
    assert (gateway.state.batch_queue.max_batch, gateway.state.batch_queue.wait) == (8, pytest.approx(0.005))
    start = gateway.ask("/explorer/start").json
    assert (start["max_body"], start["formats"]) == (told["body_bytes"], told["formats"])
    assert start["threshold"] == pytest.approx(gateway.state.deployed.threshold, rel=1e-5)
    assert start["false_alarms"] == gateway.state.deployed.false_alarms


def test_fields_beside_the_image_are_passed_over(gateway: Running) -> None:
    body, kind = form(png(2))
    note = b'--cut-here\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    nameless = b"--cut-here\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
    last = b"--cut-here--\r\n"
    for sent in (
        note + body,
        body.replace(last, note + last),
        body.replace(last, nameless + last),
        body.replace(b"Content-Disposition", b"content-disposition"),
        body.replace(b'; filename="../../a.png"', b""),
    ):
        answer = gateway.ask("/v1/judge", sent, Content_Type=kind)
        assert answer.status == 200
        assert answer.json["sha256"] == gateway.judge(png(2)).json["sha256"]


def test_while_the_queue_is_full_no_body_is_waited_for(detector: Path) -> None:
    with running(ServeSettings(detector=detector, queue=1, batch=1)) as gateway, ThreadPoolExecutor(2) as clients:
        go = threading.Event()
        gateway.state.batch_queue.run(go.wait, 30)
        waiting = [clients.submit(gateway.judge, png(seed)) for seed in range(2)]
        until(lambda: gateway.state.waiting == 2)
        assert refused(parsed(raw(gateway.port, head(1000, more="Connection: close\r\n"))), 503, "busy")
        go.set()
        assert [one.result(30).status for one in waiting] == [200] * 2


def test_half_a_head_behind_an_answer_that_took_long_is_not_waited_for(
    gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    go = threading.Event()
    gateway.state.batch_queue.run(go.wait, 30)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as line:
        line.sendall(head(len(png())) + png())
        until(lambda: gateway.state.waiting == 1)
        time.sleep(0.6)  # until what watches over the first head has looked once
        go.set()
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
        with suppress(ConnectionError):
            line.sendall(b"POST /v1/judge HTTP/1.1\r\n")
            while line.recv(65536):  # a timeout of the test's if it is never closed
                pass


def test_more_maps_than_an_answer_holds_are_refused(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_model, "MAX_MAPS", 2)
    path = "/v1/look?layers=first,second&cams=grad_cam"
    assert gateway.ask(path, png(), Content_Type="image/png").status == 200
    assert gateway.ask(f"{path},grad_cam", png(), Content_Type="image/png").status == 200, "the same again is no more"
    said = refused(gateway.ask(f"{path},layer_cam", png(), Content_Type="image/png"), 422, "too_many_maps")
    assert "2 layers with 2 CAMs" in said


def test_an_error_of_ours_is_told_without_its_message(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ModelError("the weights of somebody are damaged")

    monkeypatch.setattr(guarded_model, "judge", broken)
    answer = gateway.judge(png())
    assert (answer.status, answer.code) == (500, "internal")
    assert b"somebody" not in answer.body


def test_paths_that_are_not_ours_are_counted_as_one(gateway: Running) -> None:
    def counted() -> float:
        return gateway.metric(r'gazeshift_requests_total\{path="other",status="404"\}')

    before = counted()
    for at in range(3):
        gateway.ask(f"/nowhere-{at}")
    assert counted() == before + 3
    assert b"nowhere" not in gateway.ask("/metrics").body


def test_tokens_are_long_enough_and_the_file_comes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAZESHIFT_TOKEN", "x" * 16)
    assert read_token(ServeSettings()) == "x" * 16
    file = tmp_path / "token"
    file.write_text("y" * 16)
    assert read_token(ServeSettings(token_file=file)) == "y" * 16
    file.write_text("y" * 15)
    with pytest.raises(SettingsError, match="got 15"):
        read_token(ServeSettings(token_file=file))


def test_it_answers_this_machine_alone_unless_told_otherwise() -> None:
    assert ServeSettings().is_local
    assert ServeSettings().keep_images is ServeSettings().log is None


def test_a_detector_of_another_model_guards_nothing(detector: Path, tmp_path: Path) -> None:
    other = make_network(tmp_path)
    file = tmp_path / "tiny_network.py"
    file.write_text(file.read_text().replace("manual_seed(0)", "manual_seed(1)"))
    with pytest.raises(SettingsError, match="the detector was fitted for"):
        open_guarded(detector, model=other, weights=None, device="cpu")
