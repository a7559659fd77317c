"""What a path turns into: files, folders with labels, class folders, the demo; on made and on real images."""

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from gazeshift.data import demo_images, image_source, open_source, read_image
from gazeshift.errors import DataError, ImageError, MissingPackageError
from gazeshift.models import Preprocessing
from gazeshift.records import Skipped

SMALL = Preprocessing(resize=10, crop=8)


def write(path: Path, level: int = 0, size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path, "PNG")
    return path


def pairs(source: image_source.ImageSource) -> dict[str, int | None]:
    return dict(zip(source.ids, source.labels, strict=True))


# --- kinds


def test_flat_folder_is_sorted_and_counts_what_it_ignores(tmp_path: Path) -> None:
    for name in ("b.PNG", "a10.jpeg", "a2.webp", ".hidden.png", "._a2.webp"):
        write(tmp_path / name)
    (tmp_path / "notes.md").write_text("no image")
    source = open_source(tmp_path)
    assert source.ids == ("a10.jpeg", "a2.webp", "b.PNG")
    assert (source.name, source.kind, len(source), source.has_labels) == (tmp_path.name, "folder", 3, False)
    assert source.labels == (None, None, None)
    assert source.notes == ("Other files ignored: 3 ('notes.md', 2 hidden).",)
    assert source.read().labels is None


def test_what_a_folder_holds_beside_images_is_named(tmp_path: Path) -> None:
    for name in ("a.JPG", "cats/b.Png"):
        write(tmp_path / name)
    for name in [
        *(f"{k}.txt" for k in range(9)),
        "IMG_1.HEIC",
        "cats/ct.dcm",
        "raw",
        "x.parquet",
        "Thumbs.db",
        ".DS_Store",
    ]:
        (tmp_path / name).write_bytes(b"")
    source = open_source(tmp_path, labelled=False)
    assert source.ids == ("a.JPG", "cats/b.Png")
    named = "'0.txt', 'IMG_1.HEIC', 'cats/ct.dcm', 'raw', 'x.parquet' and 8 more"
    assert source.notes == (f"Other files ignored: 15 ({named}, 2 hidden).",)
    (tmp_path / "labels.csv").write_text("file,label\n")
    assert source.notes == open_source(tmp_path, labelled=False).notes  # a table is no image that was left out


def test_what_lies_beside_a_folder_called_images_is_named(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.heic").write_bytes(b"")
    (tmp_path / "ct.dcm").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\n")
    assert open_source(tmp_path).notes == ("Other files ignored: 1 ('b.heic').", "Other files ignored: 1 ('ct.dcm').")


def test_a_folder_of_files_that_are_not_read_names_them(tmp_path: Path) -> None:
    for name in ("IMG_1.HEIC", "ct.dcm", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"but other files: 3 \('IMG_1.HEIC', 'ct.dcm', 1 hidden\)\. Wanted .*\.jpg"):
        open_source(tmp_path)


def test_order_never_depends_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("c/1.png", "a/2.png", "b/3.png", "a/1.png"):
        write(tmp_path / name)
    walk = os.walk

    def backwards(*args: object, **options: object) -> object:
        for folder, below, files in walk(*args, **options):  # type: ignore[call-overload]
            below.sort(reverse=True)
            yield folder, below, sorted(files, reverse=True)

    (tmp_path / "d").symlink_to(tmp_path / "a")  # the same folder again, under a later name

    monkeypatch.setattr(os, "walk", backwards)
    source = open_source(tmp_path, class_names=("b", "c", "a"))
    assert pairs(source) == {"a/1.png": 2, "a/2.png": 2, "b/3.png": 0, "c/1.png": 1}
    assert list(source.ids) == sorted(source.ids)


def test_one_file_and_a_list_of_files(tmp_path: Path) -> None:
    files = [write(tmp_path / name, level) for name, level in (("b/x.png", 255), ("a/x.png", 0), ("a/plain", 51))]
    assert open_source(files[0]).ids == ("x.png",)
    source = open_source([*files, str(files[0])])
    assert (source.ids, source.kind) == (("a/plain", "a/x.png", "b/x.png"), "files")
    assert source.notes == ("Files given twice: 1.",)
    assert source.read().images[:, 0, 0, 0].tolist() == pytest.approx([0.2, 0, 1])


def test_labels_of_chosen_files_do_not_miss_the_others(tmp_path: Path) -> None:
    files = [write(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    (tmp_path / "l.csv").write_text("file,label\na.png,1\nb.png,2\nz.png,3\n")
    source = open_source([files[0], files[2]], labels=tmp_path / "l.csv")
    assert pairs(source) == {"a.png": 1}
    assert source.skipped == (Skipped(id="c.png", reason="no label"),)


def test_folder_with_its_own_labels(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    (tmp_path / "val.txt").write_text("a.png 3\n")
    assert pairs(open_source(tmp_path)) == {"a.png": 3}
    (tmp_path / "labels.csv").write_text("file,label\na.png,4\n")
    source = open_source(tmp_path)
    assert (pairs(source), source.notes) == ({"a.png": 4}, ("Other files ignored: 1 ('val.txt').",))
    (tmp_path / "mine.csv").write_text("file,label\na.png,5\n")
    assert pairs(open_source(tmp_path, labels=tmp_path / "mine.csv")) == {"a.png": 5}


def test_labels_beside_a_folder_called_images(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.png")
    assert pairs(open_source(tmp_path)) == {"a.png": None}
    write(tmp_path / "images" / "b.png")
    write(tmp_path / "masks" / "a.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,4\nimages/b.png,5\n")
    source = open_source(tmp_path)
    assert (pairs(source), source.name, source.kind) == ({"a.png": 4, "b.png": 5}, tmp_path.name, "folder")
    assert source.notes == ("Images beside the folder images were ignored: 'masks'.",)
    (tmp_path / "mine.csv").write_text("file,label\nb.png,6\n")
    assert pairs(open_source(tmp_path, labels=tmp_path / "mine.csv")) == {"b.png": 6}


def test_class_folders(tmp_path: Path) -> None:
    for name in ("Great_White Shark/1.png", "n02/deep/er/2.png", "n02/3.png"):
        write(tmp_path / name)
    (tmp_path / "logs").mkdir()
    source = open_source(
        tmp_path, class_names=("tench", "great white shark, man-eater", "eel"), wnids=("", "n01", "n02")
    )
    expected = {"Great_White Shark/1.png": 1, "n02/3.png": 2, "n02/deep/er/2.png": 2}
    assert (pairs(source), source.kind) == (expected, "class_folders")


def test_class_folders_that_fit_nothing(tmp_path: Path) -> None:
    for name in ("tench/1.png", "foo/1.png", "ba\nr/1.png", "1/1.png"):
        write(tmp_path / name)
    with pytest.raises(DataError) as caught:
        open_source(tmp_path, class_names=("tench", "eel"), wnids=("n01", "n02"))
    message = str(caught.value)
    assert "3 of 4 class folders fit no class of the model, or several: 'ba\\nr' fits no class; 'foo' " in message
    assert "; '1' fits no class. Accepted: " in message
    assert "a WordNet id (n01), a class name ('tench'), a class number from 0 to 1" in message
    with pytest.raises(DataError, match=r"the model gives no names\).* with --classes FILE \(class_names= in Python\)"):
        open_source(tmp_path)


def test_class_folders_with_a_table_use_the_table(tmp_path: Path) -> None:
    write(tmp_path / "foo" / "1.png")
    write(tmp_path / "2.png")
    (tmp_path / "t.txt").write_text("foo/1.png 9\n2.png 8\n")
    assert pairs(open_source(tmp_path, labels=tmp_path / "t.txt")) == {"2.png": 8, "foo/1.png": 9}


def test_who_asks_for_no_labels_is_given_every_image(tmp_path: Path) -> None:
    for name in ("overview.png", "cats/1.png", "images/2.png"):
        write(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,label\noverview.png,tabby\nabsent.png,3\n")
    source = open_source(tmp_path, labelled=False)
    assert pairs(source) == {"cats/1.png": None, "images/2.png": None, "overview.png": None}
    assert (source.kind, source.skipped, source.has_labels) == ("folder", (), False)


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "overview.png")
    write(tmp_path / "tench" / "1.png")
    with pytest.raises(DataError, match=r"holds images itself \('overview.png'\) and in sub-folders \('tench'\)"):
        open_source(tmp_path, class_names=("tench",))


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "store" / "1.png")
    root = tmp_path / "set"
    root.mkdir()
    (root / "tench").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "round").symlink_to(root)
    assert pairs(open_source(root, class_names=("tench",))) == {"tench/1.png": 0}


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no images at .*absent: No such file or directory"):
        open_source(tmp_path / "absent")
    with pytest.raises(DataError, match="no images at"):
        open_source("nul\0byte")
    (tmp_path / "readme.txt").write_text("")
    with pytest.raises(DataError, match=r"no images in the folder .*, but other files: 1 \('readme.txt'\)\. Wanted"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="the list of image files is empty"):
        open_source([])
    with pytest.raises(DataError, match="is a folder in a list of files"):
        open_source([tmp_path])
    for given in (3, None, b"a.png", [3], [None]):
        with pytest.raises(DataError, match=r"images, .* must be a path or an address, got (3|None|b'a.png')\."):
            open_source(given)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"labels must be a path or an address, got \[1, 2\]\."):
        open_source(write(tmp_path / "a.png"), labels=[1, 2])  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="an image must be the path of a file, or its bytes, got None"):
        read_image(None)  # type: ignore[arg-type]


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(DataError, match=r"the folder .* cannot be listed: Permission denied"):
        open_source(tmp_path)


def test_hostile_file_names(tmp_path: Path) -> None:
    names = ["a\nb.png", "q\"u'o.png", "<script>alert(1)<&>.png", "日本 🦆.png", "%s{0}\\.png", " .png", "a,b;c.png"]
    for name in names:
        write(tmp_path / name)
    (tmp_path / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"")
    source = open_source(tmp_path)
    assert set(source.ids) == {*names, "\\udcff\\udcfe.png"}
    batch = source.read(0, None, SMALL)
    assert set(batch.ids) == set(names)
    (skipped,) = batch.skipped
    assert skipped.reason.startswith("\\udcff\\udcfe.png is empty")
    "".join(source.ids).encode()  # tables and pages can hold every id


# --- the demo's images


def test_demo_images_are_found_without_importing_foolbox(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "foolbox"]:
        monkeypatch.delitem(sys.modules, module)
    source = demo_images()
    assert "foolbox" not in sys.modules
    assert (len(source), source.kind) == (20, "demo")
    assert pairs(source)["imagenet_00_243.jpg"] == 243
    assert source.labels[15:18] == (99, 251, 22)
    batch = source.read(0, 3, Preprocessing())
    assert batch.images.shape == (3, 3, 224, 224)


def test_demo_without_foolbox_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gazeshift.data.open_images.find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match="pip install foolbox"):
        demo_images()


# --- real images


def imagenet() -> tuple[tuple[str, ...], tuple[str, ...]]:
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    return tuple(info.index_to_description(index) for index in range(1000)), tuple(info.label_names())


def test_imagenet700_labels_come_from_its_table(data_folder: Path) -> None:
    names, wnids = imagenet()
    source = open_source(data_folder / "imagenet700", class_names=names, wnids=wnids)
    assert (len(source), source.name, source.skipped, source.notes) == (700, "imagenet700", (), ())
    labels = pairs(source)
    assert [labels[f"{wnid}.jpg"] for wnid in ("n01440764", "n01443537", "n01491361")] == [0, 1, 3]
    assert all(wnids[label] == own.removesuffix(".jpg") for own, label in labels.items() if label is not None)
    assert source.labels != tuple(range(700))
    batch = source.take(40, seed=0).read(preprocessing=Preprocessing())
    assert (batch.images.shape, batch.skipped) == ((40, 3, 224, 224), ())


def test_tiny_imagenet_folders_are_mapped_through_wnids(data_folder: Path) -> None:
    names, wnids = imagenet()
    source = open_source(data_folder / "tiny_imagenet50" / "val", class_names=names, wnids=wnids)
    assert len(source) == 2500
    assert all(label is not None and wnids[label] == own.split("/")[0] for own, label in pairs(source).items())
    assert len(set(source.labels)) == 50
    assert max(label for label in source.labels if label is not None) > 49
    batch = source.take(64, seed=0).read()
    assert batch.images.shape == (64, 3, 64, 64)


def test_cifar_folders_are_mapped_by_name(data_folder: Path) -> None:
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    source = open_source(data_folder / "vgg16_cifar10" / "test", class_names=names)
    assert all(label is not None and names[label] == own.split("/")[0] for own, label in pairs(source).items())
    assert source.take(16, seed=0).read().images.shape == (16, 3, 32, 32)
