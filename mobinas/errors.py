"""Every error that MOBINAS raises on purpose.

MobinasError
├── ConfigError          a job file, key or value that cannot be meant
├── DataError            images, labels or splits that cannot be used
├── ArchitectureError    a genotype, architecture or space that breaks a rule
├── TargetError          an unknown target, or a provider this onnxruntime lacks
├── MeasurementError     a device that could not be measured, or samples that do not fit together
├── PredictorError       too little or unusable material for a latency predictor
├── SearchError          a study that cannot start or continue
│   ├── Infeasible       a candidate, or a whole job, outside its hard constraints
│   └── ArtifactError    a file of a search that cannot be stored, read or trusted
├── TrainingError        a network that cannot be trained, or no room for it
│   └── Diverged         a loss that is not finite, also at half the learning rate
├── ExportError          a file whose outputs differ, or a format that cannot hold the model
└── RunFolderError       a folder or file that is another's, in use, or torn
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobinas.metrics.result import SearchResult


class MobinasError(Exception):
    """Base of all errors of this project; its text is one line that names the fix."""


class ConfigError(MobinasError):
    """A job file, key or value that cannot be meant."""


class DataError(MobinasError):
    """Images, labels or splits that cannot be used."""


class ArchitectureError(MobinasError):
    """A genotype, architecture or search space that breaks a rule."""


class TargetError(MobinasError):
    """An unknown target, or a provider that the installed onnxruntime lacks."""


class MeasurementError(MobinasError):
    """A device that could not be measured, or measurements that do not fit together."""


class PredictorError(MobinasError):
    """Too little or unusable material for a latency predictor."""


class SearchError(MobinasError):
    """A study that cannot start or continue.

    Attributes:
        result: What the search had found before it ended so; None where it had not begun.
    """

    result: "SearchResult[Any] | None" = None


class Infeasible(SearchError):
    """A candidate, or a whole job, that cannot meet its hard constraints."""


class ArtifactError(SearchError):
    """A file of a search that cannot be stored, read or trusted."""


class TrainingError(MobinasError):
    """A network that cannot be trained, or no room for it."""


class Diverged(TrainingError):
    """A loss that is not finite, also at half the learning rate."""


class ExportError(MobinasError):
    """A file whose outputs differ from the network's, or a format that cannot hold it."""


class RunFolderError(MobinasError):
    """A run folder of another job, a file that is not ours, one in use by another process, or a torn one."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Names the nearest known word, for the end of an error message.

    Args:
        word: What was given.
        known: What would have been accepted.

    Returns:
        ``"; did you mean 'x'?"``, or ``"; choose from a, b"`` when nothing is near.
    """
    names = sorted(known)
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f"; did you mean '{folded[near[0]]}'?" if near else f"; choose from {', '.join(names)}"
