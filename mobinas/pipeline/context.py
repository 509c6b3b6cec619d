"""What every step of the job is given, and the networks that it trains."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobinas.arch.architecture import Architecture, Task
from mobinas.config import JobConfig
from mobinas.pipeline.cluster import Cluster
from mobinas.pipeline.run_folder import RunFolder
from mobinas.progress import Reporter
from mobinas.targets.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class Job:
    """A running job.

    Attributes:
        config: As resolved.
        folder: Where its artefacts are; locked.
        target: The device that is searched for.
        device: Where PyTorch trains.
        reporter: Told what goes on.
        cluster: Where workers of other machines find it, if anywhere.
    """

    config: JobConfig
    folder: RunFolder
    target: Target
    device: "torch.device"
    reporter: Reporter
    cluster: Cluster | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """A network that is trained, exported and measured: a finalist of a search, or a baseline.

    Attributes:
        name: Its folder's name.
        digest: Of the architecture; a baseline's is its name.
        resolution: Height and width of its input in pixels.
        architecture: Of a finalist of the main job.
        own: Builds a finalist of a user's own family.
    """

    name: str
    digest: str
    resolution: int
    architecture: Architecture | None = None
    own: "Callable[[], nn.Module] | None" = None

    @classmethod
    def finalist(cls, architecture: Architecture) -> "Contender":
        """A network that the search proposed."""
        return cls(architecture.name, architecture.digest, architecture.resolution, architecture)

    @property
    def is_baseline(self) -> bool:
        """Whether it was designed by hand."""
        return self.architecture is None and self.own is None

    @property
    def directory(self) -> str:
        """Where its exported files are, relative to the run folder."""
        return f"{'baselines' if self.is_baseline else 'models'}/{self.name}"

    @property
    def onnx(self) -> str:
        """Its model file, relative to the run folder."""
        return f"{self.directory}/model.onnx"

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back to an equal contender."""
        architecture = self.architecture.to_json() if self.architecture else None
        return {
            "name": self.name,
            "digest": self.digest,
            "resolution": self.resolution,
            "architecture": architecture,
        }

    @classmethod
    def from_json(cls, data: Any) -> "Contender":
        """Reads what `to_json` wrote."""
        found = data["architecture"]
        architecture = None if found is None else Architecture.from_json(found)
        return cls(data["name"], data["digest"], data["resolution"], architecture)

    def build(self, task: Task, seed: int) -> "nn.Module":
        """The network with fresh weights drawn from the seed."""
        from mobinas.graph.lowering import lower
        from mobinas.nets.baselines import make_baseline
        from mobinas.nets.module import GraphModule

        if self.own is not None:
            return self.own()
        if self.architecture is not None:
            return GraphModule(lower(self.architecture), seed=seed)
        return make_baseline(self.name, task, seed=seed)
