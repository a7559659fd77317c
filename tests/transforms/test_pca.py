"""PCA cleaning: by hand, against scikit-learn, and what it leaves alone."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from gazeshift.errors import BoundsError, UnknownNameError
from gazeshift.seeds import generator_for
from gazeshift.transforms.pca import Pca


def drawn(*shape):
    return torch.rand(shape, generator=generator_for(0, "pca")).double()


def test_a_rank_one_image_comes_back_from_one_component():
    rows, columns = drawn(3, 12), drawn(3, 10)
    images = 0.2 + 0.5 * (rows[:, :, None] - rows.mean(1)[:, None, None]) * columns[:, None, :]
    cleaned, kept = Pca().cleaned(images[None])
    assert kept.tolist() == [[1, 1, 1]]
    torch.testing.assert_close(cleaned[0], images, atol=1e-12, rtol=0)


def test_rows_are_as_scikit_learn_has_them():
    images = drawn(2, 3, 16, 20)
    cleaned, kept = Pca(variance=0.9).cleaned(images)
    for at in range(2):
        for colour in range(3):
            matrix = images[at, colour].numpy()
            found = PCA(0.9, svd_solver="full").fit(matrix)
            assert kept[at, colour] == found.n_components_
            np.testing.assert_allclose(
                cleaned[at, colour], found.inverse_transform(found.transform(matrix)), atol=1e-10
            )


@pytest.mark.parametrize(("mode", "shape"), [("joint_rows", (16, 60)), ("patch8", (6, 192))])
def test_the_other_modes_are_as_scikit_learn_has_them(mode, shape):
    images = drawn(1, 3, 16, 20) if mode == "joint_rows" else drawn(1, 3, 16, 24)
    cleaned, kept = Pca(mode=mode, variance=0.9).cleaned(images)

    def matrix(picture):
        array = picture.numpy()
        if mode == "joint_rows":
            return np.concatenate(list(array), axis=1)
        tiles = [array[:, top : top + 8, left : left + 8].ravel() for top in (0, 8) for left in (0, 8, 16)]
        return np.stack(tiles)

    one = matrix(images[0])
    assert one.shape == shape
    found = PCA(0.9, svd_solver="full").fit(one)
    assert kept.tolist() == [[found.n_components_]]
    np.testing.assert_allclose(matrix(cleaned[0]), found.inverse_transform(found.transform(one)), atol=1e-10)


def test_sizes_that_fill_no_patch_keep_their_size():
    assert Pca(mode="patch8")(drawn(2, 3, 13, 9)).shape == (2, 3, 13, 9)


def test_a_constant_colour_has_no_component_and_no_residual():
    images = drawn(1, 3, 8, 8)
    images[:, 1] = 0.3
    cleaned, kept = Pca().cleaned(images)
    assert kept[0, 1] == 0
    assert torch.equal(cleaned[:, 1], images[:, 1])


def test_the_residual_has_no_mean():
    images = drawn(2, 3, 16, 16)
    residual = images - Pca()(images)
    assert residual.mean((2, 3)).abs().max() < 1e-12


def test_what_it_refuses():
    with pytest.raises(BoundsError, match="share of the variance above 0 and below 1, got 1"):
        Pca(variance=1.0)
    with pytest.raises(UnknownNameError, match=r"no mode 'row'. Did you mean 'rows'"):
        Pca(mode="row")


@pytest.mark.parametrize("mode", ["rows", "patch8", "joint_rows"])
@pytest.mark.parametrize("shape", [(1, 2, 16, 24), (1, 1, 24, 8)])
def test_the_gradient_is_that_of_finite_differences(mode, shape):
    images = drawn(*shape)
    assert torch.autograd.gradcheck(Pca(mode=mode, variance=0.7), (images.requires_grad_(),), fast_mode=True)


@pytest.mark.parametrize("mode", ["rows", "patch8", "joint_rows"])
def test_components_of_one_size_spoil_no_gradient(mode):
    """A black border and rows that repeat: components of size 0, many of them."""
    images = drawn(1, 3, 24, 24)
    images[..., :8, :] = 0
    images[..., 16:, :] = images[..., 8:9, :]
    cleaned, kept = Pca(mode=mode, variance=0.7).cleaned(images)
    assert (kept >= 1).all()
    assert torch.autograd.gradcheck(Pca(mode=mode, variance=0.7), (images.requires_grad_(),), fast_mode=True)
    torch.testing.assert_close(Pca(mode=mode, variance=0.7)(images).detach(), cleaned)
