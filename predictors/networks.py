"""Sums over the kernels of networks: of architectures by the thousand, of files one by one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import Architecture
from mobinas.errors import PredictorError
from mobinas.graph.layers import Graph
from mobinas.graph.lowering import lower
from predictors.cells import CellSums
from predictors.kernels import Kernel, kernel_of
from predictors.layout import calls_of_graph
from predictors.model_calls import calls_of_model
from predictors.model_file import ModelFile

if TYPE_CHECKING:
    import onnx

Floats = npt.NDArray[np.float64]
_NO_BINDINGS: Mapping[str, int] = {}
AnyModel: TypeAlias = "Path | onnx.ModelProto | ModelFile | Architecture | Graph | Executed"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a target's runtime lays tensors out.

    Attributes:
        block: Channels per block; 1 where it knows the plain layout alone.
        batch: Images per inference.
    """

    block: int = 1
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Executed:
    """A model whose kernels are known, so that nothing of it is read or run again."""

    kernels: tuple[Kernel, ...]


def kernels_of(model: AnyModel, layout: Layout, bindings: Mapping[str, int] = _NO_BINDINGS) -> list[Kernel]:
    """The kernels of a model as a target's runtime executes it.

    Args:
        model: A file, a model in memory, an architecture, or one that is lowered or executed already.
        layout: Of the target's runtime.
        bindings: Sizes of a file's open dimensions beside the batch, by their names.

    Raises:
        PredictorError: Open sizes beside the batch that are not bound, or nothing is executed.
        MeasurementError: Not a model, or one that this machine's runtime cannot execute.
    """
    model = opened(model, bindings)
    if isinstance(model, Executed):
        return list(model.kernels)
    if isinstance(model, Graph):
        calls = calls_of_graph(model, layout.block, layout.batch)
    else:
        calls = calls_of_model(model, layout.block, layout.batch)
        if not calls:
            raise PredictorError(
                f"{model.name}: nothing is left to compute when it runs, so there is nothing to predict; "
                "measure it"
            )
    return [kernel_of(call) for call in calls]


def opened(model: AnyModel, bindings: Mapping[str, int]) -> Graph | ModelFile | Executed:
    """A model that needs not be read or lowered any more.

    Args:
        model: As predictors take it.
        bindings: Sizes of open dimensions by their names; architectures have none.

    Raises:
        MeasurementError: Not a model.
    """
    if isinstance(model, Architecture):
        return lower(model)
    return model if isinstance(model, Graph | Executed) else ModelFile.of(model, bindings)


class Adder:
    """Adds up what kernels contribute, remembering what each one does."""

    def __init__(self, columns: Callable[[Sequence[Kernel]], Floats]) -> None:
        """Takes what kernels contribute: [n, columns]."""
        self._columns = columns
        self._rows: dict[Kernel, Floats] = {}
        self.width = columns([]).shape[1]

    def sum_of(self, kernels: Sequence[Kernel]) -> Floats:
        """[columns]."""
        new = list(dict.fromkeys(kernel for kernel in kernels if kernel not in self._rows))
        if new:
            # Single precision hides how values of the same kernel round in different company.
            rows = self._columns(new).astype(np.float32).astype(np.float64)
            self._rows.update(zip(new, rows, strict=True))
        total = np.zeros(self.width)
        for kernel in kernels:
            total += self._rows[kernel]
        return total


class NetworkSums:
    """Sums over the kernels of models."""

    def __init__(self, layout: Layout, columns: Callable[[Sequence[Kernel]], Floats]) -> None:
        """Takes how a target lays tensors out, and what kernels contribute: [n, columns]."""
        self.layout = layout
        self._adder = Adder(columns)
        self._cells = CellSums(layout.block, layout.batch, self._adder.sum_of, self._adder.width)

    def of(self, models: Sequence[AnyModel], bindings: Mapping[str, int] = _NO_BINDINGS) -> Floats:
        """[n, columns]; `bindings` gives sizes to open dimensions of files."""
        sums = np.empty((len(models), self._adder.width))
        places = [i for i, model in enumerate(models) if isinstance(model, Architecture)]
        sums[places], filled = self._cells.of([m for m in models if isinstance(m, Architecture)])
        done = set(np.array(places, dtype=np.int64)[filled].tolist())
        for i, model in enumerate(models):
            if i not in done:
                sums[i] = self._adder.sum_of(kernels_of(model, self.layout, bindings))
        return sums
