"""MOBINAS: from images and a device to verified ONNX models on the Pareto front.

Everything public can be imported from here; nothing is loaded before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobinas.arch.architecture import Architecture, CellBody, Task
    from mobinas.arch.genotype import Cell, Edge, Genotype, published
    from mobinas.arch.space import SearchSpace
    from mobinas.arch.stage_choices import StageChoices
    from mobinas.arch.stage_presets import stage_preset
    from mobinas.arch.stage_space import StageSpace
    from mobinas.arch.stages import Stage, StageBody
    from mobinas.config import JobConfig, load_config
    from mobinas.errors import Infeasible, MobinasError
    from mobinas.metrics.objective import Objective
    from mobinas.pipeline.cluster import Cluster
    from mobinas.pipeline.family import search_family
    from mobinas.pipeline.front_file import Front, FrontRow, load_front
    from mobinas.pipeline.job import run
    from mobinas.search.artifacts import Artifacts, attach_file, given_file
    from mobinas.search.choice_space import ChoiceSpace
    from mobinas.search.rungs import Rung, climb
    from mobinas.search.study import pareto_search
    from mobinas.targets.target import Target
    from predictors.measure import measure
    from predictors.models.adapted import AdaptedPredictor
    from predictors.models.latency import LatencyPredictor

__version__ = "0.1.0"

_HOME = {
    "AdaptedPredictor": "predictors.models.adapted",
    "Architecture": "mobinas.arch.architecture",
    "Artifacts": "mobinas.search.artifacts",
    "Cell": "mobinas.arch.genotype",
    "CellBody": "mobinas.arch.architecture",
    "ChoiceSpace": "mobinas.search.choice_space",
    "Cluster": "mobinas.pipeline.cluster",
    "Edge": "mobinas.arch.genotype",
    "Front": "mobinas.pipeline.front_file",
    "FrontRow": "mobinas.pipeline.front_file",
    "Genotype": "mobinas.arch.genotype",
    "Infeasible": "mobinas.errors",
    "JobConfig": "mobinas.config",
    "LatencyPredictor": "predictors.models.latency",
    "MobinasError": "mobinas.errors",
    "Objective": "mobinas.metrics.objective",
    "Rung": "mobinas.search.rungs",
    "SearchSpace": "mobinas.arch.space",
    "Stage": "mobinas.arch.stages",
    "StageBody": "mobinas.arch.stages",
    "StageChoices": "mobinas.arch.stage_choices",
    "StageSpace": "mobinas.arch.stage_space",
    "Target": "mobinas.targets.target",
    "Task": "mobinas.arch.architecture",
    "attach_file": "mobinas.search.artifacts",
    "climb": "mobinas.search.rungs",
    "given_file": "mobinas.search.artifacts",
    "load_config": "mobinas.config",
    "load_front": "mobinas.pipeline.front_file",
    "measure": "predictors.measure",
    "pareto_search": "mobinas.search.study",
    "published": "mobinas.arch.genotype",
    "run": "mobinas.pipeline.job",
    "search_family": "mobinas.pipeline.family",
    "stage_preset": "mobinas.arch.stage_presets",
}

__all__ = [
    "AdaptedPredictor",
    "Architecture",
    "Artifacts",
    "Cell",
    "CellBody",
    "ChoiceSpace",
    "Cluster",
    "Edge",
    "Front",
    "FrontRow",
    "Genotype",
    "Infeasible",
    "JobConfig",
    "LatencyPredictor",
    "MobinasError",
    "Objective",
    "Rung",
    "SearchSpace",
    "Stage",
    "StageBody",
    "StageChoices",
    "StageSpace",
    "Target",
    "Task",
    "attach_file",
    "climb",
    "given_file",
    "load_config",
    "load_front",
    "measure",
    "pareto_search",
    "published",
    "run",
    "search_family",
    "stage_preset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mobinas' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
