"""What workers of a job do, on images of their own machine: they judge, tune and train networks.

A worker that has several GPUs trains under torchrun, which starts this module.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch

from mobinas.arch.architecture import Architecture
from mobinas.config import JobConfig, load_config
from mobinas.errors import DataError, MobinasError, TrainingError
from mobinas.metrics.evaluation import Value
from mobinas.pipeline.candidates import known_value
from mobinas.pipeline.cluster import DATA_FILE, ELASTIC_FILE, JOB_FILE, NETWORKS_FILE
from mobinas.pipeline.context import Contender
from mobinas.pipeline.front import judge_of
from mobinas.pipeline.group import dismiss, follow, group
from mobinas.pipeline.load import images_of, parts_of, space_of, task_of
from mobinas.pipeline.process_pool import PackedPart
from mobinas.pipeline.qualify import shortlist_candidates, tuned_value
from mobinas.pipeline.train import Trainings, failure_file, history_file, train_one, weights_file
from mobinas.places import place_of_data
from mobinas.progress import Progress, silent
from mobinas.search.artifacts import Files, attach_file, given_file
from mobinas.search.choice_space import Choices
from mobinas.supernet.elastic import ElasticSupernet
from mobinas.train.device import find_device
from mobinas.train.parallel import is_first
from mobinas.train.splits import Splits

Judge = Callable[[Architecture], Mapping[str, Value]]

DATA_ENV, PROCESSES_ENV = "MOBINAS_DATA", "MOBINAS_PROCESSES"
_SAYS = "mobinas: "


def own_splits(config: JobConfig) -> Splits:
    """The job's images as this machine has them, split as the job's.

    Raises:
        DataError: They cannot be read, or are others.
    """
    spec = place_of_data(os.environ.get(DATA_ENV) or config.data, Path.cwd())
    data = images_of(config, spec)
    if data.digest != json.loads(given_file(DATA_FILE).read_text(encoding="utf-8"))["digest"]:
        raise DataError(f"the images of '{spec}' here are not those of the job; name its images: --data")
    return parts_of(config, data)


class _Inherited:
    """Judges architectures by the weights of the job's elastic supernet."""

    def prepare(self) -> None:
        """Loads images and weights; the device is the best of this machine."""
        config = load_config(given_file(JOB_FILE))
        device = find_device(config.device)
        splits = own_splits(config)
        supernet = ElasticSupernet.load(given_file(ELASTIC_FILE), space_of(config, splits)).to(device)
        self._judge: Judge = judge_of(config, device, splits, supernet)

    def __call__(self, architecture: Architecture) -> Mapping[str, Value]:
        """What judges it on `select`."""
        return self._judge(architecture)


inherited = _Inherited()


class _Tuned:
    """Trains networks of the shortlist for a moment, from inherited weights."""

    def prepare(self) -> None:
        """Loads images."""
        config = load_config(given_file(JOB_FILE))
        shortlist = json.loads(given_file(NETWORKS_FILE).read_text(encoding="utf-8"))
        splits = own_splits(config)
        self._candidates = shortlist_candidates(
            given_file(ELASTIC_FILE).parent,
            config,
            space_of(config, splits),
            list(map(Architecture.from_json, shortlist)),
            splits,
        )

    def __call__(self, choices: Choices) -> dict[str, Value]:
        """What judges it on `select`."""
        name = str(choices["network"])
        return {self._candidates.metric: known_value(name, tuned_value(self._candidates, name, silent))}


tuned = _Tuned()


class _Trained:
    """Trains networks of the job, and attaches weights and history."""

    def prepare(self) -> None:
        """Loads images."""
        config = load_config(given_file(JOB_FILE))
        asked = json.loads(given_file(NETWORKS_FILE).read_text(encoding="utf-8"))
        contenders = map(Contender.from_json, asked["contenders"])
        splits = own_splits(config)
        self._trainings = Trainings(
            Path(),
            config,
            {contender.name: contender for contender in contenders},
            asked["epochs"],
            task_of(splits),
            PackedPart.of(splits.training),
            splits.normalisation,
        )

    def __call__(self, choices: Choices) -> dict[str, float]:
        """The seconds that it took."""
        name, began = str(choices["network"]), time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="mobinas-training-") as folder:
            if processes() > 1:
                _run_torchrun(torchrun(processes(), given_file(JOB_FILE).parent, name, Path(folder)))
            else:
                self.train(name, Path(folder), silent)
            for file in (weights_file(name), history_file(name), failure_file(name)):
                if (Path(folder) / file).exists():
                    attach_file(Path(folder) / file)
        return {"seconds": time.perf_counter() - began}

    def train(self, name: str, folder: Path, progress: Progress) -> None:
        """Trains one network and writes its files below a folder."""
        train_one(replace(self._trainings, directory=folder), name, progress)


trained = _Trained()


def processes() -> int:
    """How many train one network: one for each GPU, or what MOBINAS_PROCESSES says."""
    asked = os.environ.get(PROCESSES_ENV, "")
    return int(asked) if asked.isdecimal() else max(1, torch.cuda.device_count())


def torchrun(count: int, given: Path, name: str, folder: Path) -> list[str]:
    """The command that trains one network by several processes.

    Args:
        count: How many processes.
        given: Folder of the files that the job hands out.
        name: Of the network.
        folder: Where weights and history are written.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return [
        sys.executable,
        *launcher,
        *("-m", "mobinas.pipeline.cluster_work"),
        *(str(given), name, str(folder), str(os.getpid())),
    ]


def _run_torchrun(command: list[str]) -> None:
    path = os.pathsep.join(p or str(Path.cwd()) for p in sys.path)
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith(_SAYS)]
        problem = said[0].removeprefix(_SAYS) if said else done.stderr.strip()[-500:]
        raise TrainingError(f"under torchrun: {problem}")


def main(given: str, name: str, folder: str, worker: str) -> None:
    """One of the processes that torchrun starts."""
    launcher = os.getppid()

    def progress(_done: int, _total: int, _text: str) -> None:
        # What trains for a worker that was killed must not go on beside its successor.
        if os.getppid() != launcher or not _is_alive(int(worker)):
            os._exit(1)

    names = (JOB_FILE, DATA_FILE, NETWORKS_FILE)
    with Files(None, {n: Path(given) / n for n in names}).at_hand():
        config = load_config(given_file(JOB_FILE))
        try:
            with group(config.device):
                _take_part(name, Path(folder), progress)
        except MobinasError as error:  # of the group itself
            _fail(error)
    _end(0)


def _take_part(name: str, folder: Path, progress: Progress) -> None:
    try:
        if is_first():
            trained.prepare()
            trained.train(name, folder, progress)
            dismiss()
        else:
            follow()
    except MobinasError as error:
        _fail(error)  # before the others notice, who would speak first


def _fail(error: MobinasError) -> NoReturn:
    sys.stderr.write(f"{_SAYS}{error}\n")
    _end(1)


def _end(code: int) -> NoReturn:
    """Ends this process as it is: torch's threads may abort one that is being taken down (SIGABRT, seen)."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
