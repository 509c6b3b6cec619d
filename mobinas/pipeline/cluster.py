"""Where workers find a job: many machines search its front and train its networks.

Each of these steps is a search in the storage and a part of the job (`mobinas.search.parts`). Workers
import what they do from `mobinas.pipeline.remote`; what they need, except images, comes from the artifact
store.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobinas.search.artifacts import Artifacts
from mobinas.search.parts import announced

if TYPE_CHECKING:
    from mobinas.metrics.result import SearchResult

# Names of files that workers are handed.
JOB_FILE, DATA_FILE, ELASTIC_FILE, NETWORKS_FILE = "job.toml", "data.json", "elastic.pt", "networks.json"
INHERITED, TRAINED = "mobinas.pipeline.remote:inherited", "mobinas.pipeline.remote:trained"
TUNED = "mobinas.pipeline.remote:tuned"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where workers find a job.

    Attributes:
        storage: A ``postgresql://`` URL, or the path of a journal file for processes of this machine.
        artifacts: A folder that all machines reach, or ``s3://bucket/prefix``.
        study: The job's name in the storage.
        workers: Processes of this machine that work, too.
    """

    storage: str
    artifacts: str
    study: str = "mobinas"
    workers: int = 1

    def announced(self) -> AbstractContextManager[None]:
        """Workers may join inside the context.

        Raises:
            ArtifactError: The place for files cannot be written and read.
        """
        Artifacts(self.artifacts, make=True).check()
        return announced(self.storage, self.study)

    def part(self, name: str) -> dict[str, Any]:
        """The arguments of `pareto_search` for a part of the job."""
        return {
            "storage": self.storage,
            "artifacts": self.artifacts,
            "study": f"{self.study}/{name}",
            "workers": self.workers,
        }


def check_complete(found: "SearchResult[Any]") -> None:
    """Ends the job where Ctrl-C ended a search, which gives what there is.

    Raises:
        KeyboardInterrupt: The search is not complete.
    """
    if found.interrupted:
        raise KeyboardInterrupt
