"""When too much is asked at once: refused quickly, dropped before it costs, and soon as before."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gazeshift.serve.gateway.settings import ServeSettings
from helpers.gateways import Running, head, make_detector, parsed, png, raw, refused, running, until
from helpers.small_study import make_network


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("queue")
    return make_detector(folder / "detector", make_network(folder))


@pytest.fixture(scope="module")
def gateway(detector: Path) -> Iterator[Running]:
    with running(ServeSettings(detector=detector)) as made:
        yield made


def held(gateway: Running) -> threading.Event:
    """Keep the model busy until the event is set."""
    go = threading.Event()
    gateway.state.batch_queue.run(go.wait, 30)
    return go


def test_beyond_the_queue_the_answer_is_503_at_once_and_it_recovers(detector: Path) -> None:
    with running(ServeSettings(detector=detector, queue=2, batch=2)) as gateway, ThreadPoolExecutor(4) as clients:
        go = held(gateway)
        waiting = [clients.submit(gateway.judge, png(seed)) for seed in range(4)]
        until(lambda: gateway.state.waiting == 4)
        answer = gateway.judge(png())
        assert refused(answer, 503, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        assert refused(gateway.ask("/readyz"), 503, "busy")
        assert gateway.ask("/readyz", method="HEAD").status == 503
        assert gateway.ask("/healthz").status == 200  # it lives: only new images are refused
        assert gateway.metric("gazeshift_queue") == 4
        go.set()
        assert [one.result(30).status for one in waiting] == [200] * 4
        assert gateway.judge(png()).status == 200
        assert gateway.ask("/readyz", method="HEAD").status == 200
        assert gateway.state.waiting == 0


def test_what_cannot_be_answered_in_time_is_refused_at_once(detector: Path) -> None:
    with running(ServeSettings(detector=detector, timeout=20)) as gateway, ThreadPoolExecutor(1) as clients:
        go = held(gateway)
        waiting = clients.submit(gateway.judge, png())
        until(lambda: gateway.state.waiting == 1)
        gateway.state.batch_queue.seconds_per_job = 30.0
        answer = gateway.judge(png())
        assert refused(answer, 503, "busy")
        assert answer.headers["retry-after"] == "15"
        go.set()
        assert waiting.result(30).status == 200
        assert gateway.judge(png()).status == 200


def test_a_model_that_stopped_is_no_health(detector: Path) -> None:
    with running(ServeSettings(detector=detector)) as gateway:
        assert gateway.ask("/healthz").status == gateway.ask("/healthz", method="HEAD").status == 200
        assert gateway.state.batch_queue.close(5)
        assert refused(gateway.ask("/healthz"), 503, "broken")
        answer = gateway.ask("/healthz", method="HEAD")
        assert (answer.status, answer.body) == (503, b"")


def test_a_thread_for_pictures_that_is_stuck_is_no_health_and_the_numbers_still_come(detector: Path) -> None:
    with running(ServeSettings(detector=detector, timeout=0.2)) as gateway:
        go, threads = threading.Event(), gateway.state.pool._max_workers
        stuck = [
            threading.Thread(target=asyncio.run, args=(gateway.state.in_thread(go.wait, 30),)) for _ in range(threads)
        ]
        for thread in stuck:
            thread.start()
        assert gateway.ask("/healthz").status == 200
        assert refused(gateway.judge(png()), 504, "timed_out")
        assert gateway.metric("gazeshift_requests_total") > 0
        until(lambda: gateway.ask("/healthz").status == 503)
        assert "stuck" in refused(gateway.ask("/healthz"), 503, "broken")
        go.set()
        for thread in stuck:
            thread.join(10)
        assert gateway.ask("/healthz").status == 200


def test_a_request_whose_client_left_is_dropped_before_it_costs(gateway: Running) -> None:
    go, before = held(gateway), gateway.metric("gazeshift_verdicts_total")
    line = socket.create_connection(("127.0.0.1", gateway.port))
    line.sendall(head(len(png())) + png())
    until(lambda: gateway.state.waiting == 1)
    line.close()
    until(lambda: gateway.state.waiting == 0)
    go.set()
    assert gateway.judge(png()).status == 200
    assert gateway.metric("gazeshift_verdicts_total") == before + 1
    assert 'status="499"' in gateway.ask("/metrics").body.decode()


def test_a_request_whose_time_is_up_is_told_and_dropped(detector: Path) -> None:
    with running(ServeSettings(detector=detector, timeout=0.5)) as gateway:
        go, images = held(gateway), gateway.metric("gazeshift_batch_size_sum")
        answer = gateway.judge(png())
        assert refused(answer, 504, "timed_out")
        assert answer.headers["retry-after"] == "1"
        go.set()
        slow = parsed(raw(gateway.port, head(len(png())) + png()[:100]))
        assert refused(slow, 408, "timed_out")
        until(lambda: gateway.judge(png()).status == 200)
        assert gateway.metric("gazeshift_batch_size_sum") <= images + 2  # the held call and the last image, no other
