"""Workers that are killed, that cannot begin, that fail; and a leading process that is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gazeshift import cli
from gazeshift.errors import DataError, OutputError, WorkerError
from gazeshift.runs.executors import Scale, processes
from helpers.small_study import make_images, make_network
from helpers.workers import Job, Killer, alone, deadly_network, make_white, run, tables, with_workers

Deviation = pytest.importorskip("gazeshift.studies.deviation.settings").Deviation

COUNT = 24


def make_settings(folder: Path) -> dict:
    make_images(folder / "images", COUNT)
    shared = {"attack": "pgd:steps=3", "epsilon": 0.2, "strengths": "1", "layers": "convs", "batch_size": 2}
    return {"model": make_network(folder), "images": folder / "images", **shared}


@pytest.fixture
def settings(tmp_path) -> dict:
    return make_settings(tmp_path)


def job(settings: dict, out: Path, **more: object) -> Job:
    return Job(start=Deviation.run, settings=Deviation(**settings, **more), out=out)


@dataclass(frozen=True)
class Finished:
    """A run with two workers, of which three are killed on the way, while this process had two threads before it."""

    job: Job
    killed: list[int]
    threads: list[int]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    killer, threads, before = Killer(2, 8, 14), [], torch.get_num_threads()

    def progress(*told: object) -> None:
        threads.append(torch.get_num_threads())
        killer(*told)

    torch.set_num_threads(2)
    wanted = job(make_settings(folder), folder / "out")
    with_workers(wanted, count=2, progress=progress)
    threads.append(torch.get_num_threads())
    torch.set_num_threads(before)
    return Finished(wanted, killer.killed, threads)


def test_three_kill_minus_9_change_nothing(finished, tmp_path):
    assert len(set(finished.killed)) == 3
    assert tables(finished.job.out) == tables(alone(finished.job.into(tmp_path / "one")))


def test_the_manifest_tells_of_workers_and_threads(finished):
    said = json.loads((finished.job.out / "manifest.json").read_text())
    assert said["workers"] == {"kind": "processes", "count": 2}
    assert said["threads"] == 1


def test_the_leading_process_has_one_thread_as_well_meanwhile(finished):
    assert set(finished.threads[:-1]) == {1}
    assert finished.threads[-1] == 2


def test_what_is_finished_is_not_done_again_and_needs_no_worker(finished, monkeypatch):
    first = tables(finished.job.out)
    monkeypatch.setattr("gazeshift.runs.executors.processes.Processes.hire", lambda _: pytest.fail("hired for nothing"))
    assert tables(with_workers(finished.job, count=3)) == first
    assert tables(run(finished.job)) == first


def test_a_cell_that_kills_every_worker_is_named_and_the_others_are_kept(settings, tmp_path):
    make_white(tmp_path / "images" / f"{COUNT - 1:03d}.png")
    settings["model"] = deadly_network(tmp_path, "deadly")
    with pytest.raises(WorkerError, match=r"cell 11 \(images 022.png, 023.png\) ended its worker 3 times .*SIGKILL"):
        with_workers(job(settings, tmp_path / "out"), count=1)
    assert len(list((tmp_path / "out" / "parts").glob("*.rows.parquet"))) == COUNT // 2 - 1


def test_a_model_that_calls_exit_in_a_worker_is_told(settings, tmp_path):
    make_white(tmp_path / "images" / f"{COUNT - 1:03d}.png")
    settings["model"] = deadly_network(tmp_path, "leaving")
    with pytest.raises(WorkerError, match=r"ended a worker with sys.exit\(3\)"):
        with_workers(job(settings, tmp_path / "out"), count=1)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_an_error_of_the_models_code_names_the_images(settings, tmp_path, capsys, workers):
    make_white(tmp_path / "images" / f"{COUNT - 1:03d}.png")
    settings["model"] = deadly_network(tmp_path, "picky")
    flags = [piece for name, given in settings.items() for piece in (f"--{name.replace('_', '-')}", str(given))]
    with pytest.raises(SystemExit):
        cli.main(["study", "deviation", *flags, *workers, "--device", "cpu", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err.splitlines()[-1]
    assert "in cell 11 (images 022.png, 023.png): module:" in said
    assert "cannot be run on 2 images of 3 x 32 x 32: ValueError: white is too much. What is finished is kept" in said


def test_workers_that_die_before_they_begin_are_not_replaced_for_ever(settings, tmp_path):
    settings["model"] = deadly_network(tmp_path, "stillborn")
    with pytest.raises(WorkerError, match=r"3 workers in a row died before .* code 7"):
        with_workers(job(settings, tmp_path / "out"), count=1)


def test_an_error_of_a_worker_is_raised_here_with_its_place_as_a_note(settings, tmp_path):
    settings["model"] = deadly_network(tmp_path, "broken")
    with pytest.raises(Exception, match="no such luck") as raised:
        with_workers(job(settings, tmp_path / "out"), count=1)
    assert "deadly_network.py" in "".join(raised.value.__notes__)


def test_bad_settings_are_one_error_here_and_start_nobody(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("gazeshift.runs.executors.processes.Processes.hire", lambda _: pytest.fail("hired for nothing"))
    with pytest.raises(DataError, match="no images at"):
        with_workers(job({**settings, "images": tmp_path / "nowhere"}, tmp_path / "out"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        with_workers(job(settings, tmp_path / "full"))


def test_an_image_that_vanishes_while_a_run_goes_on_is_named(settings, tmp_path):
    """A worker that is begun later lists the folder anew."""

    def vanish(done: int, *_: object) -> None:
        (tmp_path / "images" / "020.png").unlink(missing_ok=True)
        labels = tmp_path / "images" / "labels.csv"
        labels.write_text("\n".join(line for line in labels.read_text().splitlines() if "020" not in line) + "\n")
        killer(done, 0, "")

    killer = Killer(2, 4)
    with pytest.raises(DataError, match="020"):
        with_workers(job(settings, tmp_path / "out"), progress=vanish)


def test_no_worker_outlives_a_leading_process_that_is_killed(settings, tmp_path):
    command = [sys.executable, "-m", "gazeshift", "study", "deviation", "--workers", "2", "--out", tmp_path / "out"]
    flags = [piece for name, given in settings.items() for piece in (f"--{name.replace('_', '-')}", given)]
    leading = subprocess.Popen(map(str, [*command, *flags]), stderr=subprocess.PIPE)
    parts, workers = tmp_path / "out" / "parts", []
    until = time.monotonic() + 60
    while not list(parts.glob("[!.]*.rows.parquet")) and time.monotonic() < until:
        time.sleep(0.01)
    workers = children(leading.pid)
    leading.kill()
    leading.wait()
    assert workers
    check_gone(workers)
    leading.stderr.close()
    assert tables(alone(job(settings, tmp_path / "out"))) == tables(alone(job(settings, tmp_path / "one")))


def begun_and_busy(settings: dict, tmp_path: Path, count: int) -> subprocess.Popen:
    """A study in a session of its own, with a worker that would be busy for minutes."""
    make_white(tmp_path / "images" / f"{COUNT - 1:03d}.png")
    settings["model"] = deadly_network(tmp_path, "sleepy")
    command = [sys.executable, "-m", "gazeshift", "study", "deviation", "--workers", count, "--out", tmp_path / "out"]
    flags = [piece for name, given in settings.items() for piece in (f"--{name.replace('_', '-')}", given)]
    leading = subprocess.Popen(
        [str(piece) for piece in (*command, *flags)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore SIGINT, and so would this one if the tests were such a job.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    asleep, until = tmp_path / "deadly_network.py.asleep", time.monotonic() + 120
    while not asleep.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert asleep.exists()
    return leading


def test_not_even_one_that_is_busy_outlives_it(settings, tmp_path):
    leading = begun_and_busy(settings, tmp_path, 1)
    workers = children(leading.pid)
    leading.kill()
    leading.wait()
    leading.stderr.close()
    assert workers
    check_gone(workers)


def test_ctrl_c_in_a_terminal_ends_everything_with_one_sentence(settings, tmp_path):
    leading = begun_and_busy(settings, tmp_path, 2)
    workers = children(leading.pid)
    os.killpg(leading.pid, signal.SIGINT)  # as a terminal does: to all of them
    said = leading.communicate(timeout=30)[1]
    assert leading.returncode == 130
    assert "stopped. What is finished is kept" in said
    assert "Traceback" not in said
    check_gone(workers)


def test_commands_offer_workers_and_refuse_none(settings, tmp_path, capsys):
    flags = [piece for name, given in settings.items() for piece in (f"--{name.replace('_', '-')}", given)]
    with pytest.raises(SystemExit) as ended:
        cli.main(["study", "deviation", *map(str, flags), "--workers", "0", "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "--workers" in capsys.readouterr().err
    assert Scale(workers=2).is_alone is False


def children(pid: int) -> list[int]:
    return [int(own) for own in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def check_gone(pids: list[int]) -> None:
    """They may take a moment to see that nobody listens any more."""
    until = time.monotonic() + 60
    while any(is_alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in pids if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("device", "visible", "given"),
    [("auto", None, ["0", "1", "0"]), ("cuda", "GPU-a, GPU-b", ["GPU-a", "GPU-b", "GPU-a"]), ("cpu", None, [None] * 3)],
)
def test_gpus_are_given_out_in_turn(device, visible, given, monkeypatch):
    started = []

    class OneProcess:
        def __init__(self, environment: dict) -> None:
            assert environment["OMP_NUM_THREADS"] == "1"
            started.append(environment.get("CUDA_VISIBLE_DEVICES"))
            self.is_alive = True

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(processes, "OneProcess", OneProcess)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    team = processes.Processes(3, wants_gpu=device in ("auto", "cuda"))
    workers = [team.hire() for _ in range(3)]
    assert started == given
    workers[1].is_alive = False
    team.hire()  # in the place of the one that died, with its GPU
    assert started[3] == given[1]


def test_the_environment_of_a_worker_is_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with processes._environment(processes.ONE_THREAD):
        assert os.environ["MKL_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for a signal when its leader ends")
def test_a_worker_whose_leader_has_ended_ends(monkeypatch):
    monkeypatch.setattr(processes, "parent_process", lambda: SimpleNamespace(join=lambda: None))
    monkeypatch.setattr(processes.os, "_exit", sys.exit)
    with pytest.raises(SystemExit):
        processes._end_with_parent()
