"""``gazeshift serve`` as a process: it starts alone, ends in time, shares work, and says what is wrong."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from uvicorn.server import ServerState

import gazeshift as gs
from gazeshift import cli
from gazeshift.serve.gateway.server import Protocol, bound, config_of
from gazeshift.serve.gateway.settings import ServeSettings
from helpers.gateways import make_detector, png, started, until
from helpers.small_study import NETWORK, make_network

PROMPTLY = 12  # seconds: five, and what a machine with other work takes to notice
SLOW = (
    NETWORK
    + """

class Slow(Tiny):
    def forward(self, images):
        time.sleep(0.02)
        return super().forward(images)


def tiny():
    torch.manual_seed(0)
    return Slow()
"""
)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("process")
    return make_detector(folder / "detector", make_network(folder))


@pytest.fixture(scope="module")
def slow_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow")
    file = folder / "slow_network.py"
    file.write_text("import time\n" + SLOW)
    return make_detector(folder / "detector", f"module:{file}:tiny")


def ended(process: subprocess.Popen[str]) -> tuple[int, float]:
    """Exit code after SIGTERM, and how long it took."""
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    return process.wait(30), time.monotonic() - start


def test_sigterm_finishes_what_is_in_flight(slow_detector: Path) -> None:
    with started("--detector", str(slow_detector), "--batch", "4") as gateway, ThreadPoolExecutor(4) as clients:
        assert gateway.process is not None
        waiting = [clients.submit(gateway.judge, png(seed)) for seed in range(4)]
        until(lambda: gateway.metric("gazeshift_queue") == 4)
        code, seconds = ended(gateway.process)
        assert [one.result(1).status for one in waiting] == [200] * 4
        assert code == 0
        assert seconds < PROMPTLY


def test_sigterm_ends_in_time_whatever_waits(slow_detector: Path) -> None:
    flags = ("--detector", str(slow_detector), "--batch", "1", "--queue", "200")
    with started(*flags) as gateway, ThreadPoolExecutor(150) as clients:
        assert gateway.process is not None
        waiting = [clients.submit(gateway.judge, png(seed)) for seed in range(150)]
        until(lambda: gateway.metric("gazeshift_queue") > 100)
        code, seconds = ended(gateway.process)
        answers = [one.result(1) for one in waiting]
    finished = [answer for answer in answers if answer.status == 200]
    told = [answer for answer in answers if answer.status == 503]
    assert code == 0
    assert seconds < PROMPTLY
    assert finished
    assert told
    assert len(finished) + len(told) == 150
    assert {answer.code for answer in told} == {"shutting_down"}
    assert {answer.headers["retry-after"] for answer in told} == {"2"}


def test_several_processes_share_the_port_and_add_up(detector: Path, tmp_path: Path) -> None:
    log = tmp_path / "verdicts.jsonl"
    with started("--detector", str(detector), "--workers", "2", "--log", str(log)) as gateway:
        assert gateway.process is not None
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda seed: gateway.judge(png(seed)), range(40)))
        assert [answer.status for answer in answers] == [200] * 40
        assert gateway.metric("gazeshift_verdicts_total") == 40
        assert gateway.metric("gazeshift_recent_judged") == 40
        assert len([json.loads(line) for line in log.read_text().splitlines()]) == 40
        code, seconds = ended(gateway.process)
        assert code == 0
        assert seconds < PROMPTLY


def workers(parent: int) -> list[int]:
    """Processes that serve for one that leads them."""
    found = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes as Linux tells of them")
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_several_processes_end_in_time_however_busy_and_never_outlive_the_one_that_leads(
    detector: Path, tmp_path: Path, kind: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "log")  # whoever writes to it without a reader holds its thread for ever
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    flags = ("--detector", str(detector), "--workers", "2", "--timeout", "2", "--log", str(tmp_path / "log"))
    with started(*flags) as gateway:
        assert gateway.process is not None
        until(lambda: len(workers(gateway.process.pid)) == 2)
        pids = workers(gateway.process.pid)
        until(lambda: gateway.metric("gazeshift_promised_false_alarms") > 0)
        assert gateway.judge(png()).status == 200
        os.close(reader)
        with ThreadPoolExecutor(8) as clients:
            assert {one.status for one in clients.map(lambda seed: gateway.judge(png(seed)), range(8))} <= {503, 504}
        start = time.monotonic()
        for pid in (gateway.process.pid, *(pids if kind == signal.SIGINT else ())):  # Ctrl-C reaches all of them
            os.kill(pid, kind)
        gateway.process.wait(30)
        until(lambda: not any(is_alive(pid) for pid in pids))
        assert time.monotonic() - start < PROMPTLY
        with pytest.raises(ConnectionError):  # refused, or reset by one that is just ending
            gateway.ask("/healthz")


def test_the_body_of_an_answer_does_not_wait_until_its_head_is_acknowledged() -> None:
    settings, seen = ServeSettings(port=0), []
    config = config_of(settings, lambda: None)
    config.load()

    class Watched(Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            own = transport.get_extra_info("socket")
            seen.append(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def visit() -> None:
        sock, state = bound(settings), ServerState()
        serving = await asyncio.get_running_loop().create_server(lambda: Watched(config, state, {}), sock=sock)
        _, writer = await asyncio.open_connection(*sock.getsockname())
        while not seen:
            await asyncio.sleep(0.01)
        writer.close()
        serving.close()

    with ThreadPoolExecutor(1) as aside:  # playwright's tests leave a loop running in this thread
        aside.submit(asyncio.run, asyncio.wait_for(visit(), 30)).result()
    assert seen[0] != 0


def test_what_is_wrong_is_told_in_one_sentence(
    detector: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flags, words in (
            (("--port", str(port), "--detector", str(detector)), f"port {port} cannot be listened on"),
            (("--detector", str(tmp_path)), "holds no detector"),
            (("--model", "torchvision:resnet18", "--weights", "random"), "no detector ships for torchvision:resnet18"),
            (("--policy", "maybe"), "maybe"),
            (("--detector", str(detector), "--log", str(tmp_path)), "(Is a directory). Name another place: --log."),
            (
                ("--detector", str(detector), "--keep-images", str(file)),
                "(File exists). Name another place: --keep-images.",
            ),
            (("--max-body", "0"), "--max-body"),
        ):
            with pytest.raises(SystemExit) as left:
                cli.main(["serve", *flags])
            assert left.value.code == 2
            said = capfd.readouterr().err
            assert words in said
            assert said.count("\n") == 1


def test_a_missing_package_is_named() -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from gazeshift import cli; cli.main(['serve'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "gazeshift: gazeshift serve needs uvicorn, which is not installed: pip install 'gazeshift[serve]'\n"
    )


def test_an_open_address_without_a_token_is_warned_of(detector: Path) -> None:
    with started("--detector", str(detector), "--host", "0.0.0.0") as gateway:  # noqa: S104
        assert gateway.process is not None
        assert gateway.process.stderr is not None
        gateway.process.terminate()
        warning = gateway.process.communicate(timeout=30)[1]
    assert warning.count("\n") == 1
    assert "0.0.0.0 is open to other machines and no token is asked for" in warning


def test_alone_it_serves_the_embedded_model_with_the_detector_that_ships() -> None:
    with started(GAZESHIFT_TOKEN="") as gateway:
        assert gateway.process is not None
        files = [Path(place).read_bytes() for place in gs.demo_images().places[:2]]
        answers = [gateway.judge(file, "?maps=bn2", Content_Type="image/jpeg") for file in files]
        code, seconds = ended(gateway.process)
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].json["model"] == "efficientnet_lite0"
    assert {"bn1", "blocks.6.0", "bn2"} <= set(answers[0].json["reasons"]["layers"])
    assert answers[0].json["maps"]["bn2"]["height"] == 7
    assert answers[0].json["false_alarms"] == 0.05
    assert code == 0
    assert seconds < PROMPTLY
