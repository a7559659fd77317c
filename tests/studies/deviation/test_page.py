"""The report as a whole: numbers against SQL, hostile names, degenerate studies, damaged folders, purity, size."""

import base64
import errno
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gazeshift import report
from gazeshift.errors import DataError, GazeshiftError, OutputError
from gazeshift.report.cube import Cube, cube
from gazeshift.report.measure_scale import MeasureScale
from gazeshift.report.statistics import compromise
from gazeshift.studies.deviation.report.gallery import gallery, quantised
from gazeshift.studies.deviation.report.outcomes import health, outcomes
from gazeshift.studies.deviation.report.series import RoundedSpread, Selection, Series, key, series
from gazeshift.studies.deviation.report.tables import two
from helpers.synthetic_study import HOSTILE, write_study

PLOTLY = Path(report.__file__).parent / "page" / "plotly"
VOID = {"meta", "link", "input", "img", "br", "path", "circle"}


class Page(HTMLParser):
    """Elements with their attributes, text by section, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" not in self.open and "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts)).replace("\u00a0", " ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), images=10)


@pytest.fixture(scope="module")
def text(folder) -> str:
    return report.make(folder).html


def cube_of(folder: Path) -> Cube:
    data = report.read(folder)
    return cube(data.rows, data.manifest)


def embedded(text: str, name: str) -> str:
    found = re.search(rf'<script type="[a-z/]+" id="{name}">(.*?)</script>', text, re.DOTALL)
    assert found
    return found.group(1)


@pytest.fixture(scope="module")
def numbers(folder) -> Series:
    return series(cube_of(folder))


def variant(text: str, figure: str, choice: str) -> dict:
    """What the page holds of a figure for one choice, by path."""
    packed = json.loads(gzip.decompress(base64.b64decode(embedded(text, "numbers"))))[figure]
    at = packed["keys"].index(choice)
    return packed["same"] | {path: values[at] for path, values in packed["varies"].items()}


def edit(folder: Path, **changes) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


def test_similarities_equal_sql(folder, numbers):
    found = duckdb.sql(f"""
        select measure, attack, strength, target, cam, layer_index, kind, fooled_only, count(value) as n,
               avg(value) as mean, quantile_cont(value, 0.25) as low, quantile_cont(value, 0.5) as median,
               quantile_cont(value, 0.75) as high
        from '{folder}/rows.parquet', (values (true), (false)) as choices(fooled_only)
        where isfinite(value) and (fooled or not fooled_only) group by all
    """).fetchall()  # noqa: S608
    assert len(found) == 1200, "by two measures: two attacks over all images, one over the fooled ones"
    axes = (
        ["cosine", "nissim"],
        ["pgd", "fgsm"],
        [0.25, 0.5, 1, 2, 4],
        ["predicted", "reference"],
        ["grad_cam", "layer_cam"],
    )
    for *names, layer, kind, fooled, n, mean, low, median, high in found:
        places = [axis.index(name) for axis, name in zip(axes, names, strict=True)]
        spread = numbers.compare[key(*places, "fooled" if fooled else "all")].side(kind)
        made = [getattr(spread, name)[layer] for name in ("count", "mean", "low", "median", "high")]
        wanted = [n, mean, low, median, high]
        np.testing.assert_allclose(made[1:], [1000 * value for value in wanted[1:]], atol=0.51)
        assert made[0] == wanted[0]


def test_fooled_images_are_each_attacks_own(numbers):
    assert numbers.compare["0.0.2.0.0.fooled"].images == 6
    assert numbers.compare["0.1.2.0.0.fooled"].images == 0
    assert numbers.compare["0.1.2.0.0.all"].images == 10


@pytest.mark.parametrize("strength", [0.25, 1.0])
@pytest.mark.parametrize(("measure", "moved"), [("cosine", "<"), ("nissim", ">")])
def test_compromise_equals_sql(folder, numbers, measure, moved, strength):
    """Where a larger number means less alike, as of NISSIM, a layer is compromised above the median under noise."""
    found = duckdb.sql(f"""
        with rows as (select * from '{folder}/rows.parquet' where attack = 'pgd' and strength = {strength}
                      and fooled and target = 'reference' and cam = 'grad_cam' and measure = '{measure}'),
             threshold as (select layer_index, median(value) as middle from rows where kind = 'noise' group by all),
             pairs as (select layer_index, image, first(value) filter (kind = 'attacked') as attacked,
                              first(value) filter (kind = 'noise') as noise from rows group by all)
        select layer_index, avg((attacked {moved} middle)::int), avg((attacked {moved} noise)::int)
        from pairs join threshold using (layer_index) group by all order by all
    """).fetchall()  # noqa: S608
    counted = numbers.compare[
        key(["cosine", "nissim"].index(measure), 0, [0.25, 0.5, 1.0].index(strength), 1, 0, "fooled")
    ]
    np.testing.assert_allclose(counted.probability, [1000 * share for _, share, _ in found], atol=0.51)
    np.testing.assert_allclose(counted.paired, [1000 * share for *_, share in found], atol=0.51)
    assert strength == 1 or any(share not in {0, 1} for _, share, _ in found)
    assert sum(counted.histogram) == counted.images
    total = sum(layers * images for layers, images in enumerate(counted.histogram))
    assert total == round(sum(share for _, share, _ in found) * counted.images)


def test_split_and_mod_equal_sql(folder, numbers):
    rows = f"'{folder}/rows.parquet' where attack = 'pgd' and cam = 'grad_cam' and kind = 'attacked'"
    means = duckdb.sql(f"""
        select measure, switched, target, avg(value) from {rows} and strength = 1 group by all
    """).fetchall()  # noqa: S608
    for measure, switched, target, mean in means:
        groups = numbers.split[key(["cosine", "nissim"].index(measure), 0, 2, 0)]
        group = groups.switched if switched else groups.stayed
        assert group.attacked[target].total == pytest.approx(1000 * mean, abs=0.51)
    rows += " and measure = 'nissim'"
    mods = duckdb.sql(f"""
        select strength, avg(value) from {rows} and layer = 'head' and target = 'predicted' group by all order by all
    """).fetchall()  # noqa: S608
    made = [level[-1] for level in numbers.structure["0.0.0"].attacked.mod]
    np.testing.assert_allclose(made, [1000 * mod for _, mod in mods], atol=0.51)
    vids = duckdb.sql(f"""
        select median(vid) from (select image, stddev_pop(value) as vid from {rows} and layer = 'stem'
                                 and target = 'predicted' group by all)
    """).fetchall()  # noqa: S608
    assert numbers.structure["0.0.0"].attacked.vid.median[0] == pytest.approx(1000 * vids[0][0], abs=0.51)


def test_success_equals_sql_and_is_among_correct_images(folder):
    data = report.read(folder)
    found = outcomes(data, cube(data.rows, data.manifest).attacks)
    wanted = duckdb.sql(f"""
        select attack, strength, count(*) filter (clean_correct), count(*) filter (success)
        from '{folder}/images.parquet' where kind = 'attacked' group by all
    """).fetchall()  # noqa: S608
    made = {(o.attack.name, o.strength): (o.correct, o.fooled) for o in found}
    assert made == {(attack, strength): tuple(counts) for attack, strength, *counts in wanted}
    assert found[0].correct == 8
    assert found[0].noise_fooled == 0


def test_undefined_and_blank_maps_are_counted_and_leave_nothing_out_silently(numbers, text):
    for place, convention in enumerate((", 0 or 1 by convention", "")):
        compare = numbers.compare[f"{place}.0.2.0.1.all"]
        assert compare.undefined == 1, "the one map under noise that is not finite"
        assert compare.blank == 2
        assert compare.noise.count == [10, 10, 10, 10, 9]
        assert compare.attacked.count == [10] * 5
        said = variant(text, "layers", f"{place}.0.2.0.1.all")["about"]
        assert said.endswith(f"; 1 undefined value left out; 2 comparisons with a blank map{convention}")


@pytest.mark.parametrize("choice", ["0.0.2.0.0.fooled", "0.0.4.1.1.all", "1.0.4.1.1.all"])
def test_the_page_holds_every_choice_in_its_charts_and_tables(numbers, text, choice):
    compare, shown = numbers.compare[choice], variant(text, "layers", choice)
    for kind, line, column in (("noise", 1, 5), ("attacked", 3, 1)):
        medians = [value / 1000 for value in compare.side(kind).median]
        assert shown[f"traces/{line}/name"] == kind
        assert shown[f"traces/{line}/y"] == medians
        assert shown[f"traces/{line - 1}/y"] == [value / 1000 for value in edges(compare.side(kind))]
        assert [float(cell) for cell in shown[f"columns/{column}"]] == pytest.approx(medians, abs=0.0051)
    assert shown["columns/10"] == [two(value) for value in compare.probability]


def edges(spread: RoundedSpread) -> list[int]:
    return [*spread.low, *reversed(spread.high)]


def test_names_are_hostile(text):
    page = Page(text)
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert len(scripts) == 4
    assert "alert(1)" in text
    assert HOSTILE not in text
    assert "<b>co</b>" not in text
    assert "photos & <more>" in page.text
    assert "broken</td>.jpg" in page.text
    assert page.open == []
    data = json.loads(embedded(text, "maps"))
    assert data["images"][0]["id"] == HOSTILE
    assert "<" not in embedded(text, "maps")


def test_policy_forbids_every_request_and_nothing_asks_for_one(text):
    page = Page(text)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith(
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:;"
    )
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in text
    assert "url(" not in text


def test_every_anchor_and_label_has_its_target(text):
    page = Page(text)
    names = [a["id"] for _, a in page.elements if "id" in a]
    assert len(names) == len(set(names))
    assert {a["href"][1:] for tag, a in page.elements if tag == "a"} <= set(names)
    for _, attributes in page.elements:
        for reference in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(reference, names[0]) in names
    assert all("alt" in a for tag, a in page.elements if tag == "img")
    assert all(a.get("aria-label") for tag, a in page.elements if a.get("role") == "img")
    heads = [a for tag, a in page.elements if tag == "th"]
    assert heads
    assert all("scope" in a for a in heads)


def test_render_is_pure_and_small(folder, text):
    assert report.make(folder).html == text
    assert len(text.encode()) < 2_600_000


def test_plotly_is_whole_and_keeps_its_licence(text):
    code = gzip.decompress(base64.b64decode(embedded(text, "plotly")))
    about = json.loads((PLOTLY / "about.json").read_text())
    assert hashlib.sha256(code).hexdigest() == about["sha256"], "run tools/ship_plotly.py"
    assert f"plotly.js (cartesian - minified) v{about['version']}".encode() in code[:200]
    assert b"MIT license" in code[:400]
    assert b"</script" not in code.lower()
    assert (PLOTLY / "LICENSE").read_text().startswith("MIT License")


def test_the_bundle_of_plotly_has_every_kind_of_chart_that_pages_draw():
    bundled = set(re.findall(r'moduleType:"trace",name:"(\w+)"', (PLOTLY / "plotly-cartesian.min.js").read_text()))
    sources = (path.read_text() for path in PLOTLY.parents[1].rglob("*") if path.suffix in {".py", ".js", ".html"})
    drawn = {kind for text in sources for kind in re.findall(r'\btype"?: "(\w+)"', text)}
    no_charts = {"line", "rect", "log", "category", "data"}  # of shapes, axes and error bars
    assert {"bar", "box", "heatmap"} <= drawn - no_charts <= bundled
    assert "scatter" in bundled  # which a trace is that says no type


def test_report_imports_neither_torch_nor_plotly():
    heavy = "{'torch', 'plotly', 'timm', 'gazeshift.models', 'gazeshift.studies', 'gazeshift.records'}"
    code = f"import sys, gazeshift.report; sys.exit(str({heavy} & set(sys.modules) or 0))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stderr.strip() == "0"


def test_findings_say_the_numbers(folder):
    success, moved, split = report.make(folder).findings
    assert success.startswith("pgd 2/255 changed the class of ")
    assert "of 8 correctly classified images" in success
    assert "fgsm 4/255 changed 0 of 8" in success
    assert "Gaussian noise of the same mean and deviation changed 0 of 8 (0 %)." in success
    assert "Grad-CAM" in moved
    assert "standard error" in moved
    assert "of the loss is a moved gaze" in split


def test_findings_are_printed_in_the_page(folder, text):
    shown = Page(text).text
    assert all(finding in shown for finding in report.make(folder).findings)


def test_predicted_labels_are_said_at_the_top(tmp_path, text):
    made = report.make(write_study(tmp_path, labels="predicted")).html
    assert Page(made).text.index("No labels were given.") < Page(made).text.index("What was found")
    assert "No labels were given." not in text
    assert "own clean prediction" in report.make(tmp_path).findings[0]


SMALL = {
    "one image": {"images": 1},
    "one layer": {"layers": 1},
    "one of each": {"images": 1, "layers": 1, "attacks": ("pgd",), "strengths": (1.0,), "cams": ("grad_cam",)},
    "no noise": {"noise": False},
    "only strength 1": {"strengths": (1.0,)},
    "no strength 1": {"strengths": (0.5, 2.0)},
    "no success": {"success": False},
    "all undefined": {"defined": False},
    "all undefined, no noise": {"defined": False, "noise": False},
    "one target": {"targets": ("predicted",)},
    "the other target": {"targets": ("reference",)},
    "no grad_cam": {"cams": ("noise_cam:alpha_norm=all",)},
    "no gallery": {"shown": 0},
    "attack without epsilon": {"attacks": ("dlfuzz",)},
    "many layers": {"layers": 60, "images": 2},
}


@pytest.mark.parametrize("case", SMALL)
def test_degenerate_studies_are_reported(tmp_path, case):
    made = report.make(write_study(tmp_path, **SMALL[case]))
    page = Page(made.html)
    assert page.open == []
    visible = page.text.partition("Manifest {")[0]
    assert not re.search(r"\bnan\b|\binf\b|NaN", visible)
    for finding in made.findings:
        assert finding.endswith(".")
        assert "None" not in finding


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        ("no noise", "there is no matched noise to compare with"),
        ("no success", "No image changed its class under pgd 2/255"),
        ("all undefined", "nothing can be said about the gaze"),
        ("one target", "run the study with both targets"),
        ("no strength 1", "at strength 0.5"),
        ("one image", "with so few images no compromise probability can be told from chance"),
    ],
)
def test_degenerate_findings_say_what_is_missing(tmp_path, case, wanted):
    assert wanted in " ".join(report.make(write_study(tmp_path, **SMALL[case])).findings)


def test_no_correct_image_means_no_success_rate(tmp_path):
    write_study(tmp_path)
    images = pq.read_table(tmp_path / "images.parquet")
    place = images.schema.get_field_index("clean_correct")
    wrong = pa.array([False] * len(images))
    pq.write_table(images.set_column(place, "clean_correct", wrong), tmp_path / "images.parquet")
    assert "No clean image was classified correctly" in report.make(tmp_path).findings[0]


def test_health_sees_a_broken_budget_and_a_dead_attack(folder, tmp_path):
    data = report.read(folder)
    checks = {check.check: check for check in health(outcomes(data, cube(data.rows, data.manifest).attacks))}
    assert checks["pgd 2/255: budget"].level == "ok"
    assert checks["fgsm 4/255: success"].level == "note"
    write_study(tmp_path)
    images = pq.read_table(tmp_path / "images.parquet")
    larger = pa.array([value * 1.01 for value in images["linf"].to_pylist()], pa.float32())
    place = images.schema.get_field_index("linf")
    pq.write_table(images.set_column(place, "linf", larger), tmp_path / "images.parquet")
    data = report.read(tmp_path)
    checks = {check.check: check for check in health(outcomes(data, cube(data.rows, data.manifest).attacks))}
    assert checks["pgd 2/255: budget"].level == "error"
    assert "exceeds" in checks["pgd 2/255: budget"].detail
    assert "pgd 2/255: budget:" in Page(report.make(tmp_path).html).text.partition("What was found")[0]


def test_l2_budgets_are_held_against_the_l2_norm(tmp_path):
    write_study(tmp_path, attacks=("pgd",), size=64)
    for table in ("rows", "images"):
        made = pq.read_table(tmp_path / f"{table}.parquet")
        three = pa.array([3.0] * len(made))
        made = made.set_column(made.schema.get_field_index("epsilon"), "epsilon", three)
        pq.write_table(made, tmp_path / f"{table}.parquet")
    edit(tmp_path, attacks=[{"name": "pgd", "settings": {"norm": "l2", "epsilon": 3.0}}])
    data = report.read(tmp_path)
    (attack,) = cube(data.rows, data.manifest).attacks
    assert attack.label == "pgd 3 L2"
    check = health(outcomes(data, (attack,)))[0]
    assert check.level == "ok"
    assert "Euclidean length is 2.435, within the budget of 3." in check.detail
    assert "norm l2; epsilon 3.0" in Page(report.make(tmp_path).html).text


def test_maps_are_rounded_and_undefined_ones_kept_apart():
    assert quantised(np.array([[-1.0, 0.0], [0.5, 1.0]]), 8).tolist() == [[0, 0], [32, 63]]
    assert quantised(np.array([[-1.0, 0.0]]), 8) == -1
    assert quantised(np.array([[np.nan, 1.0]]), 8) == -2
    assert quantised(np.array([[-4.0, 4.0, 1.0, 1.0]]), 2).tolist() == [[63, 32]], "cut off first, then averaged"
    coarser = quantised(np.array([[1.0, 3.0, 8.0], [0.0, 0.0, 8.0]]), 2)
    assert coarser.tolist() == [[round(63 / 8), 63]]


def unpacked(packed: str) -> tuple[dict, bytes]:
    block = gzip.decompress(base64.b64decode(packed))
    size = int.from_bytes(block[:4], "little")
    return json.loads(block[4 : 4 + size]), block[4 + size :]


def test_gallery_holds_the_maps_of_the_table(folder):
    data = report.read(folder)
    shown = gallery(data, cube(data.rows, data.manifest), room=10**7)
    index, values = unpacked(shown.packed)
    row = next(
        r for r in data.gallery.to_pylist() if r["layer"] == "head" and r["kind"] == "noise" and r["image"] != HOSTILE
    )
    place = [image.id for image in shown.images].index(row["image"])
    height, width, offset = index[key(place, "noise", 0, 0, 0, 4)]
    wanted = np.maximum(np.array(row["map"]), 0).reshape(height, width)
    made = np.frombuffer(values, np.uint8, height * width, offset).reshape(height, width)
    np.testing.assert_allclose(made / 63, wanted / wanted.max(), atol=0.5 / 63 + 1e-6)
    hostile = [image.id for image in shown.images].index(HOSTILE)
    assert index[key(hostile, "attacked", 0, 0, 1, 4)][2] == -1
    assert index[key(hostile, "noise", 0, 0, 1, 4)][2] == -2


def test_gallery_keeps_to_its_room_first_coarser_then_fewer(folder):
    data = report.read(folder)
    found = cube(data.rows, data.manifest)
    whole = gallery(data, found, room=10**7)
    assert (whole.side, whole.reduced, whole.left_out) == (32, False, 0)
    pictures = sum(len(p) for image in whole.images for p in image.pictures.values())
    coarse = gallery(data, found, room=pictures + len(whole.packed) * 2 // 3)
    assert coarse.side < 32
    assert coarse.reduced
    assert coarse.left_out == 0
    fewer = gallery(data, found, room=pictures * 2 // 3)
    assert fewer.left_out == 1


def test_gallery_prefers_fooled_images_and_keeps_to_the_number_asked_for(tmp_path):
    write_study(tmp_path, images=8, shown=8)
    edit(tmp_path, settings={"gallery": 3})
    data = report.read(tmp_path)
    found = cube(data.rows, data.manifest)
    fooled = {name for name, any_fooled in zip(found.images, found.fooled.any(0), strict=True) if any_fooled}
    shown = [image.id for image in gallery(data, found, room=10**7).images]
    assert len(shown) == 3
    assert set(shown) <= fooled
    assert HOSTILE not in fooled or shown[0] == HOSTILE


def test_write_replaces_the_file_whole(folder):
    path = report.write(folder)
    assert path == folder / "report.html"
    path.write_text("old")
    assert report.write(folder).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not list(folder.glob(".report*"))


def test_write_into_a_folder_that_refuses_says_so(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OutputError, match=r"cannot be written to .*report.html \(.*Permission denied"):
        report.write(folder)


def test_a_disk_that_is_full_leaves_the_page_before_and_nothing_beside_it(tmp_path, monkeypatch):
    made = report.Report(html="<p>second</p>" * 100, findings=())
    path = report.save(tmp_path, report.Report(html="<p>first</p>", findings=()))

    def fill(file: Path, content: bytes) -> None:
        with file.open("wb") as opened:
            opened.write(content[:200])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OutputError, match="No space left on device"):
        report.save(tmp_path, made)
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text("utf-8") == "<p>first</p>"


def test_lone_surrogates_do_not_stop_the_page(tmp_path):
    write_study(tmp_path)
    edit(tmp_path, notes=["name \udc80"])
    assert b"name ?" in report.write(tmp_path).read_bytes()


def damage_schema(folder):
    edit(folder, schema=2)


def damage_study(folder):
    edit(folder, study="other")


def damage_manifest(folder):
    (folder / "manifest.json").write_text("{")


def damage_list(folder):
    (folder / "manifest.json").write_text("[]")


def damage_absent(folder):
    (folder / "images.parquet").unlink()


def damage_bytes(folder):
    path = folder / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-200] + b"x" * 200)


def damage_column(folder):
    pq.write_table(pq.read_table(folder / "rows.parquet").drop_columns(["value"]), folder / "rows.parquet")


def damage_type(folder):
    rows = pq.read_table(folder / "rows.parquet")
    words = pa.array(["much"] * len(rows))
    rows = rows.set_column(rows.schema.get_field_index("value"), "value", words)
    pq.write_table(rows, folder / "rows.parquet")


def damage_empty(folder):
    pq.write_table(pq.read_table(folder / "rows.parquet").slice(0, 0), folder / "rows.parquet")


def damage_null(folder):
    rows = pq.read_table(folder / "rows.parquet")
    rows = rows.set_column(rows.schema.get_field_index("layer"), "layer", pa.nulls(len(rows), pa.string()))
    pq.write_table(rows, folder / "rows.parquet")


def damage_twice(folder):
    rows = pq.read_table(folder / "rows.parquet")
    pq.write_table(pa.concat_tables([rows, rows.slice(0, 1)]), folder / "rows.parquet")


def damage_kind(folder):
    rows = pq.read_table(folder / "rows.parquet")
    kinds = pa.array(["blur"] * len(rows))
    pq.write_table(rows.set_column(rows.schema.get_field_index("kind"), "kind", kinds), folder / "rows.parquet")


def damage_map(folder):
    maps = pq.read_table(folder / "gallery.parquet")
    heights = pa.array([3] * len(maps), pa.int16())
    maps = maps.set_column(maps.schema.get_field_index("height"), "height", heights)
    pq.write_table(maps, folder / "gallery.parquet")


def damage_picture(folder):
    maps = pq.read_table(folder / "gallery.parquet")
    pictures = pa.array([None if picture is None else b"no picture" for picture in maps["picture"].to_pylist()])
    maps = maps.set_column(maps.schema.get_field_index("picture"), "picture", pictures)
    pq.write_table(maps, folder / "gallery.parquet")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_schema, "schema 2 .* later version"),
        (damage_study, "says 'other'"),
        (damage_manifest, "cannot be read as JSON"),
        (damage_list, "must hold an object, got list"),
        (damage_absent, "images.parquet is absent"),
        (damage_bytes, "rows.parquet is damaged"),
        (damage_column, "lacks the column value"),
        (damage_type, "rows.parquet is damaged"),
        (damage_empty, "have no rows"),
        (damage_null, "rows without layer"),
        (damage_twice, "two rows for the same image"),
        (damage_kind, "one of attacked, noise, got 'blur'"),
        (damage_map, "a map of 3 x"),
        (damage_picture, "picture of .* cannot be opened"),
    ],
)
def test_damaged_studies_are_refused_in_one_sentence(tmp_path, damage, message):
    damage(write_study(tmp_path))
    with pytest.raises(DataError, match=message) as raised:
        report.write(tmp_path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_is_no_study_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no manifest.json\. Name the folder"):
        report.write(tmp_path / "nowhere")
    with pytest.raises(GazeshiftError):
        report.read(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 1, "holds": "set", "status": "finished"}')
    with pytest.raises(
        DataError, match=r"holds a set and no study, and only studies have reports\. `gazeshift set info`"
    ):
        report.make(tmp_path)


def test_series_names_every_axis_in_its_order(folder):
    data = report.read(folder)
    made = series(cube(data.rows, data.manifest))
    assert [measure.name for measure in made.measures] == ["cosine", "nissim"]
    assert made.attacks == ["pgd 2/255", "fgsm 4/255"]
    assert made.strengths == [0.25, 0.5, 1, 2, 4]
    assert list(made.layers) == ["stem", "blocks.0", "blocks.1", "blocks.2", "head"]
    assert made.chosen == Selection(measure=0, attack=0, strength=2, target=0, cam=0, images="fooled")


def test_a_table_of_version_0_1_gives_the_same_numbers(folder, tmp_path):
    """It had a column for each measure, and of NISSIM no number for any CAM but the first."""
    copied = shutil.copytree(folder, tmp_path / "old")
    keys = "image, attack, epsilon, strength, kind, target, layer, layer_index, cam, blank, switched, fooled"
    now = f"select * from '{folder}/rows.parquet' where measure = 'cosine' or cam = 'grad_cam'"  # noqa: S608
    old = f"""
        select {keys}, first(value) filter (measure = 'cosine') as cosine,
               coalesce(first(value) filter (measure = 'nissim'), 'nan'::float) as nissim
        from ({now}) group by {keys} order by image, attack, strength, kind, target, layer_index, cam
    """  # noqa: S608
    pq.write_table(duckdb.sql(now).to_arrow_table(), tmp_path / "now.parquet")
    pq.write_table(duckdb.sql(old).to_arrow_table(), copied / "rows.parquet")
    manifest = json.loads((copied / "manifest.json").read_text())
    del manifest["measures"]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    before = series(cube_of(copied))
    shutil.copy(tmp_path / "now.parquet", copied / "rows.parquet")
    after = series(cube_of(copied))
    assert len(after.compare) == len(before.compare) == 160
    assert before == after
    assert before.compare["1.0.2.0.1.all"].noise.count == [0] * 5
    assert before.compare["1.0.2.0.0.all"].noise.count == [10] * 5


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        ([{"name": "cosine", "lowest": -1, "highest": 1, "same": 1}], "does not say what the measure nissim means"),
        ([{"name": "cosine"}], r"damaged at measures.0.lowest: Field required"),
        (["cosine", "nissim"], r"damaged at measures.0"),
    ],
)
def test_measures_that_the_manifest_does_not_explain_are_refused(tmp_path, measures, message):
    edit(write_study(tmp_path), measures=measures)
    with pytest.raises(DataError, match=message):
        report.make(tmp_path)


def test_a_measure_that_moves_both_ways_from_the_middle():
    """Such as a signed shift: 0 is the same map, and both -1 and 1 are as far from it as can be."""
    shift = MeasureScale(name="shift", lowest=-1, highest=1, same=0)
    attacked, noise = np.array([[-0.5, 0.4, 0.01]]), np.array([[0.1, -0.1, 0.1]])
    found = compromise(shift.alike(attacked), shift.alike(noise))
    assert found.probability.tolist() == found.paired.tolist() == [2 / 3]
    assert shift.alike(-500, 1000) == -500 == shift.alike(500, 1000)
    assert (shift.reach, shift.noun) == (1, "deviation")
    endless = MeasureScale(name="distance", lowest=0, highest=float("inf"), same=0)
    assert endless.meaning == "From 0 to ∞; 0 is the same map"
    assert endless.alike(3.0) == -3.0
