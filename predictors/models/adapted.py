"""A predictor for a device of which a few latencies are known."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobinas.arch.architecture import Architecture
from mobinas.errors import PredictorError, TargetError
from mobinas.files import write_together
from mobinas.targets.target import Target
from predictors.kernels import KINDS
from predictors.models.latency import LatencyPredictor, Prediction
from predictors.models.transfer import Transfer, Views
from predictors.networks import AnyModel, Executed, opened
from predictors.steps import Program
from predictors.structure import program_in, structure_of

Floats = npt.NDArray[np.float64]

_SOURCE, _JSON, _ARRAYS = "source", "adapted.json", "adapted.npz"
_NO_BINDINGS: Mapping[str, int] = {}


@dataclass(frozen=True)
class AdaptedPredictor:
    """Predicts latencies on another device than the one that was measured thoroughly.

    Attributes:
        target: The other device.
        source: The predictor of the device measured.
        transfer: From there to here.
    """

    target: Target
    source: LatencyPredictor
    transfer: Transfer

    @classmethod
    def of(
        cls,
        source: LatencyPredictor,
        models: Sequence[AnyModel],
        latencies_s: npt.ArrayLike,
        target: Target,
    ) -> "AdaptedPredictor":
        """See `LatencyPredictor.adapt`."""
        return cls(target, source, Transfer.fit(views_of(source, models)[0], latencies_s))

    def predict(
        self, models: Sequence[AnyModel], *, bindings: Mapping[str, int] = _NO_BINDINGS
    ) -> Prediction:
        """Predicts each model's latency on the other device; some hundred models a second.

        Args:
            models: Files, models in memory, or architectures.
            bindings: Sizes of the files' open dimensions beside the batch, by their names.

        Raises:
            PredictorError: Open sizes that are not bound.
            MeasurementError: A file that is unreadable, or that this machine's runtime cannot execute.
        """
        views, there = views_of(self.source, models, bindings=bindings)
        mean_s, std_s = self.transfer.predict(views)
        return Prediction(mean_s, std_s, there.in_distribution)

    def save(self, folder: Path) -> None:
        """Writes JSON and plain arrays into a folder.

        Raises:
            RunFolderError: The folder cannot be written, or holds other files of these names.
        """
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **self.transfer.to_arrays())
        own: dict[Path, bytes | str] = {
            folder / _ARRAYS: buffer.getvalue(),
            folder / _JSON: json.dumps(self.target.to_json()),
        }
        write_together({**self.source.files(folder / _SOURCE), **own})

    @classmethod
    def load(cls, folder: Path) -> "AdaptedPredictor":
        """Reads what `save` wrote.

        Raises:
            PredictorError: Files are missing, torn, or of another version.
        """
        try:
            target = Target.from_json(json.loads((folder / _JSON).read_text(encoding="utf-8")))
            with np.load(io.BytesIO((folder / _ARRAYS).read_bytes()), allow_pickle=False) as stored:
                transfer = Transfer.from_arrays({name: stored[name] for name in stored.files})
        except OSError as error:
            raise PredictorError(f"cannot read an adapted predictor: {error}; adapt it again") from error
        except (ValueError, TargetError, EOFError) as error:
            raise PredictorError(
                f"the adapted predictor in {folder} is torn ({error}); adapt it again"
            ) from error
        return cls(target, LatencyPredictor.load(folder / _SOURCE), transfer)


def views_of(
    source: LatencyPredictor, models: Sequence[AnyModel], *, bindings: Mapping[str, int] = _NO_BINDINGS
) -> tuple[Views, Prediction]:
    """What is known of models before the other device is asked; each is read and run once.

    Returns:
        Views of the models, and what the source predicts of them.
    """
    executed: list[Architecture | Executed] = []
    programs: list[Program] = []
    times_s: list[Floats] = []
    for model in models:
        file = opened(model, bindings)
        if isinstance(file, Executed):
            raise PredictorError("the wiring of an executed model is not known; give the model itself")
        seen = source.executed(file)
        times_s.append(source.times_by_kind_s([seen])[0])
        programs.append(program_in(file))
        executed.append(model if isinstance(model, Architecture) else seen)
    there = source.predict(executed)
    by_kind = np.array(times_s).reshape(len(models), len(KINDS))
    return Views(there.mean_s, by_kind, structure_of(programs)), there
