"""What every test may use: where the real data are, and small models that are exact to compute."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Several workers share the machine: one torch thread each."""
    import torch

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
