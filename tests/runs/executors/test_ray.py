"""Ray: the same bytes as from one process, after killed actors too; and what is said when there is no Ray."""

import os
import signal
import sys
from pathlib import Path

import pytest

from gazeshift import cli
from gazeshift.errors import MissingPackageError, SettingsError, WorkerError
from gazeshift.runs.executors import Scale
from helpers.small_study import make_images, make_network
from helpers.workers import Job, alone, deadly_network, make_white, run, tables

Deviation = pytest.importorskip("gazeshift.studies.deviation.settings").Deviation

ray = pytest.importorskip("ray")
COUNT = 16


@pytest.fixture
def settings(tmp_path) -> dict:
    make_images(tmp_path / "images", COUNT)
    shared = {"attack": "pgd:steps=3", "epsilon": 0.2, "strengths": "1", "layers": "convs", "batch_size": 2}
    return {"model": make_network(tmp_path), "images": tmp_path / "images", **shared}


@pytest.fixture(scope="module")
def cluster():
    """One cluster for the tests that join one. What Ray leaves unclosed in its own process is not ours to mend."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    found = ray.init("local", num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    yield found.address_info["address"]
    ray.shutdown()


def job(settings: dict, out: Path) -> Job:
    return Job(start=Deviation.run, settings=Deviation(**settings), out=out)


def actors() -> list[int]:
    """Process ids of the actors whose cluster this process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::Actor") and parent(
                parent(folder.name)
            ) == os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def parent(pid: object) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_killed_actors_change_nothing(settings, tmp_path, cluster):
    expected, killed, at = tables(alone(job(settings, tmp_path / "one"))), [], [2, 8]

    def kill(done: int, *_: object) -> None:
        if at and done >= at[0]:
            at.pop(0)
            killed.append(next(pid for pid in actors() if pid not in killed))
            os.kill(killed[-1], signal.SIGKILL)

    found = run(job(settings, tmp_path / "two"), Scale(workers=2, ray=cluster), progress=kill)
    assert len(set(killed)) == 2
    assert tables(found) == expected
    assert ray.is_initialized()  # a cluster that was there before stays


def test_a_cell_that_kills_every_actor_is_named(settings, tmp_path, cluster):
    make_white(tmp_path / "images" / f"{COUNT - 1:03d}.png")
    settings["model"] = deadly_network(tmp_path, "deadly")
    with pytest.raises(WorkerError, match=r"cell 7 \(images 014.png, 015.png\) ended its worker 3 times"):
        run(job(settings, tmp_path / "out"), Scale(workers=2, ray=cluster))


def test_the_command_starts_ray_on_this_machine_and_ends_it(settings, tmp_path, capfd):
    if ray.is_initialized():
        ray.shutdown()
    flags = [piece for name, given in settings.items() for piece in (f"--{name.replace('_', '-')}", str(given))]
    with pytest.raises(SystemExit) as ended:
        cli.main(["study", "deviation", *flags, "--workers", "2", "--ray", "--out", str(tmp_path / "out")])
    assert ended.value.code == 0, capfd.readouterr().err
    assert not ray.is_initialized()
    assert tables(tmp_path / "out") == tables(alone(job(settings, tmp_path / "one")))


def test_an_address_where_nothing_answers_is_one_sentence(settings, tmp_path):
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(SettingsError, match=r"no Ray cluster answers at 127.0.0.1:1 "):
        run(job(settings, tmp_path / "out"), Scale(ray="127.0.0.1:1"))


def test_without_the_package_it_is_said_what_to_install(settings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'gazeshift\[ray\]'"):
        run(job(settings, tmp_path / "out"), Scale(ray="local"))


def test_a_ray_that_does_not_start_is_one_sentence(settings, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise Exception("The current node timed out during startup.\nMore.")  # noqa: TRY002  # as Ray does

    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(
        WorkerError, match=r"Ray does not start on this machine, after 3 tries \(The current node timed out"
    ):
        run(job(settings, tmp_path / "out"), Scale(ray="local"))
