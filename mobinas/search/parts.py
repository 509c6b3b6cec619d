"""A job of several searches, one after the other, that workers join once.

The job has a study of its own, which holds no trials; its parts are studies named ``<job>/<part>``. A worker
that joined the job works on the part that is running, waits between parts, and ends with the job.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna

import mobinas
from mobinas.errors import SearchError
from mobinas.search.journal import IDENTITY_KEY, check_alike, quiet_optuna
from mobinas.search.queue import STATE_KEY
from mobinas.search.shared import WORK_KEY, Shared, led, opened

_POLL_S = 0.5


@contextmanager
def announced(
    storage: str | Path, job: str, identity: Mapping[str, Any], artifacts: str | None = None
) -> Iterator[None]:
    """Tells workers that a job runs, for the duration of the context.

    Args:
        storage: URL or path.
        job: Its name.
        identity: Plain data that must be the same once a part of the job has begun.
        artifacts: Where its files lie; who joins tries it at once, not when the first part begins.

    Raises:
        SearchError: The storage cannot be used, another process runs this job, or another job or a search
            has its name.
    """
    problem: Exception | None = None
    with opened(storage, job) as shared, led(shared, job):
        with quiet_optuna():
            known = optuna.get_all_study_names(shared.storage)
            study = optuna.create_study(storage=shared.storage, study_name=job, load_if_exists=True)
            if job in known and "parts" not in study.user_attrs.get(WORK_KEY, {"parts": True}):
                raise SearchError(f"study '{job}' in {shared.where} is a single search; take another --study")
            if any(name.startswith(f"{job}/") for name in known) and IDENTITY_KEY in study.user_attrs:
                check_alike(f"--study {job} in {shared.where}", study.user_attrs[IDENTITY_KEY], identity)
            study.set_user_attr(IDENTITY_KEY, dict(identity))
            for name in _running_parts(shared, job):  # of a job that was killed
                optuna.load_study(study_name=name, storage=shared.storage).set_user_attr(STATE_KEY, "ended")
            place = {} if artifacts is None else {"artifacts": artifacts}
            study.set_user_attr(WORK_KEY, {"version": mobinas.__version__, "parts": True, **place})
            study.set_user_attr(STATE_KEY, "running")
        try:
            yield
        except Exception as error:
            problem = error
        finally:
            with quiet_optuna(), contextlib.suppress(*shared.failures):
                study.set_user_attr(STATE_KEY, "ended")
    if problem is not None:  # what the job raises has nothing to do with the storage
        raise problem


def work_on_parts(
    shared: Shared, study: optuna.Study, work_on: Callable[[str], int], alive: Callable[[bool], bool]
) -> int:
    """Works on each part while it runs, until the job ends.

    Args:
        shared: The storage.
        study: The job's.
        work_on: Joins the search of this name; returns the number of evaluations when it has ended.
        alive: Told whether there was work just now; says whether to go on.

    Returns:
        The number of evaluations.
    """
    done, before = 0, -1
    while alive(done > before):
        before = done
        try:
            for name in _running_parts(shared, study.study_name):
                done += work_on(name)
            if study.user_attrs.get(STATE_KEY) == "ended":
                break
        except shared.failures:
            pass  # a server that is being restarted; connections wait for it
        time.sleep(_POLL_S)
    return done


def _running_parts(shared: Shared, job: str) -> list[str]:
    found = {s.study_name: s.user_attrs for s in shared.storage.get_all_studies()}
    return [n for n, attrs in found.items() if n.startswith(f"{job}/") and attrs.get(STATE_KEY) == "running"]
