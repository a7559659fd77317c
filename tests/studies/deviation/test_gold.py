"""The page of a small study, word for word. GAZESHIFT_WRITE_GOLD=1 writes it anew: read what changed, then commit."""

import difflib
import os
import re
from pathlib import Path

import pytest

from gazeshift import report
from helpers.synthetic_study import write_study

GOLD = Path(__file__).parent / "gold.html"
# What is compressed may differ from one zlib to the next; style and scripts are files of their own.
ELIDED = (
    r'(<script type="text/plain" id="\w+">)[A-Za-z0-9+/=]+()',
    r"(<style>).*?(</style>)",
    r'(<script>\n"use strict";).*?(</script>)',
    r'(data:image/webp;base64,)[A-Za-z0-9+/=]+(")',
    r'("maps":")[A-Za-z0-9+/=]+(")',
    r'("colours":")[A-Za-z0-9+/=]+(")',
)


def elided(text: str) -> str:
    for pattern in ELIDED:
        text = re.sub(pattern, r"\1…\2", text, flags=re.DOTALL)
    return text


def test_page_is_the_gold_page(tmp_path):
    study = write_study(tmp_path, images=5, layers=3, attacks=("pgd",), strengths=(0.5, 1.0), shown=1)
    made = elided(report.make(study).html)
    assert len(made) < 60_000, "something large was not elided"
    if os.environ.get("GAZESHIFT_WRITE_GOLD") == "1":
        GOLD.write_text(made, encoding="utf-8")
    if not GOLD.is_file():
        pytest.fail("there is no gold page: write it with GAZESHIFT_WRITE_GOLD=1")
    wanted = GOLD.read_text(encoding="utf-8")
    changes = difflib.unified_diff(wanted.splitlines(), made.splitlines(), "gold", "made", lineterm="", n=1)
    assert made == wanted, "\n".join(list(changes)[:60])
