"""The space of networks of stages: block, kernel, expansion, width, depth, stride; stem, head, activation.

As in `mobinas.arch.space`, one generator states every choice by name, and all else is that generator with
different choosers. A choice is asked only where it decides something: a stage that is left out has no block,
a block with one kernel no kernel. A choice whose options depend on the block carries them in its name.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import Architecture, Task
from mobinas.arch.blocks import ACTIVATIONS, HEADS, STEMS, Activation, patch_size, stem_stride
from mobinas.arch.space import Choice, Chooser, look_up_in
from mobinas.arch.stage_choices import StageChoices, check_distinct
from mobinas.arch.stages import IDENTITY, Stage, StageBody, as_tuple, check_known
from mobinas.errors import ArchitectureError

WIDTH_MULTIPLE = 8
_SE_IN_LAST = ((False,), (False, True))


@dataclass(frozen=True, slots=True)
class StageSpace:
    """Networks of stages.

    Two encodings make the same network only where a neighbour can stand for a stage that is left out, or take
    over its blocks at a stride of 1 and the same width; a search evaluates it once.

    Attributes:
        task: Channels in, classes out.
        resolutions: Input heights and widths in pixels.
        stem_widths: Channels of the stem's result.
        stages: What each stage may be. Where one does not say, squeeze-excitation is on offer in the last one
            alone: everywhere it costs 85 % more latency in PP-LCNet's ablation (https://arxiv.org/abs/2109.15099).
        stems: Keys of `STEMS`.
        heads: Keys of `HEADS`.
        head_widths: Channels of the wider layer of heads that have one.
        activations: Of `ACTIVATIONS`.
        width_multiple: All widths are multiples of this. onnxruntime brings channels into blocks of 8 or 16:
            a network of 14 channels takes 3.5 times as long as one of 16.

    Raises:
        ArchitectureError: An empty or repeated choice, or one that no architecture can take.
    """

    task: Task
    resolutions: tuple[int, ...]
    stem_widths: tuple[int, ...]
    stages: tuple[StageChoices, ...]
    stems: tuple[str, ...] = ("3x3",)
    heads: tuple[str, ...] = ("linear",)
    head_widths: tuple[int, ...] = ()
    activations: tuple[Activation, ...] = ("relu",)
    width_multiple: int = WIDTH_MULTIPLE

    def __post_init__(self) -> None:
        for name in ("resolutions", "stem_widths", "stages", "stems", "heads", "head_widths", "activations"):
            object.__setattr__(self, name, as_tuple(name, getattr(self, name)))
        for name in ("resolutions", "stem_widths", "stems", "heads", "activations"):
            check_distinct(name, getattr(self, name))
        if not self.stages or not all(isinstance(stage, StageChoices) for stage in self.stages):
            raise ArchitectureError("a space of stages needs at least one StageChoices")
        if type(self.width_multiple) is not int or self.width_multiple < 1:
            raise ArchitectureError(f"width_multiple is {self.width_multiple!r}; it must be at least 1")
        for name, known in (("stem", STEMS), ("head", HEADS), ("activation", ACTIVATIONS)):
            for value in getattr(self, f"{name}s"):
                check_known(name, value, known)
        if self.heads != ("linear",):
            check_distinct("head_widths", self.head_widths)
        self._check_widths()
        self._check_sizes()
        self._check_stages()

    def _check_widths(self) -> None:
        named = [("stem_widths", self.stem_widths), ("head_widths", self.head_widths)]
        named += [(f"widths of stage {i}", stage.widths) for i, stage in enumerate(self.stages)]
        for name, widths in named:
            for width in widths:
                if type(width) is not int or width < 1 or width % self.width_multiple:
                    raise ArchitectureError(
                        f"{name} has {width!r}; widths are multiples of {self.width_multiple}, as runtimes "
                        "pad others (or set width_multiple)"
                    )

    def _check_sizes(self) -> None:
        stride = math.prod(max(stage.strides) for stage in self.stages) * max(map(stem_stride, self.stems))
        for resolution in self.resolutions:
            if type(resolution) is not int or resolution < stride:
                raise ArchitectureError(
                    f"resolutions has {resolution!r}; the strides of stem and stages multiply to {stride}, "
                    f"so images need at least {stride} pixels"
                )
            for stem in self.stems:
                if resolution % patch_size(stem):
                    raise ArchitectureError(
                        f"resolutions has {resolution}; stem '{stem}' needs a multiple of {patch_size(stem)}"
                    )

    def _check_stages(self) -> None:
        given = set(self.stem_widths)
        for number, stage in enumerate(self.stages):
            excited = self.se_of(number)[-1]
            for width in stage.widths if any(stage.depths) else ():
                for block in stage.blocks:
                    for before in given:
                        kernel, expansion = stage.kernels_of(block)[0], stage.expansions_of(block)[0]
                        one = Stage(block, width, 2, stage.strides_of(block)[0], kernel, expansion, excited)
                        StageBody("3x3", before, (one,))
            given = (given if 0 in stage.depths else set()) | set(stage.widths)

    def se_of(self, number: int) -> tuple[bool, ...]:
        """Whether a stage may have squeeze-excitation."""
        se = self.stages[number].se
        return _SE_IN_LAST[number == len(self.stages) - 1] if se is None else se

    def build(self, choose: Chooser) -> Architecture:
        """Makes one architecture, asking `choose` for every choice in a fixed order.

        Args:
            choose: Called as ``choose(name, options)``; must return one of the options.

        Returns:
            An architecture of this space; stages that are left out stand in it as ``identity``.
        """

        def ask(name: str, options: Sequence[Any]) -> Any:
            return choose(name, options) if len(options) > 1 else options[0]

        resolution = choose("resolution", self.resolutions)
        stem, width = ask("stem", self.stems), ask("stem_width", self.stem_widths)
        activation, head = ask("activation", self.activations), ask("head", self.heads)
        head_width = 0 if head == "linear" else ask("head_width", self.head_widths)
        stages: list[Stage] = []
        for number in range(len(self.stages)):
            given = stages[-1].width if stages else width
            stages.append(self._stage(number, given, ask))
        body = StageBody(stem, width, tuple(stages), head, head_width, activation)
        return Architecture(body, resolution, self.task)

    def _stage(self, number: int, given: int, ask: Chooser) -> Stage:
        of, where = self.stages[number], f"stage{number}"
        depth = ask(f"{where}.depth", of.depths)
        if depth == 0:
            return Stage(IDENTITY, given)
        block = ask(f"{where}.block", of.blocks)
        kernels, expansions, strides = of.kernels_of(block), of.expansions_of(block), of.strides_of(block)
        return Stage(
            block,
            ask(f"{where}.width", of.widths),
            depth,
            ask(f"{where}.stride", strides),
            ask(_named(f"{where}.kernel", kernels), kernels),
            ask(_named(f"{where}.expansion", expansions), expansions),
            ask(f"{where}.se", self.se_of(number)),
        )

    def sample(self, rng: random.Random) -> Architecture:
        """Draws each choice uniformly."""
        return self.build(lambda _name, options: rng.choice(options))

    def decode(self, choices: Mapping[str, Choice]) -> Architecture:
        """Builds the architecture that `encode` described.

        Raises:
            ArchitectureError: A choice is missing, or not an option.
        """
        return self.build(look_up_in(choices))

    def encode(self, architecture: Architecture) -> dict[str, Choice]:
        """The named choices that `decode` turns back into this architecture.

        Raises:
            ArchitectureError: The architecture does not lie in this space.
        """
        choices = self._choices(architecture)
        if choices is None:
            raise ArchitectureError(f"{architecture.name} does not lie in this search space")
        return choices

    def contains(self, architecture: Architecture) -> bool:
        """Whether the architecture (as written, not up to equal networks) lies in this space."""
        return self._choices(architecture) is not None

    def _choices(self, architecture: Architecture) -> dict[str, Choice] | None:
        body, chosen = architecture.body, dict[str, Choice]()
        if not isinstance(body, StageBody) or len(body.stages) != len(self.stages):
            return None
        wanted = _wanted(architecture.resolution, body)

        def note(name: str, options: Sequence[Any]) -> Any:
            chosen[name] = wanted[_plain(name)]
            # What is not on offer is told by the result.
            return chosen[name] if chosen[name] in options else options[0]

        return chosen if self.build(note) == architecture else None

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yields every architecture that differs in one choice.

        Choices that exist beside the new one alone stay as near as they can: a kernel or expansion is kept
        where the new block offers it, else the first option is taken.
        """
        choices = self.encode(architecture)
        kept = {_plain(name): choice for name, choice in choices.items()}
        for name, offered in self.choices().items():
            for option in offered if name in choices else ():
                if option != choices[name]:
                    yield self.build(_deciding(name, option, choices, kept))

    def choices(self) -> dict[str, tuple[Choice, ...]]:
        """Every choice that may be asked, with its options, in the order of `build`."""
        told: dict[str, tuple[Choice, ...]] = {
            "resolution": self.resolutions,
            "stem": self.stems,
            "stem_width": self.stem_widths,
            "activation": self.activations,
            "head": self.heads,
            "head_width": self.head_widths,
        }
        for number, of in enumerate(self.stages):
            where = f"stage{number}"
            told |= {f"{where}.depth": of.depths, f"{where}.block": of.blocks, f"{where}.width": of.widths}
            told[f"{where}.stride"] = of.strides
            for block in of.blocks:
                kernels, expansions = of.kernels_of(block), of.expansions_of(block)
                told[_named(f"{where}.kernel", kernels)] = kernels
                told[_named(f"{where}.expansion", expansions)] = expansions
            told[f"{where}.se"] = self.se_of(number)
        return {name: options for name, options in told.items() if len(options) > 1 or name == "resolution"}

    def size(self) -> int:
        """Number of encodings."""
        wide = sum(1 if head == "linear" else len(self.head_widths) for head in self.heads)
        around = len(self.resolutions) * len(self.stems) * len(self.stem_widths) * len(self.activations)
        return around * wide * math.prod(self._stage_size(number) for number in range(len(self.stages)))

    def _stage_size(self, number: int) -> int:
        of = self.stages[number]
        blocks = sum(
            len(of.kernels_of(block)) * len(of.expansions_of(block)) * len(of.strides_of(block))
            for block in of.blocks
        )
        deep = sum(depth > 0 for depth in of.depths)
        return (0 in of.depths) + deep * blocks * len(of.widths) * len(self.se_of(number))

    def vector(self, architecture: Architecture) -> npt.NDArray[np.float64]:
        """One-hot features of every choice; zeros where a choice was not asked.

        Returns:
            A vector of zeros and ones, of the same length for every architecture of the space.
        """
        choices = self.encode(architecture)
        return np.array(
            [
                float(name in choices and choices[name] == option)
                for name, options in self.choices().items()
                for option in options
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal space."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "StageSpace":
        """Reads what `to_json` wrote.

        Raises:
            TypeError, KeyError: The data are not of that form.
            ArchitectureError: They break a rule.
        """
        stages = tuple(StageChoices(**stage) for stage in data["stages"])
        return cls(**{**data, "task": Task(**data["task"]), "stages": stages})


def _named(name: str, options: tuple[int, ...]) -> str:
    return f"{name}({','.join(map(str, options))})"


def _plain(name: str) -> str:
    return name.partition("(")[0]


def _wanted(resolution: int, body: StageBody) -> dict[str, Any]:
    """What each choice would have to be, by its name without options."""
    wanted: dict[str, Any] = {
        "resolution": resolution,
        "stem": body.stem,
        "stem_width": body.stem_width,
        "activation": body.activation,
        "head": body.head,
        "head_width": body.head_width,
    }
    for number, stage in enumerate(body.stages):
        wanted |= {f"stage{number}.{name}": value for name, value in asdict(stage).items()}
        if stage.block == IDENTITY:
            wanted[f"stage{number}.depth"] = 0
    return wanted


def _deciding(
    name: str, option: Choice, choices: Mapping[str, Choice], kept: Mapping[str, Choice]
) -> Chooser:
    def choose(asked: str, options: Sequence[Any], /) -> Any:
        if asked == name:
            return option
        before = choices.get(asked, kept.get(_plain(asked)))
        return before if before in options else options[0]

    return choose
