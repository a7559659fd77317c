"""What long commands say of their pace."""

import pytest

from gazeshift.cli import _progress


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(_progress.time, "monotonic", lambda: Clock.now)
    return Clock


def test_what_a_resumed_run_finds_done_is_no_part_of_its_pace(clock):
    pace = _progress.Pace()
    for done in range(8, 808, 8):
        assert pace(done, "images") is None
        clock.now += 0.002
    clock.now += 4.0
    assert pace(808, "images") == pytest.approx(8 / 4, rel=0.01)
    clock.now += 4.0
    assert pace(816, "images") == pytest.approx(16 / 8, rel=0.01)


def test_every_stage_has_a_pace_of_its_own(clock):
    pace = _progress.Pace()
    assert pace(10, "images") is None
    clock.now += 1.0
    assert pace(20, "images") == pytest.approx(10)
    clock.now += 100.0
    assert pace(1, "trainings") is None
    clock.now += 50.0
    assert pace(2, "trainings") == pytest.approx(1 / 50)


def test_lines_tell_pace_and_time_left(clock, capsys):
    step = _progress._lines()
    step(8, 80, "images")
    clock.now += 20.0
    step(48, 80, "images")
    clock.now += 1.0
    step(50, 80, "images")
    clock.now += 9.0
    step(80, 80, "images")
    said = capsys.readouterr().err.splitlines()
    assert said == ["8 of 80 images", "48 of 80 images, 2.00/s, 16 s left", "80 of 80 images, 2.40/s, 0 s left"]
