"""Where workers find a job: many machines search its front and train its networks.

Each of these steps is a search in the storage and a part of the job (`mobinas.search.parts`). Workers
import what they do from `mobinas.pipeline.cluster_work`; what they need, except images, comes from the
artifact store.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobinas.places import portable
from mobinas.search.artifacts import QUICK, Artifacts
from mobinas.search.parts import announced
from mobinas.search.shared import check_storage

if TYPE_CHECKING:
    from mobinas.config import JobConfig
    from mobinas.metrics.result import SearchResult

# Names of files that workers are handed.
JOB_FILE, DATA_FILE, ELASTIC_FILE, NETWORKS_FILE = "job.toml", "data.json", "elastic.pt", "networks.json"
INHERITED, TRAINED = "mobinas.pipeline.cluster_work:inherited", "mobinas.pipeline.cluster_work:trained"
TUNED = "mobinas.pipeline.cluster_work:tuned"
# How fast a job runs, and sections whose parts tell themselves what they were begun with.
_MAY_CHANGE = {"device", "threads", "search", "train"}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where workers find a job.

    Attributes:
        storage: A ``postgresql://`` URL, or the path of a journal file for processes of this machine.
        artifacts: A folder that all machines reach, or ``s3://bucket/prefix``.
        study: The job's name in the storage.
        workers: Processes of this machine that work, too.

    Raises:
        SearchError: The storage is neither a database's URL nor a file that a search may use.
    """

    storage: str
    artifacts: str
    study: str = "mobinas"
    workers: int = 1

    def __post_init__(self) -> None:
        check_storage(self.storage, self.study)

    def announced(self, config: "JobConfig") -> AbstractContextManager[None]:
        """Workers may join this job inside the context.

        Raises:
            ArtifactError: The place for files cannot be written and read.
        """
        place = Artifacts(self.artifacts, make=True, attempts=QUICK)
        place.check()
        return announced(self.storage, self.study, _settings(config), place.where)

    def part(self, name: str) -> dict[str, Any]:
        """The arguments of `pareto_search` for a part of the job."""
        return {
            "storage": self.storage,
            "artifacts": self.artifacts,
            "study": f"{self.study}/{name}",
            "workers": self.workers,
        }


def _settings(config: "JobConfig") -> dict[str, Any]:
    """What cannot change once workers have begun, by dotted keys."""
    found: dict[str, Any] = {}
    plain = config.model_dump(mode="json", exclude=_MAY_CHANGE)
    plain |= {key: portable(plain[key], Path.cwd()) for key in ("data", "target")}
    for key, value in plain.items():
        found |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return found


def check_complete(found: "SearchResult[Any]") -> None:
    """Ends the job where Ctrl-C ended a search, which gives what there is.

    Raises:
        KeyboardInterrupt: The search is not complete.
    """
    if found.interrupted:
        raise KeyboardInterrupt
