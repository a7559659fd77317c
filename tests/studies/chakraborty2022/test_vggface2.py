"""VGGFace2's layout: names, boxes, landmarks, what is dropped; and the alignment against a slow computation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gazeshift.errors import DataError, ImageError
from gazeshift.studies.chakraborty2022.collection import draw_classes, open_collection
from gazeshift.studies.chakraborty2022.vggface2 import (
    MARGIN,
    TEMPLATE,
    Face,
    aligned,
    is_vggface2,
    read_faces,
    similarity,
    tight,
)
from helpers.faces import make_vggface2


def test_identities_have_their_names_and_lost_landmarks_are_counted(tmp_path):
    root = make_vggface2(tmp_path / "faces")
    assert is_vggface2(root)
    found = open_collection(root)
    assert found.names == ("Person 0", "Person 1", "Person 2")
    assert len(found.source) == 18
    assert len(found.aligned) == 17
    assert [skip.id for skip in found.aligned.skipped] == ["train/n000001/0001_01.jpg"]
    drawn = draw_classes(found, classes=2, images=None, seed=0)
    assert set(drawn.aligned.ids) <= set(drawn.source.ids)
    assert len(drawn.names) == 2


def test_aligned_faces_have_their_landmarks_at_the_template(tmp_path):
    found = open_collection(make_vggface2(tmp_path / "faces"))
    batch = found.aligned.read(0, 6)
    assert batch.images.shape == (6, 3, 256, 256)
    for own, image in zip(batch.ids, batch.images, strict=True):
        if own.endswith("0002_01.jpg"):
            continue  # its box leaves the picture
        dark = image.sum(0) < 0.9
        for x, y in TEMPLATE * 256:
            assert dark[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].all(), (own, x, y)


def test_without_tables_there_is_nothing_to_align(tmp_path):
    root = make_vggface2(tmp_path / "faces")
    (root / "bb_landmark" / "loose_landmark_train.csv").unlink()
    assert open_collection(root).aligned is None


@pytest.mark.parametrize("row", ['"n000001/0001_01",1,1,1,1,1,1,1,1,1,1', '"n000001/0001_01",1,,1,2,3,4,5,6,7,8'])
def test_landmarks_that_are_none_count_as_missing(tmp_path, row):
    root = make_vggface2(tmp_path / "faces")
    with (root / "bb_landmark" / "loose_landmark_train.csv").open("a") as file:
        file.write(row + "\n")
    assert "train/n000001/0001_01" not in read_faces(root)


def test_a_table_of_another_form_is_refused(tmp_path):
    root = make_vggface2(tmp_path / "faces")
    (root / "bb_landmark" / "loose_bb_train.csv").write_text("NAME_ID,X,Y\nn000001/0001_01,1,2\n")
    with pytest.raises(DataError, match="must have NAME_ID and 4 numbers"):
        read_faces(root)
    (root / "identity_meta.csv").write_text("name\nx\n")
    with pytest.raises(DataError, match="columns Class_ID and Name"):
        open_collection(root)


def test_a_box_outside_the_picture_skips_the_image(tmp_path):
    picture = Image.new("RGB", (40, 40))
    face = Face(box=(100.0, 100.0, 10.0, 10.0), points=TEMPLATE * 20)
    with pytest.raises(ImageError, match="lies outside the picture"):
        aligned(picture, face)


def test_the_tight_crop_grows_by_a_third_and_is_clipped():
    assert MARGIN == 0.3
    assert tight((100, 100, 100, 200), (1000, 1000)) == (85, 70, 215, 330)
    assert tight((-20, 0, 40, 40), (60, 30)) == (0, 0, 26, 30)


@given(turn=st.floats(-3, 3), scale=st.floats(0.2, 5), x=st.floats(-50, 50), y=st.floats(-50, 50))
def test_a_similarity_is_found_again(turn, scale, x, y):
    factor = scale * np.exp(1j * turn)
    moved = (TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]) * factor + (x + 1j * y)
    found, shift = similarity(TEMPLATE, np.stack([moved.real, moved.imag], 1))
    assert found == pytest.approx(factor, abs=1e-9)
    assert shift == pytest.approx(x + 1j * y, abs=1e-8)


def test_a_similarity_is_the_least_squares_solution():
    target = TEMPLATE + np.random.default_rng(0).normal(0, 0.1, (5, 2))
    rows = [[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in TEMPLATE]
    wanted = np.linalg.lstsq(np.reshape(rows, (10, 4)), target.ravel(), rcond=None)[0]
    factor, shift = similarity(TEMPLATE, target)
    np.testing.assert_allclose([factor.real, factor.imag, shift.real, shift.imag], wanted, atol=1e-12)


def test_alignment_equals_pillows_transform_inside_the_box():
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8))
    picture = noise.resize((200, 200), Image.Resampling.BICUBIC)
    points = (TEMPLATE * 60) @ np.array([[0.96, 0.28], [-0.28, 0.96]]) + 70
    ours = np.asarray(aligned(picture, Face(box=(0.0, 0.0, 200.0, 200.0), points=points), side=64), dtype=float)
    factor, shift = similarity(TEMPLATE * 64, points)
    six = (factor.real, -factor.imag, shift.real, factor.imag, factor.real, shift.imag)
    theirs = picture.transform((64, 64), Image.Transform.AFFINE, six, Image.Resampling.BILINEAR)
    assert np.abs(ours - np.asarray(theirs, dtype=float)).max() <= 1
