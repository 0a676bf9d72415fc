"""The search for good training settings: a study that is kept, can be stopped, and prunes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cube.errors import ModelError
from pipelines.recipe import TrainSettings
from pipelines.tuning_space import SPACE, Space

if TYPE_CHECKING:
    import optuna

    from cube.store import Cube

JOURNAL, BEST, TRIALS = "study.journal", "best.toml", "trials"
CUT_OFF, INSTEAD_OF = "cut_off", "instead_of"
OBJECTIVE = "val_macro_f1"
"""What is sought: macro F1 on the validation part, the same for every network, loss and penalty,
of the epoch whose weights are kept. The test part is never looked at."""

Progress = Callable[[int, int, str], None]


@dataclass(eq=False)
class Tuning:
    """What a search came to."""

    folder: Path
    study: optuna.Study
    settings: TrainSettings
    """The best ones."""
    value: float
    """Their macro F1 on the validation part."""
    importances: dict[str, float]
    """Share of the differences between trials that each setting explains (fANOVA; Hutter et al.
    2014); empty with too few trials to say."""
    files: list[Path] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Number of trials by state."""
        states = [trial.state.name.lower() for trial in self.study.trials]
        return {name: states.count(name) for name in dict.fromkeys(states)}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "folder": str(self.folder),
            "trials": self.counts(),
            "value": self.value,
            "best": self.study.best_params,
            "importances": self.importances,
            "files": [str(file) for file in self.files],
        }


def tune(
    cube: Cube,
    folder: str | Path,
    settings: TrainSettings | None = None,
    *,
    trials: int = 20,
    space: Space = SPACE,
    prune: bool = True,
    on_step: Progress | None = None,
) -> Tuning:
    """Search for the settings with the best macro F1 on the validation part.

    Tree-structured Parzen estimator (Bergstra et al. 2011); trials that fall behind the median
    of the others at the same epoch are pruned. Stopped and started again it goes on: finished
    trials are kept, one that was killed goes on from its last whole epoch. Only the best trial's
    model is kept.

    Parameters
    ----------
    cube
        With a ``labels`` group; all trials read one snapshot.
    folder
        Of the study, its journal, tables, page and ``best.toml``.
    settings
        What is not varied; of either network.
    trials
        How many there are to be in all, those of earlier runs included.
    space
        What is varied.
    prune
        Break off trials that do badly.
    on_step
        Told of progress.

    Raises
    ------
    ModelError
        If Optuna is not installed, the folder holds a search with other settings, a varied
        setting is not known, or no trial came to an end.
    SelectionError, PlanError
        See `pipelines.train.train`.
    """
    if find_spec("optuna") is None:
        raise ModelError("tuning needs Optuna; install thermocube[tune]")
    from pipelines.tuning_page import importances, write_tuning

    search = _Search(cube, Path(folder), settings or TrainSettings(), space, on_step, prune)
    study = search.run(trials)
    best = search.best(study)
    tuning = Tuning(
        search.folder, study, search.settings_of(best.params), float(best.value or 0.0),
        importances(study),
    )  # fmt: skip
    tuning.files = write_tuning(tuning)
    return tuning


class _Search:
    def __init__(
        self,
        cube: Cube,
        folder: Path,
        base: TrainSettings,
        space: Space,
        on_step: Progress | None,
        prune: bool,
    ) -> None:
        self.folder, self._base, self._space = folder, base, dict(space)
        self._on_step = on_step or (lambda done, total, line: None)
        self._prune, self._cube, self._total = prune, cube, 0
        for name, vary in self._space.items():
            for value in vary.choices or (vary.low, vary.high):
                self.settings_of({name: value})  # So that a wrong name fails before any trial.

    def run(self, trials: int) -> optuna.Study:
        """Do the trials that are still to be done."""
        study = self._open()
        self._total = trials
        self._revive(study)
        done = sum(trial.state.is_finished() for trial in study.trials) - self._revived(study)
        if done < trials:
            study.optimize(self._objective, n_trials=trials - done, catch=(ModelError,))
        return study

    def _open(self) -> optuna.Study:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.folder.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(self.folder / JOURNAL)))
        study = optuna.create_study(
            storage=storage,
            study_name="thermocube",
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=self._base.seed),
            pruner=_pruner(self._prune),
        )
        wanted = self._key()
        known = study.user_attrs.get("key")
        if known is None:
            study.set_user_attr("key", wanted)
            study.set_user_attr("snapshot", self._cube.snapshot)
        elif known != wanted:
            raise ModelError(
                f"{self.folder} holds a search with other settings, another space or of another "
                "region; give another folder"
            )
        self._cube = self._cube.at(study.user_attrs["snapshot"])
        return study

    def _key(self) -> str:
        depends = {
            "region": self._cube.name,
            "settings": self._base.model_dump(mode="json"),
            "space": {name: vary.model_dump(mode="json") for name, vary in self._space.items()},
        }
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()

    def _revive(self, study: optuna.Study) -> None:
        """Queue what a killed or interrupted process was at once more."""
        from optuna.trial import TrialState

        again = {trial.user_attrs.get(INSTEAD_OF) for trial in study.trials}
        for trial in study.trials:
            if trial.state is TrialState.RUNNING:
                study.tell(trial.number, state=TrialState.FAIL)
            elif CUT_OFF not in trial.user_attrs or trial.number in again:
                continue
            study.enqueue_trial(trial.params, user_attrs={INSTEAD_OF: trial.number})

    def _revived(self, study: optuna.Study) -> int:
        """Trials that another one was queued for: they do not count."""
        return sum(INSTEAD_OF in trial.user_attrs for trial in study.trials)

    def settings_of(self, params: Mapping[str, Any]) -> TrainSettings:
        """The base with the varied settings laid over it.

        Raises
        ------
        ModelError
            If a setting is not known, or does not go with the others.
        """
        tables: dict[str, Any] = self._base.model_dump()
        for name, value in params.items():
            *parents, last = name.split(".")
            table = tables
            for parent in parents:
                table = table[parent] = dict(table.get(parent) or {})
            table[last] = value
        try:
            return TrainSettings.model_validate(tables)
        except ValidationError as error:
            from pipelines.experiment import explained

            raise ModelError(f"the settings of a trial:\n{explained(error)}") from None

    def _objective(self, trial: optuna.Trial) -> float:
        import optuna

        from pipelines.console import epoch_line
        from pipelines.model_folder import ModelFolder
        from pipelines.train import train

        params = {name: vary.draw(trial, name) for name, vary in self._space.items()}
        settings = self.settings_of(params)
        place = self._place(settings)

        def told(epoch: int, logs: dict[str, float]) -> None:
            line = f"trial {trial.number + 1}: epoch {epoch}, {epoch_line(logs)}"
            self._on_step(trial.number, self._total, line)
            trial.report(logs[OBJECTIVE], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        if not place.exists():
            try:
                train(self._cube, place, settings, resume=True, on_epoch=told)
            except optuna.TrialPruned:
                self._forget(place)
                raise
            except KeyboardInterrupt:
                trial.set_user_attr(CUT_OFF, True)
                raise
        value = float(ModelFolder.load(place).metrics()["best"][OBJECTIVE])
        self._keep_best(trial, place, value)
        return value

    def _place(self, settings: TrainSettings) -> Path:
        digest = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()
        return self.folder / TRIALS / digest[:16]

    def _keep_best(self, trial: optuna.Trial, place: Path, value: float) -> None:
        """Drop the model that is not the best any more, be it the new one."""
        from optuna.trial import TrialState

        others = trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        best = max(others, key=lambda other: other.value or 0.0, default=None)
        if best is None:
            return
        rival = self._place(self.settings_of(best.params))
        if rival != place:
            self._forget(place if (best.value or 0.0) >= value else rival)

    def _forget(self, place: Path) -> None:
        from pipelines.checkpoint import Checkpoint

        Checkpoint.beside(place, "").clear()
        shutil.rmtree(place, ignore_errors=True)

    def best(self, study: optuna.Study) -> optuna.trial.FrozenTrial:
        """The best trial.

        Raises
        ------
        ModelError
            If none came to an end.
        """
        from optuna.trial import TrialState

        if not study.get_trials(states=(TrialState.COMPLETE,)):
            raise ModelError(
                f"no trial of {self.folder} came to an end: all were pruned, or their loss was no "
                "number any more; allow more trials, or lower learning rates"
            )
        return study.best_trial


def _pruner(prune: bool) -> optuna.pruners.BasePruner:
    import optuna

    if not prune:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=3)
