"""Many hostile requests at a gateway in a process of its own; `python -m bench hostile` sends thousands."""

import socket
import threading
from pathlib import Path

import pytest
from bench._gateways import Served
from bench._hostile_requests import Blow, Outcome, strike
from bench.hostile import attacked, steady

from helpers.gateways import make_detector, png, started
from helpers.small_study import make_network

COUNT = 150


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    return make_detector(folder / "detector", make_network(folder))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads a process's memory as Linux tells it")
def test_no_500_no_hang_no_growth(detector: Path) -> None:
    with started("--detector", str(detector), "--timeout", "6") as gateway:
        assert gateway.process is not None
        outcomes, memory = attacked(Served(port=gateway.port, process=gateway.process), COUNT, seed=1)
        honest = gateway.judge(png())
        assert gateway.metric("gazeshift_queue") == 0
    assert [one for one in outcomes if one.fault] == []
    assert len(outcomes) >= COUNT
    assert {200, 400, 415, 422} <= {one.status for one in outcomes}
    assert steady(memory), memory
    assert honest.status == 200


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "500"),
        (b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\nno", "no JSON"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nTraceback", "traceback"),
        (b"", ""),
    ],
)
def test_what_may_not_happen_is_noticed(answer: bytes, fault: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            line, _ = listening.accept()
            with line:
                line.recv(100)
                line.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        found: Outcome = strike(listening.getsockname()[1], Blow(kind="any", pieces=(b"x",)))
        thread.join()
    assert fault in found.fault
    assert bool(found.fault) == bool(fault)
