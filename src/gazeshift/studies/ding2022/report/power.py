"""Whether a training of the study of Ding et al. 2022 was large enough to answer: yes, no, or not tested."""

import math

from gazeshift.report.statistics import wilson

JUDGES, EXAMPLES, UNLEARNED = 100, 1000, 0.5

RULE = (
    f"Not tested: fewer than {JUDGES} images to judge on, a loss on its own examples above half of what "
    f"guessing has, a 95 % interval that leaves both answers open, or a no after fewer than {EXAMPLES:,} examples."
)


def conclusion(
    bounds: tuple[float, float],
    limit: float,
    *,
    judged: int,
    learned: int,
    loss: float,
    classes: int,
    margin: float = 0.0,
) -> bool | None:
    """Whether a figure lies above a limit; None where the training cannot tell, see `RULE`.

    A small training can show that something happens, and not that it never does.

    Args:
        bounds: 95 % interval of the figure.
        limit: above it the answer is yes.
        judged: images of one side that it was measured on.
        learned: examples trained on.
        loss: the last epoch's, on the training examples.
        classes: of the network trained.
        margin: how far above the limit a figure may lie and still count as none.

    >>> conclusion((0.6, 0.7), 0.5, judged=200, learned=100, loss=0.1, classes=2)
    True
    """
    if judged < JUDGES or not loss <= UNLEARNED * math.log(classes):
        return None
    if bounds[0] > limit:
        return True
    return False if bounds[1] < limit + margin and learned >= EXAMPLES else None


def difference(after: tuple[int, int], before: tuple[int, int]) -> tuple[float, float]:
    """95 % interval of the difference of two shares, each as part and whole (Newcombe 1998, his method 10).

    >>> [round(bound, 4) for bound in difference((56, 70), (48, 80))]
    [0.0524, 0.3339]
    """
    (low, high), (low_before, high_before) = wilson(*after), wilson(*before)
    share, share_before = after[0] / after[1], before[0] / before[1]
    below = math.hypot(share - low, high_before - share_before)
    above = math.hypot(high - share, share_before - low_before)
    return share - share_before - below, share - share_before + above


def balanced(clean: float, other: float, n: int) -> tuple[float, float]:
    """95 % interval of the mean of two shares of `n` images each.

    >>> [round(bound, 3) for bound in balanced(1.0, 1.0, 100)]
    [0.974, 1.0]
    """
    low, high = difference((round(clean * n), n), (n - round(other * n), n))
    return (1 + low) / 2, (1 + high) / 2
