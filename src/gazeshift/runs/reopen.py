"""Things that are opened once in each process: they travel to another one as what opens them."""

import pickle
from collections.abc import Callable
from typing import Any

_OPENED: dict[bytes, Any] = {}


class Reopened:
    """Whatever takes long to open and cannot be sent, such as a model. Pickled, it is a function and its arguments.

    A class that has this sets `recipe` when it is made: a function that others find by its name, and arguments that can
    be pickled. Another process calls it once, however often the thing arrives there.
    """

    recipe: tuple[Callable[..., Any], tuple[Any, ...]]

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return _reopen, (pickle.dumps(self.recipe),)


def _reopen(recipe: bytes) -> Any:
    if recipe not in _OPENED:
        function, arguments = pickle.loads(recipe)  # noqa: S301  # our own bytes, from the process that began this one
        _OPENED[recipe] = function(*arguments)
    return _OPENED[recipe]
