"""A job as its file states it: the only place that knows the keys, their types and defaults."""

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mobinas.arch.architecture import CELL_STRIDE, STEM_STRIDE, Stem, Task
from mobinas.arch.ops import op_set
from mobinas.arch.space import PRESETS, SearchSpace, preset
from mobinas.config_errors import explained
from mobinas.errors import ConfigError, did_you_mean
from mobinas.files import read_text
from mobinas.metrics.objective import Metric
from mobinas.places import Place, is_same_place, place_of_data, place_of_genotype, place_of_target, portable
from mobinas.toml_text import toml_lines

_JOBS = "mobinas.jobs"
DEFAULT_JOB = "digits"
# Keys that may name a file or a folder, by section.
_PLACES: dict[tuple[str, str], Place] = {
    ("", "data"): place_of_data,
    ("", "target"): place_of_target,
    ("search", "genotypes"): place_of_genotype,
}
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
_GPU = re.compile(r"(gpu|nvidia|cuda)(:?\d*)")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SpaceSection(_Section):
    """Which architectures are searched.

    Without resolutions they follow from the images: their own size and fractions of it.
    """

    preset: str | None = None
    resolutions: tuple[int, ...] | None = None
    depths: tuple[int, ...] = (3, 4, 5)
    widths: tuple[int, ...] = (4, 8, 16)
    ops: str | tuple[str, ...] | tuple[tuple[str, ...], ...] = "darts"
    nodes: int = Field(4, ge=1, le=6)
    stem: Stem = "cifar"

    @model_validator(mode="after")
    def _known_preset(self) -> "SpaceSection":
        if self.preset is not None:
            if self.preset not in PRESETS:
                raise ValueError(f"unknown space '{self.preset}'{did_you_mean(self.preset, PRESETS)}")
            others = self.model_fields_set - {"preset"}
            if others:
                raise ValueError(f"a preset fixes the whole space; drop {sorted(others)} or the preset")
        return self

    def for_task(self, task: Task, image_size: int) -> SearchSpace:
        """The search space for a data set.

        Raises:
            ArchitectureError: A value that no architecture can take.
        """
        if self.preset is not None:
            return preset(self.preset, task)
        stride = STEM_STRIDE[self.stem] * CELL_STRIDE
        sizes = self.resolutions or _sizes_near(image_size, stride)
        nested = not isinstance(self.ops, str) and any(not isinstance(op, str) for op in self.ops)
        op_sets = tuple(op_set(ops) for ops in self.ops) if nested else (op_set(self.ops),)  # type: ignore[arg-type]
        return SearchSpace(task, sizes, self.depths, self.widths, op_sets, self.nodes, self.stem)


def _sizes_near(image_size: int, stride: int) -> tuple[int, ...]:
    wanted = (image_size * share for share in (0.5, 0.75, 1.0))
    return tuple(dict.fromkeys(max(stride, round(size / stride) * stride) for size in wanted))


NO_FOLDER = "none"
Folders = str | tuple[str, ...] | None


class ImagesSection(_Section):
    """How images are read and split; what the shares leave is for the network weights.

    `train`, `val`, `test` and `ignore` name folders below the data folder, one or several; ``"none"`` says
    that there is no such part, so that a folder called so is a class.
    """

    image_size: int | None = Field(None, ge=4)
    limit: int | None = Field(None, ge=1)
    background: str = Field(
        "auto", description="of transparent pictures: auto, or a colour such as white or #ff8800"
    )
    alphas_share: float | None = Field(None, gt=0, lt=1)
    select_share: float | None = Field(None, gt=0, lt=1)
    test_share: float | None = Field(None, gt=0, lt=1)
    train: Folders = Field(None, description="folders to train with; told by their names without")
    val: Folders = Field(None, description="folders to select by; told by their names without")
    test: Folders = Field(None, description="folders of the final test; told by their names without")
    ignore: Folders = Field(None, description="folders that are left out")
    merge_val: bool = Field(False, description="split the data's own selection part with the others")
    skip_bad: bool = Field(False, description="go on without unreadable images and too small classes")
    min_per_class: int | None = Field(None, ge=1, description="classes with fewer images are dropped")

    @model_validator(mode="after")
    def _leaves_weights(self) -> "ImagesSection":
        if sum(share or 0 for share in (self.alphas_share, self.select_share, self.test_share)) >= 1:
            raise ValueError("alphas_share + select_share + test_share must stay below 1")
        return self

    @field_validator("train", "val", "test", "ignore")
    @classmethod
    def _below_the_data(cls, given: Folders) -> Folders:
        for name in (given,) if isinstance(given, str) else given or ():
            path = PurePath(name)
            if path.is_absolute() or ".." in path.parts or (not path.parts and name):
                raise ValueError(f"name folders below the data folder, such as 'test', or '{NO_FOLDER}'")
        return given


class ProfileSection(_Section):
    """How many networks teach the latency predictor, and how long each is measured."""

    networks: int = Field(40, ge=12)
    rounds: int = Field(6, ge=2)
    block_s: float = Field(0.02, gt=0)


class SupernetSection(_Section):
    """The one-shot search over cells, and the elastic supernet that judges candidates."""

    method: str = "pc-darts"
    epochs: int = Field(15, ge=1)
    warm_up_share: float | None = Field(None, ge=0, lt=1)
    order: int = Field(1, ge=1, le=2, description="2 differentiates through a step of the weights")
    guards: tuple[str, ...] | None = Field(None, description="against collapse; the method's own without")
    latency_weight: float | None = Field(
        None, ge=0, description="of the expected latency; the method's without"
    )
    batch_size: int = Field(64, ge=2)
    width: int | None = Field(None, ge=2)
    depth: int | None = Field(None, ge=2)
    resolution: int | None = Field(None, ge=4)
    images: int = Field(10_000, ge=16, description="training images used at most in each part")
    elastic_epochs: int = Field(20, ge=1)
    elastic_batch_size: int = Field(128, ge=2)
    elastic_images: int = Field(20_000, ge=16)


class SearchSection(_Section):
    """The search over the front.

    `metric` judges candidates, shortlist, finalists and the pick; cells are searched by the loss.
    """

    metric: Metric = Field("accuracy", description="accuracy, or balanced_accuracy: the mean recall")
    trials: int = Field(100, ge=2)
    sampler: str = "auto"
    baseline_trials: int | None = Field(
        None,
        ge=0,
        description="random architectures judged alike; as many as the search's without",
    )
    attribution_trials: int = Field(
        12, ge=0, description="random sizes, and random cells, around the knee; 0 for none"
    )
    stop_below: float | None = Field(
        None, gt=0, lt=1, description="ends the search when an evaluation is to add less of the hypervolume"
    )
    uniform: float = Field(0.5, ge=0, le=1, description="share of uniform in the first candidates")
    genotypes: tuple[str, ...] = Field((), description="published names or files, judged early on")
    calibration_images: int = Field(256, ge=8)
    select_images: int = Field(2_000, ge=8)
    qualifiers: int = Field(24, ge=2, description="candidates that are trained for a moment")
    qualifying_epochs: int = Field(2, ge=0, description="how long; 0 trusts inherited accuracies")
    qualifying_images: int = Field(4_000, ge=8)


class TrainSection(_Section):
    """Training of finalists and baselines, all with one recipe.

    With `minutes` each network gets an equal share of them and as many epochs as fit, `epochs` at most.
    """

    finalists: int = Field(8, ge=2)
    epochs: int = Field(30, ge=1)
    minutes: float | None = Field(None, gt=0)
    workers: int | None = Field(None, ge=1, description="processes; one per core without")
    batch_size: int = Field(128, ge=2)
    learning_rate: float = Field(0.2, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    shift: float = Field(0.0625, ge=0, lt=1, description="share of the side by which images move")
    flip: bool = Field(False, description="mirror left to right; wrong for digits and letters")
    cutout: float = Field(0.0, ge=0, lt=1, description="side of a black square, as a share")
    baselines: tuple[str, ...] = ("mobilenet_v3_small", "mobilenet_v3_small_stride1", "plain_cnn")
    baseline_resolution: int | None = Field(None, ge=4)


class MeasureSection(_Section):
    """How the exported files are measured."""

    rounds: int = Field(12, ge=2)
    block_s: float = Field(0.05, gt=0)


class JobConfig(_Section):
    """A whole job."""

    data: str = "digits"
    target: str = "local"
    seed: int = Field(0, ge=0)
    device: str = Field("auto", description="of training; auto takes a GPU if there is one")
    threads: int | None = Field(None, ge=1, description="of training; PyTorch's choice without")
    max_latency_ms: float | None = Field(None, gt=0)
    target_latency_ms: float | None = Field(None, gt=0, description="reference of the score; 1 ms without")
    images: ImagesSection = ImagesSection()
    space: SpaceSection = SpaceSection()
    profile: ProfileSection = ProfileSection()
    supernet: SupernetSection = SupernetSection()
    search: SearchSection = SearchSection()
    train: TrainSection = TrainSection()
    measure: MeasureSection = MeasureSection()

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if _DEVICE.fullmatch(device):
            return device
        if found := _GPU.fullmatch(device.strip().lower()):
            number = found[2].strip(":")
            raise ValueError(
                f"unknown device '{device}'; did you mean '{f'cuda:{number}' if number else 'cuda'}'?"
            )
        raise ValueError(
            f"unknown device '{device}'{did_you_mean(device, ('auto', 'cpu', 'cuda', 'cuda:0'))}"
        )

    @property
    def reference_s(self) -> float:
        """Latency at which the score equals the accuracy."""
        return 1e-3 if self.target_latency_ms is None else self.target_latency_ms * 1e-3

    @property
    def max_latency_s(self) -> float | None:
        """The latency budget in seconds."""
        return None if self.max_latency_ms is None else self.max_latency_ms * 1e-3


def load_config(job: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> JobConfig:
    """Reads a job.

    Args:
        job: A TOML file, or the name of a shipped job; without one, the default job. Paths in it go from its
            own folder; where nothing lies there, from the working directory.
        overrides: Values by dotted key, such as ``{"train.epochs": 5}``; they win over the file. Their paths
            go from the working directory.

    Raises:
        ConfigError: The file cannot be read, or a key or value cannot be meant.
    """
    asked = job if job is not None else DEFAULT_JOB
    is_file = Path(asked).suffix == ".toml"
    data = with_places(_read(asked), Path(asked).parent.absolute() if is_file else Path.cwd())
    for key, value in (overrides or {}).items():
        if key == "space.preset":
            # A preset fixes the whole space, so it replaces what the file says of it.
            data["space"] = {}
        piece: dict[str, Any] = {}
        keys = key.split(".")
        _put(piece, keys, value)
        _put(data, keys, _at(with_places(piece, Path.cwd()), keys))
    return checked(data)


def with_places(data: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A job as nested plain data, its paths absolute."""
    return _placed(data, lambda place, spec: place(spec, base))


def placed(config: JobConfig) -> JobConfig:
    """A job with absolute paths; relative ones go from the working directory."""
    found = with_places({"data": config.data, "target": config.target, "search": {}}, Path.cwd())
    genotypes = tuple(place_of_genotype(name, Path.cwd()) for name in config.search.genotypes)
    search = config.search.model_copy(update={"genotypes": genotypes})
    return config.model_copy(update={**found, "search": search})


def is_same_value(key: tuple[str, str], old: Any, new: Any) -> bool:
    """Whether a key of the job, by section and name, means the same in both; paths must be absolute."""
    if key not in _PLACES or old == new:
        return bool(old == new)
    if isinstance(old, list) and isinstance(new, list):
        # Genotypes are read once: of files that are gone, nothing would tell that the new ones are others.
        kept = all(map(os.path.exists, old))
        return len(old) == len(new) and kept and all(map(is_same_place, old, new))
    return is_same_place(old, new)


def _placed(data: Mapping[str, Any], change: Callable[[Place, str], str]) -> dict[str, Any]:
    found = dict(data)
    for (section, key), place in _PLACES.items():
        inside = found.get(section) if section else found
        if not isinstance(inside, Mapping) or key not in inside:
            continue
        value = inside[key]
        if isinstance(value, list | tuple):
            value = [change(place, one) if isinstance(one, str) else one for one in value]
        elif isinstance(value, str) and not isinstance(inside, list):
            value = change(place, value)
        changed = {**inside, key: value}
        found = {**found, section: changed} if section else changed
    return found


def _at(data: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        data = data[key]
    return data


def checked(data: Mapping[str, Any]) -> JobConfig:
    """A job from nested plain data.

    Raises:
        ConfigError: A key or value cannot be meant.
    """
    try:
        return JobConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explained(error.errors()[0], JobConfig)) from None


def _read(job: str | Path) -> dict[str, Any]:
    path = Path(job)
    if path.suffix != ".toml":
        shipped = {p.name.removesuffix(".toml"): p for p in resources.files(_JOBS).iterdir()}
        shipped = {name: p for name, p in shipped.items() if p.name.endswith(".toml")}
        if str(job) not in shipped:
            raise ConfigError(
                f"job '{job}' is neither a .toml file nor shipped{did_you_mean(str(job), shipped)}"
            )
        text = shipped[str(job)].read_text(encoding="utf-8")
    else:
        try:
            text = read_text(path)
        except OSError as error:
            raise ConfigError(f"cannot read job file {path}: {error.strerror}; check the path") from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"cannot read job file {path}: it is no UTF-8 text; save it as UTF-8"
            ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"job file {job} is not valid TOML: {error}") from error


def _put(data: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ConfigError(f"'{'.'.join(keys)}' cannot be set: '{key}' is a value, not a section")
    data[keys[-1]] = value


def dump_toml(config: JobConfig, folder: Path | None = None) -> str:
    """The resolved job as TOML that `load_config` reads back to an equal job.

    Args:
        config: The job.
        folder: Of the file, to which paths are relative where both lie in the working directory; without
            one, all paths are as they are.
    """
    data = config.model_dump(mode="json", exclude_none=True)
    if folder is not None:
        data = _placed(data, lambda _place, spec: portable(spec, folder))
    if config.space.preset is not None:
        data["space"] = {"preset": config.space.preset}
    top = toml_lines({key: value for key, value in data.items() if not isinstance(value, dict)})
    for name, section in data.items():
        if isinstance(section, dict):
            top += ["", f"[{name}]", *toml_lines(section)]
    return "\n".join(top) + "\n"
