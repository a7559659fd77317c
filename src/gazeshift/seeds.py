"""Random numbers that do not depend on the batch: one generator per image, seeded by what the draw is for.

A single generator is asked once for the whole batch: right for that batch, but another way of splitting the same
images gives other numbers. Studies therefore pass one generator per image.
"""

import hashlib
import json
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gazeshift.errors import SettingsError

Generators = torch.Generator | Sequence[torch.Generator]


def generator_for(seed: int, *names: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator seeded by SHA-256 of the seed and the names: the same wherever and whenever it is asked for.

    PyTorch's CPU generator has 2^32 different streams (the GPU's 2^64): among 50,000 images it is likely that none
    share one, and possible that two do.

    >>> first, again = generator_for(0, "pgd", "cats/0031.png"), generator_for(0, "pgd", "cats/0031.png")
    >>> torch.equal(torch.rand(3, generator=first), torch.rand(3, generator=again))
    True
    """
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big"))


def normal(shape: Sequence[int], generator: Generators, device: torch.device) -> Float[Tensor, "n ..."]:
    """Draws from the standard normal distribution, float32, drawn where the generator is and moved to `device`.

    Args:
        shape: the first entry counts the images.
        generator: one for all images, or one per image.
        device: of the result.

    Raises:
        SettingsError: neither one generator nor one per image.
    """
    return _draw(torch.randn, shape, generator, device)


def uniform(shape: Sequence[int], generator: Generators, device: torch.device) -> Float[Tensor, "n ..."]:
    """Draws from [0, 1), float32; the rest as in `normal`.

    Raises:
        SettingsError: neither one generator nor one per image.
    """
    return _draw(torch.rand, shape, generator, device)


def each(generator: Generators, n: int) -> list[torch.Generator]:
    """A generator for each of n images: those given, or n that a single one seeds. For one image, it is its own.

    Raises:
        SettingsError: neither one generator nor one per image.
    """
    if not isinstance(generator, torch.Generator):
        return _one_per_image(generator, n)
    if n == 1:
        return [generator]
    numbers = torch.randint(2**62, (n,), generator=generator, device=generator.device).tolist()
    return [torch.Generator(generator.device).manual_seed(number) for number in numbers]


def _draw(
    kind: Callable[..., Tensor], shape: Sequence[int], generator: Generators, device: torch.device
) -> Float[Tensor, "n ..."]:
    if isinstance(generator, torch.Generator):
        return kind(tuple(shape), generator=generator, device=generator.device, dtype=torch.float32).to(device)
    drawn = torch.empty(tuple(shape), dtype=torch.float32, device=device)
    for row, one in zip(drawn, _one_per_image(generator, shape[0]), strict=True):
        row.copy_(kind(tuple(shape[1:]), generator=one, device=one.device, dtype=torch.float32))
    return drawn


def _one_per_image(generators: Sequence[torch.Generator], n: int) -> list[torch.Generator]:
    if not isinstance(generators, Sequence) or not all(isinstance(one, torch.Generator) for one in generators):
        raise SettingsError(
            f"a torch.Generator is needed, or one per image, got {generators!r}. With a seed: "
            "torch.Generator().manual_seed(0), or gs.generator_for(0, 'name')."
        )
    if len(generators) != n:
        raise SettingsError(
            f"one generator per image is needed, got {len(generators)} for {n} images. "
            "Pass as many as there are images, or a single one for the whole batch."
        )
    return list(generators)
