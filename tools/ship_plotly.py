"""Take plotly.js into the package: its bundle of Cartesian charts as npm has it, with its licence and where it is from.

``python tools/ship_plotly.py 4.1.1`` takes that version; it needs npm, which nobody else does. A test holds the bundle
against the SHA-256 in ``about.json``, and `make check` looks at how old it is.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent / "src" / "gazeshift" / "report" / "page" / "plotly"
PACKAGE, BUNDLE = "plotly.js-cartesian-dist-min", "plotly-cartesian.min.js"


def ship(version: str) -> None:
    """Write the bundle, its licence, and ``about.json``."""
    released = json.loads(npm("view", PACKAGE, "time", "--json"))[version]
    with tempfile.TemporaryDirectory() as folder:
        npm("pack", f"{PACKAGE}@{version}", "--pack-destination", folder)
        (packed,) = Path(folder).glob("*.tgz")
        with tarfile.open(packed) as archive:
            archive.extractall(folder, filter="data")
        HOME.mkdir(exist_ok=True)
        for name in (BUNDLE, "LICENSE"):
            shutil.copyfile(Path(folder) / "package" / name, HOME / name)
    digest = hashlib.sha256((HOME / BUNDLE).read_bytes()).hexdigest()
    about = {"package": PACKAGE, "version": version, "released": released[:10], "licence": "MIT", "sha256": digest}
    (HOME / "about.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")


def npm(*arguments: str) -> str:
    """What npm prints."""
    return subprocess.run(["npm", *arguments], check=True, capture_output=True, text=True).stdout  # noqa: S603, S607


if __name__ == "__main__":
    ship(*sys.argv[1:])
