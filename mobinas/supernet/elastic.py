"""The elastic supernet: one set of weights that every architecture of a space takes its slice of.

Weights are held at the largest width under the names of the lowering, which are the same at every depth and
resolution. A narrower network takes the leading channels of each segment of its inputs: of each source
node of a concatenation, not of the whole.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mobinas.arch.architecture import Architecture, CellBody
from mobinas.arch.genotype import N_INPUTS, Cell, Edge, Genotype
from mobinas.arch.space import SearchSpace
from mobinas.errors import ArchitectureError, TrainingError
from mobinas.graph.layers import BatchNorm2d, Conv2d, Graph, Linear, Node
from mobinas.graph.lowering import lower
from mobinas.memory import reused_memory
from mobinas.metrics.confusion import Confusion
from mobinas.nets.batch_norm import recalibrate
from mobinas.nets.module import GraphModule
from mobinas.train.checkpoint import load_state, save_state
from mobinas.train.evaluate import confusion_of
from mobinas.train.splits import Normalisation, Part

_CALIBRATION_IMAGES = 256
_CALIBRATION_BATCH = 128
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class ElasticSupernet:
    """Shared weights for all architectures of a space.

    Attributes:
        space: The architectures.
        parameters: Weights at the largest width, by node name and parameter, as ``<node>.weight``.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        """Makes all weights: every depth, every op on every edge.

        Args:
            space: The architectures.
            seed: Draws the initial weights.
        """
        self.space = space
        self.parameters: dict[str, nn.Parameter] = {}
        for depth in sorted(space.depths, reverse=True):
            module = GraphModule(lower(covering_architecture(space, depth)), seed=seed)
            for name, parameter in module.layers.named_parameters():
                self.parameters.setdefault(name, parameter)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(iter(self.parameters.values())).device

    def to(self, device: torch.device) -> "ElasticSupernet":
        """Puts the weights on a device, as new parameters where they were elsewhere; returns itself."""
        if device != self.device:
            for name, parameter in self.parameters.items():
                self.parameters[name] = nn.Parameter(parameter.detach().to(device))
        return self

    def slices(self, architecture: Architecture) -> dict[str, Tensor]:
        """The weights of one architecture, as views or copies that pass gradients on to the shared ones.

        Args:
            architecture: Any of the space, or one of the same stem, ops and nodes that is not wider.

        Returns:
            Tensors named as in ``GraphModule(lower(architecture)).layers``.

        Raises:
            ArchitectureError: Some weights are not held here.
        """
        narrow = lower(architecture)
        body = replace(architecture.cells, width=max(self.space.widths))
        full = lower(replace(architecture, body=body))
        found: dict[str, Tensor] = {}
        for small, large in zip(narrow.nodes, full.nodes, strict=True):
            if isinstance(small.layer, Conv2d | BatchNorm2d | Linear):
                self._slice(found, (narrow, small), (full, large))
        return found

    def _slice(self, found: dict[str, Tensor], narrow: tuple[Graph, Node], full: tuple[Graph, Node]) -> None:
        name = narrow[1].name
        ends = ("weight",) if isinstance(narrow[1].layer, Conv2d) else ("weight", "bias")
        for end in ends:
            key = f"{name}.{end}"
            if key not in self.parameters:
                raise ArchitectureError(f"the supernet holds no weights '{key}'; its space lacks that choice")
            tensor = leading(self.parameters[key], 0, full[1].segments, narrow[1].segments)
            layer = narrow[1].layer
            mixes = isinstance(layer, Linear) or (isinstance(layer, Conv2d) and layer.groups == 1)
            if mixes and end == "weight":
                source, wide = narrow[0].nodes[narrow[1].inputs[0]], full[0].nodes[full[1].inputs[0]]
                tensor = leading(tensor, 1, wide.segments, source.segments)
            found[key] = tensor

    def path(self, architecture: Architecture, images: Tensor) -> Tensor:
        """Logits of one architecture in training: statistics of the batch, gradients to the shared weights.

        Args:
            architecture: See `slices`.
            images: Normalised, [batch, channels, resolution, resolution], where the weights lie.

        Returns:
            [batch, classes].
        """
        module = _without_weights(architecture)
        for one in module.modules():
            if isinstance(one, nn.BatchNorm2d):
                one.track_running_stats = False
                for buffer in _BUFFERS:
                    setattr(one, buffer, None)
        weights = {f"layers.{name}": tensor for name, tensor in self.slices(architecture).items()}
        logits: Tensor = torch.func.functional_call(module.train(), weights, (images,), strict=True)
        return logits

    def subnet(self, architecture: Architecture) -> GraphModule:
        """A module of its own with copies of the architecture's weights; statistics not calibrated."""
        module = _without_weights(architecture)
        state = {f"layers.{k}": v.detach().clone() for k, v in self.slices(architecture).items()}
        module.load_state_dict(state, strict=False)
        for one in module.modules():
            if isinstance(one, nn.BatchNorm2d):
                one.reset_running_stats()
        return module.eval().to(self.device)

    def judge(
        self,
        architecture: Architecture,
        calibration: Part,
        select: Part,
        *,
        normalisation: Normalisation,
        calibration_images: int = _CALIBRATION_IMAGES,
    ) -> Confusion:
        """What an architecture answers with inherited weights.

        Args:
            architecture: See `slices`.
            calibration: Training images; a fixed random choice of them recalibrates batch normalisation.
            select: What is answered.
            normalisation: What is done to the pixels.
            calibration_images: How many of them.

        Returns:
            The same at every call.
        """
        resolution = architecture.resolution
        order = torch.randperm(len(calibration), generator=torch.Generator().manual_seed(0))
        chosen = order[:calibration_images]
        batches = chosen.tensor_split(max(1, round(len(chosen) / _CALIBRATION_BATCH)))
        with reused_memory():
            module = self.subnet(architecture)
            recalibrate(
                module,
                (
                    normalisation(images).contiguous(memory_format=torch.channels_last)
                    for images in (calibration.batch(b, resolution).to(self.device) for b in batches)
                ),
            )
            return confusion_of(module, select, resolution=resolution, normalisation=normalisation)

    def state(self) -> dict[str, Tensor]:
        """The weights by name; not copies."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Takes over the weights of such a state.

        Raises:
            TrainingError: The state is of another space; the text names a difference.
        """
        odd = sorted(set(state) ^ set(self.parameters))
        odd += [n for n, p in self.parameters.items() if n in state and state[n].shape != p.shape]
        if odd:
            raise TrainingError(f"weights of another space: they differ in '{odd[0]}'")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state[name])

    def save(self, path: Path) -> None:
        """Writes the weights in one step."""
        save_state(path, {"space": str(self.space)}, self.state())

    @classmethod
    def load(cls, path: Path, space: SearchSpace) -> "ElasticSupernet":
        """Reads what `save` wrote.

        Raises:
            TrainingError: The file is missing or torn, or of another space.
        """
        state = load_state(path, {"space": str(space)})
        if state is None:
            raise TrainingError(f"no whole supernet weights in {path}; train the supernet again")
        supernet = cls(space, 0)
        supernet.restore(state)
        return supernet


def covering_architecture(space: SearchSpace, depth: int) -> Architecture:
    """An architecture at the largest width whose cells hold every op on every edge."""
    numbers = tuple(range(N_INPUTS, N_INPUTS + space.nodes))
    cell = Cell(tuple(tuple(Edge(s, op) for s in range(n) for op in space.ops()) for n in numbers), numbers)
    body = CellBody(Genotype(cell, cell), depth, max(space.widths), space.stem)
    return Architecture(body, max(space.resolutions), space.task)


def leading(tensor: Tensor, axis: int, full: tuple[int, ...], narrow: tuple[int, ...]) -> Tensor:
    """The leading entries of each segment along an axis.

    Args:
        tensor: Its axis has ``sum(full)`` entries.
        axis: Which one.
        full: Sizes of the segments.
        narrow: How many leading entries of each to take.
    """
    if full == narrow:
        return tensor
    if len(full) == 1:
        return tensor.narrow(axis, 0, narrow[0])
    pieces, start = [], 0
    for size, taken in zip(full, narrow, strict=True):
        pieces.append(tensor.narrow(axis, start, taken))
        start += size
    return torch.cat(pieces, dim=axis)


def _without_weights(architecture: Architecture) -> GraphModule:
    # The modules draw weights in their constructors; the caller's generator must not notice.
    with torch.random.fork_rng(devices=[]):
        return GraphModule(lower(architecture), initialise=False)
