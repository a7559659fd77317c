"""What every test may use: where the real data are, and small models that are exact to compute."""

import os
import shutil
from pathlib import Path

import pytest

from gazeshift import cli
from gazeshift.runs.executors.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parent.parent
SWITCHES = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
SWITCHES += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session", autouse=True)
def _as_in_a_worker() -> None:
    """Several processes share the machine: one torch thread each, and large blocks of memory are used again."""
    import torch

    keep_freed_memory()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images, named by GAZESHIFT_DATA."""
    folder = Path(os.environ.get("GAZESHIFT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"real images are needed: set GAZESHIFT_DATA to their folder ({folder} is absent)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture
def run(capfd):
    """Run a command in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def browser():
    """Skipped where there is no Chromium; failed where there must be one."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        message = "no browser: install Chromium (apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=SWITCHES)
        yield opened
        opened.close()
