"""Resolve what is installed into two lists of pins, each with the day of its release, and see that none is stale.

``constraints.txt`` is what users and the container get: the package and its extras. ``constraints-dev.txt`` is what
development needs beside it, resolved under the first, so that tests run with the versions that users have.

``python tools/lock.py`` takes the newest versions, ``--keep`` the pinned ones where they still fit; both need uv and a
package index. ``--check`` needs neither: it fails for a pin of users' that is older than three years without a reason
under ``[tool.gazeshift.old-pins]`` of pyproject.toml, and for a reason that is no longer needed.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLOTLY = Path("src/gazeshift/report/page/plotly/about.json")
RUNTIME, DEVELOPMENT, APART = "constraints.txt", "constraints-dev.txt", "apart"
ABOUT = {
    RUNTIME: "The package and its extras are installed with these.",
    DEVELOPMENT: "Development needs these beside constraints.txt.",
}
WRITTEN = "Written by `make lock`; each pin has the day of its release."
YEARS = 3
PIN = re.compile(r"(?P<name>[\w.-]+)==(?P<version>[^\s;]+)(?: ; [^#]+?)?(?:  # (?P<day>\d{4}-\d\d-\d\d))?")


def lock(*, keep: bool) -> None:
    """Write both lists."""
    groups = [f"--group={name}" for name in project(ROOT)["dependency-groups"] if name != APART]
    with tempfile.TemporaryDirectory() as folder:
        before, users = Path(folder) / "before.txt", Path(folder) / RUNTIME
        before.write_text("\n".join(line for name in ABOUT if keep for line in pins(ROOT / name)), "utf-8")
        runtime = resolved(before, "pyproject.toml", "--all-extras")
        users.write_text("\n".join(runtime), "utf-8")
        development = resolved(before, "pyproject.toml", "--all-extras", *groups, f"--constraint={users}")
        development += resolved(before, f"--group={APART}", "--no-deps")
    taken = {named(line) for line in runtime}
    write(ROOT / RUNTIME, runtime)
    write(ROOT / DEVELOPMENT, sorted(line for line in development if named(line) not in taken))


def resolved(before: Path, *options: str) -> list[str]:
    """Pins for every platform and every Python that the package is for; those of before stay where they fit."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.txt"
        found.write_bytes(before.read_bytes())
        uv("--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links", *options, "-o", found)
        return pins(found)


def write(file: Path, lines: Sequence[str]) -> None:
    """The list with the day of each release, as the package index tells it."""
    with tempfile.TemporaryDirectory() as folder:
        plain, told = Path(folder) / "plain.txt", Path(folder) / "pylock.toml"
        plain.write_text("\n".join(lines), "utf-8")
        uv("--no-deps", plain, "-o", told)
        packages = tomllib.loads(told.read_text("utf-8"))["packages"]
    days = {(package["name"], package["version"]): min(uploads(package)) for package in packages}
    dated = [f"{line}  # {days[named(line)]}" for line in lines]
    file.write_text("\n".join([f"# {ABOUT[file.name]} {WRITTEN}", *dated]) + "\n", "utf-8")


def uploads(package: Mapping) -> Iterator[date]:
    """The days on which the files of a release came to the index."""
    for file in (*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())):
        yield file["upload-time"].date()


def named(line: str) -> tuple[str, str]:
    """Name and version of a pin."""
    found = PIN.fullmatch(line)
    if found is None:
        sys.exit(f"'{line}' is no pin: run `make lock`.")
    return found["name"], found["version"]


def pins(file: Path) -> list[str]:
    """The lines of a list that are no comment."""
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    return [line for line in lines if line and not line.startswith("#")]


def stale(root: Path, today: date) -> list[str]:
    """What is too old, or not dated, or excused in vain: a sentence each."""
    reasons = project(root)["tool"]["gazeshift"]["old-pins"]
    days = {"plotly.js": json.loads((root / PLOTLY).read_text("utf-8"))["released"]}
    days |= {named(line)[0]: PIN.fullmatch(line)["day"] for line in pins(root / RUNTIME)}
    limit = f"{today.year - YEARS}-{today:%m-%d}"
    old = {name: day for name, day in days.items() if day is not None and day < limit}
    return [
        *(f"{name} has no day of its release: run `make lock`." for name, day in days.items() if day is None),
        *(
            f"{name} is of {day}, older than {YEARS} years: take a newer one (`make lock`), do without it, or write "
            "the reason into [tool.gazeshift.old-pins] of pyproject.toml."
            for name, day in old.items()
            if not reasons.get(name)
        ),
        *(f"[tool.gazeshift.old-pins] excuses {name}, which is not old: take it out." for name in reasons.keys() - old),
    ]


def project(root: Path) -> dict:
    """What pyproject.toml says."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def uv(*arguments: str | Path) -> None:
    """Resolve with this environment's uv."""
    command = [Path(sys.executable).with_name("uv"), "pip", "compile", "--universal", "--python-version=3.11"]
    subprocess.run([*command, "--quiet", *arguments], check=True, cwd=ROOT)  # noqa: S603


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit("\n".join(stale(ROOT, date.today())) or 0)
    lock(keep="--keep" in sys.argv)
