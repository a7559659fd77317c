"""The command line: ``gazeshift demo``, ``look``, ``attack``, ``set``, ``study``... One file, one command."""

import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from gazeshift import __version__
from gazeshift.cli import attack, demo, detect, explore, listing, look, report, serve, sets, study
from gazeshift.errors import GazeshiftError, ModelError
from gazeshift.runs.executors.memory import keep_freed_memory

EPILOGUE = """Examples:

  gazeshift demo --out demo-report
  gazeshift look photo.jpg --layers blocks --cams grad_cam,layer_cam
  gazeshift study renkhoff2022 --quick --out quick
  gazeshift detect score photo.jpg
  gazeshift serve

Bad input ends with one sentence and exit code 2; --debug shows the traceback."""

app = App(
    name="gazeshift",
    help="See, measure and catch where an adversarial perturbation moves an image classifier's gaze.",
    help_epilogue=EPILOGUE,
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
    version=__version__,
    suppress_keyboard_interrupt=False,
)
for group in (sets, study, detect):
    app.command(group.app)
for command in (demo.demo, look.look, attack.attack, serve.serve, explore.explore, report.report, listing.list_):
    app.command(command, name=command.__name__.rstrip("_"), help_epilogue="")  # their docstrings have examples


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 2 bad input, 130 interrupted, 1 an internal error."""
    given = _with_negatives(_with_bare_ray(sys.argv[1:] if arguments is None else arguments))
    debug = "--debug" in given
    keep_freed_memory()
    with _plain_warnings(), _errors_as_exit_codes(debug=debug):
        app(
            [argument for argument in given if argument != "--debug"],
            exit_on_error=False,
            print_error=False,
            result_action=_print,
        )
    sys.exit(0)


def _print(lines: Iterable[str] | None) -> None:
    """What a command has to say, a line each."""
    for line in lines or ():
        print(line)  # noqa: T201


def _with_negatives(arguments: Sequence[str]) -> list[str]:
    """``--epsilon -2/255`` as ``--epsilon=-2/255``: a value with a minus sign is a value, and no unknown flag."""
    given: list[str] = []
    for argument in arguments:
        if given and re.fullmatch(r"--[a-z-]+", given[-1]) and re.match(r"-[.\d]", argument):
            given[-1] += f"={argument}"
        else:
            given.append(argument)
    return given


def _with_bare_ray(arguments: Sequence[str]) -> list[str]:
    """``--ray`` with no address after it as ``--ray=local``."""
    following = [*arguments[1:], "--"]
    return [
        "--ray=local" if own == "--ray" and after.startswith("-") else own
        for own, after in zip(arguments, following, strict=False)
    ]


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line each, without the place in the code that they came from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"gazeshift: warning: {message}", file=sys.stderr)  # noqa: T201
        yield


@contextmanager
def _errors_as_exit_codes(*, debug: bool) -> Iterator[None]:
    """What a command raises, said in one sentence before the program exits."""
    try:
        yield
    except (GazeshiftError, CycloptsError, ValidationError) as error:
        _complain(_sentence(error), 2, debug=debug)
    except KeyboardInterrupt as stopped:
        _complain(" ".join(["stopped.", *getattr(stopped, "__notes__", ())]), 130, debug=False)
    except BrokenPipeError:  # `gazeshift list layers | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemoryError:
        _complain("memory is full. Use a smaller --batch-size.", 2, debug=debug)
    except Exception as error:  # whatever is left is an internal error, and says so
        _complain(_fault(error), 1, debug=debug)


def _fault(error: Exception) -> str:
    """What went wrong, and in which piece of a long run; the code of a model may be to blame there."""
    what = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    where = _place(error)
    if where is None:
        return f"an internal error: {what} (--debug shows where)"
    return f"an internal error, or one of the model, {where}: {what}. What is finished is kept (--debug shows where)"


def _place(error: BaseException) -> str | None:
    """The piece of a long run that an error came from."""
    return next((note for note in getattr(error, "__notes__", ()) if note.startswith("in cell ")), None)


def _sentence(error: BaseException) -> str:
    """The error as one line; of settings that do not fit, which flag, what was wanted and what came."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, ValidationError):
        inner = inner.__cause__ or inner.__context__
    if inner is None:
        sentence, where = " ".join(str(error).split()), _place(error)
        if where is None or not isinstance(error, ModelError):
            return sentence
        return f"{where}: {sentence.rstrip('.')}. What is finished is kept."
    first = inner.errors()[0]
    wanted = (first["msg"][:1].lower() + first["msg"][1:]).removeprefix("value error, ")
    if not first["loc"]:  # flags that do not go together
        return f"{wanted}. `--help` describes them."
    flag = "--" + str(first["loc"][0]).replace("_", "-")
    return f"{flag}: {wanted}, got {first['input']!r}. `--help` describes it."


def _complain(message: str, code: int, *, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"gazeshift: {message}\n")
    sys.exit(code)
