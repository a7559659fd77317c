"""The evidence behind docs/errata.md says what the page says."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "errata.py"
SHOWN = {
    "strengths": ["strength 0.5: -0.25 ", "strength 1: -0.25 ", "strength 4: +3.75 ", "noise -1.25"],
    "truncation": ["RMS 0.125: cut off to 8 bit RMS 0.71, mean -0.50", "0.3 % of the values"],
    "chance": ["compromise probability 0.498"],
    "jet": ["cosine 0.00, of the jet pictures 0.94", "cosine 0.00, of the jet pictures 0.74"],
    "noisecam": ["none: ", "correlation with Grad-CAM++ 1.0000; 0 % of the map is blank", "all: ", "77 %"],
    "nissim": ["a map with itself: 0.000", "unrelated maps of 7 x 7 pixels: 0.32"],
    "mean-shift": ["epsilon 0.01: MOD 0.12", "13 % of it; classified right: 18 clean, 2 and 17", "57 % of it"],
    "vid": ["by the formula 0.10 (deviation), by the text 0.01"],
    "test-sets": ["Table 1: 296 images", "Table 2: 257 images"],
    "feature-maps": ["0.08838; 1/sqrt(128) = 0.08839", "0.08835 and 0.08835"],
    "change-statistics": ["Table 8: clean +7.710, adversarial +2.970", "Table 10: clean +0.601", "adversarial -20.112"],
    "detector": ["30.1 epochs", "98.745 %"],
}


@pytest.fixture(scope="module")
def evidence() -> dict:
    return runpy.run_path(str(TOOL))["EVIDENCE"]


def test_every_piece_is_looked_at(evidence):
    assert set(SHOWN) == set(evidence)


@pytest.mark.parametrize("name", SHOWN)
def test_it_shows_what_the_page_says(evidence, name):
    text = "\n".join(evidence[name]())
    for wanted in SHOWN[name]:
        assert wanted in text


def test_the_page_names_only_evidence_that_is_there(evidence):
    page = (ROOT / "docs" / "errata.md").read_text("utf-8")
    named = set(re.findall(r"tools/errata\.py ([a-z-]+)", page))
    assert named == set(evidence)


def test_a_misspelt_name_ends_in_a_sentence():
    done = subprocess.run([sys.executable, str(TOOL), "jett"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("no evidence named 'jett'. Known: strengths, ")
