"""What optuna-dashboard must find in a stored study to mark infeasible trials.

Optuna 5 keeps each constraint under its name. Its dashboard (0.21) reads the unnamed list of earlier
versions, and calls a trial without one feasible. So stored trials have both, and those that a sampler sees
the names alone, or it would learn each constraint twice.
"""

import copy

from optuna.trial import FrozenTrial, Trial

_LIST = "constraints"


def show_constraints(trial: Trial) -> None:
    """Adds the list to a stored trial that is running."""
    if trial.constraints:
        trial.storage.set_trial_system_attr(trial._trial_id, _LIST, list(trial.constraints.values()))


def with_list(trial: FrozenTrial) -> FrozenTrial:
    """A copy to be stored."""
    shown = copy.copy(trial)
    if trial.constraints:
        shown.system_attrs = {**trial.system_attrs, _LIST: list(trial.constraints.values())}
    return shown


def without_list(trial: FrozenTrial) -> FrozenTrial:
    """A copy for samplers."""
    plain = copy.copy(trial)
    plain.system_attrs = {key: value for key, value in trial.system_attrs.items() if key != _LIST}
    return plain
