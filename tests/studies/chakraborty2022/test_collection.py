"""Labelled collections to train on: class folders, splits put together, draws, tables of labels, views of the demo."""

import pytest

from gazeshift.errors import DataError
from gazeshift.models import Preprocessing
from gazeshift.studies.chakraborty2022.collection import draw_classes, members, open_collection, shuffled
from helpers.faces import make_classes


def test_class_folders_give_classes_in_the_order_of_their_names(tmp_path):
    found = open_collection(make_classes(tmp_path / "set"))
    assert found.names == ("class-0", "class-1", "class-2")
    assert [len(ids) for ids in members(found.source).values()] == [10, 10, 10]
    assert found.source.labels[found.source.ids.index("class-1/03.png")] == 1
    assert found.aligned is None


def test_splits_with_the_same_classes_are_put_together(tmp_path):
    make_classes(tmp_path / "set" / "train")
    make_classes(tmp_path / "set" / "val", images=4)
    found = open_collection(tmp_path / "set")
    assert found.names == ("class-0", "class-1", "class-2")
    assert [len(ids) for ids in members(found.source).values()] == [14, 14, 14]


def test_a_class_called_test_is_a_class_where_no_class_lies_below_it(tmp_path):
    make_classes(tmp_path / "set")
    (tmp_path / "set" / "class-0").rename(tmp_path / "set" / "test")
    assert open_collection(tmp_path / "set").names == ("class-1", "class-2", "test")


def test_wordnet_ids_get_the_models_names(tmp_path):
    make_classes(tmp_path / "set", classes=2)
    (tmp_path / "set" / "class-0").rename(tmp_path / "set" / "n01440764")
    names = {"class_names": ["tench, Tinca tinca"], "wnids": ["n01440764"]}
    assert open_collection(tmp_path / "set", **names).names == ("class-1", "tench")


def test_a_table_of_labels_gives_only_the_classes_that_occur(tmp_path):
    make_classes(tmp_path / "set", classes=1, images=4)
    flat = tmp_path / "set" / "class-0"
    (flat / "labels.csv").write_text("file,label\n00.png,7\n01.png,7\n02.png,3\n03.png,3\n")
    found = open_collection(flat)
    assert found.names == ("class 3", "class 7")
    assert found.source.labels == (1, 1, 0, 0)


def test_draws_follow_from_the_seed_and_are_nested(tmp_path):
    found = open_collection(make_classes(tmp_path / "set", classes=4))
    two = draw_classes(found, classes=2, images=3, seed=0)
    more = draw_classes(found, classes=2, images=5, seed=0)
    again = draw_classes(found, classes=2, images=3, seed=0)
    assert two.names == more.names == again.names
    assert two.source.ids == again.source.ids
    assert set(two.source.ids) < set(more.source.ids)
    assert {len(ids) for ids in members(two.source).values()} == {3}
    drawn = {draw_classes(found, classes=2, images=3, seed=seed).names for seed in range(8)}
    assert len(drawn) > 1


def test_drawn_images_keep_their_class(tmp_path):
    found = open_collection(make_classes(tmp_path / "set", classes=4))
    some = draw_classes(found, classes=3, images=2, seed=1)
    for own, label in zip(some.source.ids, some.source.labels, strict=True):
        assert own.split("/")[0] == some.names[label]


def test_one_class_is_refused(tmp_path):
    found = open_collection(make_classes(tmp_path / "set", classes=1))
    with pytest.raises(DataError, match="at least two classes, and set holds 1"):
        draw_classes(found, classes=None, images=None, seed=0)


def test_shuffling_is_a_permutation_of_its_own_names(tmp_path):
    ids = [str(number) for number in range(20)]
    assert sorted(shuffled(ids, 0, "a")) == sorted(ids)
    assert shuffled(ids, 0, "a") != shuffled(ids, 0, "b")


def test_the_demo_gives_ten_views_of_each_image():
    found = open_collection(None)
    assert len(found.names) == 20
    assert {len(ids) for ids in members(found.source).values()} == {10}
    first = found.source.ids[:10]
    batch = found.source.read(ids=first, preprocessing=Preprocessing(resize=32, crop=32))
    assert batch.images.shape == (10, 3, 32, 32)
    assert len({image.numpy().tobytes() for image in batch.images}) == 10
    assert (batch.images[0] - batch.images[5].flip(2)).abs().mean() < 0.02  # its mirror image
    assert "overlapping views" in found.source.notes[0]
