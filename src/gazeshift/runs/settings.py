"""Settings that every study shares: the model, the images, and how the run goes."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gazeshift.errors import SettingsError
from gazeshift.registry import read_pixels, value


def read_number(given: Any) -> Any:
    """A number as people write it: ``2/255``, ``0.5``, ``1e-3``."""
    return value(given) if isinstance(given, str) else given


def read_size(given: Any) -> Any:
    """The side of a square, or height and width: ``224``, ``64x128``."""
    try:
        return read_pixels("input_size", given)
    except SettingsError as cause:
        raise ValueError("must be a number of pixels such as 224, or height and width such as 64x128") from cause


def read_list(given: Any) -> Any:
    """``0.25,0.5,1`` as well as three values."""
    if isinstance(given, str):
        given = (given,)
    if isinstance(given, list | tuple):
        return tuple(piece for item in given for piece in (item.split(",") if isinstance(item, str) else (item,)))
    return given


def read_specs(given: Any) -> Any:
    """``fgsm,pgd`` as two specs, but ``pgd:norm=l2,steps=5`` as one."""
    specs: list[Any] = []
    for piece in read_list(given):
        if isinstance(piece, str) and "=" in piece and ":" not in piece and specs:
            specs[-1] = f"{specs[-1]},{piece}"
        else:
            specs.append(piece)
    return tuple(specs)


def read_numbers(given: Any) -> Any:
    """``0.25,0.5,2/1`` as numbers."""
    return tuple(read_number(item) for item in read_list(given))


def each_once(given: tuple[float, ...]) -> tuple[float, ...]:
    """In the order given; what is given twice counts once."""
    return tuple(dict.fromkeys(given))


def written(text: str) -> Any:
    """A default as people write it, ``2/255``; the field's validator reads it, and --help shows it so."""
    return text


def read_place(given: Any) -> Any:
    """A path, or an address as it is: a `Path` would lose one of its slashes."""
    return Path(given) if isinstance(given, str) and "://" not in given else given


Place = Annotated[Path | str, BeforeValidator(read_place)]
Number = Annotated[float, BeforeValidator(read_number)]
Numbers = Annotated[tuple[Number, ...], BeforeValidator(read_numbers), AfterValidator(each_once)]
Size = Annotated[int | tuple[int, int] | None, BeforeValidator(read_size)]
Names = Annotated[tuple[str, ...], BeforeValidator(read_list)]
Specs = Annotated[tuple[str, ...], BeforeValidator(read_specs)]


Progress = Callable[[int, int, str], None]
LATER = ("compile", "channels_last", "bf16", "clean")  # written down only when chosen: older runs can be resumed


class StudySettings(BaseModel):
    """What every study needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    TRAINS: ClassVar[bool] = False

    images: Place | None = Field(
        None, description="Folder, file, Parquet, or an address (s3://, gs://, https://, hf://); none: 20 demo images."
    )
    labels: Place | None = Field(None, description="CSV with columns file,label, or ImageNet's val.txt.")
    limit: int | None = Field(None, ge=1, description="Use this many images, drawn with the seed.")
    model: str = Field("efficientnet_lite0", description="See `gazeshift list models`.")
    weights: str | None = Field(None, description=".safetensors or tensors-only .pt file; `random` for none.")
    input_size: Size = Field(None, description="Resize and crop images to so many pixels: 224, or 64x128 (h x w).")
    classes: Path | None = Field(
        None, description="Class names in the order of the index: text, one per line, or a JSON list or dictionary."
    )
    seed: int = Field(0, ge=0, description="Everything random follows from it.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps.")
    batch_size: int = Field(8, ge=1, description="Images side by side; also the piece that a resumed study redoes.")
    compile: bool = Field(False, description="torch.compile, where no layers are shown; for GPUs, changes last bits.")
    channels_last: bool = Field(False, description="Weights with channels side by side; for GPUs, changes last bits.")
    bf16: bool = Field(False, description="Weights in bfloat16, for GPUs: faster, and other numbers.")

    @model_validator(mode="after")
    def _trains_as_it_is(self) -> Self:
        if self.TRAINS and any(self.speed.values()):
            raise ValueError("this study trains its networks: leave out --compile, --channels-last and --bf16")
        return self

    @property
    def speed(self) -> dict[str, bool]:
        """How the model is made faster, as arguments of `gazeshift.models.sped_up`."""
        return {"compiled": self.compile, "channels_last": self.channels_last, "bf16": self.bf16}

    def class_names(self) -> tuple[str, ...]:
        """Names from the file `classes`, if one is given: see `gazeshift.data.read_class_names`."""
        if self.classes is None:
            return ()
        from gazeshift.data import read_class_names  # loads torch, which --help need not wait for

        return read_class_names(self.classes)

    def identity(self) -> dict[str, object]:
        """The settings that decide the rows: everything but where and in what pieces the work is done."""
        told = self.model_dump(mode="json", exclude={"device", "batch_size", "quick"})
        return {name: value for name, value in told.items() if value or name not in LATER}

    @classmethod
    def module(cls, name: str) -> Any:
        """A module of the study's folder: ``run``, ``report.page``. Loaded when it is needed: --help needs no torch."""
        return import_module(f"{cls.__module__.rpartition('.')[0]}.{name}")

    def run(
        self,
        out: Path,
        *,
        command: str = "",
        progress: Progress = lambda *_: None,
        executor: Any = None,
    ) -> Path:
        """Do what is missing of the study in the folder `out`, join its tables and write its manifest; gives `out`.

        Args:
            out: its folder.
            command: for the manifest.
            progress: called with (done, total, what).
            executor: computes the cells (`gazeshift.runs.executors.executor`); this process alone if not given.

        Raises:
            GazeshiftError: settings, models, images or folder cannot be used; nothing finished is lost.
        """
        found: Path = self.module("run").run(self, Path(out), command=command, progress=progress, executor=executor)
        return found


class PairSettings(StudySettings):
    """What a study of adversarial sets needs to know beside all others."""

    clean: Path | None = Field(
        None, description="Folder of the clean images of a set that came as attacked images alone, such as DAmageNet."
    )


class PaperSettings(PairSettings):
    """What the study of a paper needs to know: examples from a set, if there is one, and a quick form."""

    QUICK: ClassVar[Mapping[str, object]] = {}

    set: Path | None = Field(None, description="Adversarial set with its clean images, instead of attacking now.")
    quick: bool = Field(False, description="A small run of every part; what is set beside it wins.")

    @model_validator(mode="before")
    @classmethod
    def _quickly(cls, given: Any) -> Any:
        return {**cls.QUICK, **given} if isinstance(given, dict) and given.get("quick") else given

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.set is not None and (self.images is not None or self.labels is not None):
            raise ValueError("a set brings its own images and labels: leave out --images and --labels, or --set")
        if self.clean is not None and self.set is None and not getattr(self, "sets", ()):
            raise ValueError("--clean names the clean images of a set of attacked ones: give --set as well")
        return self
