"""Weights that cannot be downloaded: one sentence, soon, saying where to put them. All traffic meets a dead proxy."""

import json
import os
import subprocess
import sys

import pytest

PLACES = {
    "torchvision:squeezenet1_1": "Put squeezenet1_1-b8a52dc0.pth into {home}/hub/checkpoints, or name a file",
    "timm:resnet18": "Download model.safetensors from https://huggingface.co/timm/resnet18.a1_in1k elsewhere",
    "timm:xception": "Put xception-43020ad28.pth into {home}/hub/checkpoints, or name a file",
}
UNTRAINED = "timm:efficientnet_b8"
CODE = """
import json, sys, time
import timm, torchvision  # not part of the time that counts
from gazeshift.errors import ModelError
from gazeshift.models import load
told = {}
for spec in sys.argv[1:]:
    started = time.perf_counter()
    try:
        load(spec, device="cpu")
    except ModelError as error:
        told[spec] = time.perf_counter() - started, str(error)
sys.stdout.write(json.dumps(told))
"""


@pytest.fixture(scope="module")
def attempts(tmp_path_factory):
    """Seconds and message for each model, what went to standard error, and the folder of the weights."""
    home = tmp_path_factory.mktemp("home")
    dead = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    settings = os.environ | dead | {"TORCH_HOME": str(home), "HF_HOME": str(home), "NO_PROXY": "", "no_proxy": ""}
    command = [sys.executable, "-W", "always", "-c", CODE, *PLACES, UNTRAINED]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), done.stderr, home  # nothing but the answer went to standard output


@pytest.mark.parametrize("spec", PLACES)
def test_no_network(attempts, spec):
    told, _, home = attempts
    seconds, message = told[spec]
    assert message.startswith(f"the weights of {spec} are not on this machine and could not be downloaded (")
    assert PLACES[spec].format(home=home) in message
    assert "--weights FILE" in message
    assert message.endswith("Or look at the untrained network with --weights random.")
    assert seconds < 10


def test_nothing_but_the_sentence_is_told(attempts):
    for word in ("Traceback", "Warning", "Retrying", "thrown while"):
        assert word not in attempts[1]


def test_a_model_that_nobody_ever_trained(attempts):
    _, message = attempts[0][UNTRAINED]
    assert message.startswith("timm has no trained weights for 'efficientnet_b8'. Name a file: --weights FILE.")
