"""What a search leaves behind: the best settings, its trials, what mattered, and a page."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines import figures
from pipelines.page import fill

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

    from pipelines.tuning import Tuning

ENOUGH = 4
"""Finished trials below which nothing is said of what mattered."""


def importances(study: optuna.Study) -> dict[str, float]:
    """How much each varied setting mattered; empty with fewer than `ENOUGH` finished trials."""
    import optuna
    from optuna.trial import TrialState

    values = [trial.value for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    if len(values) < ENOUGH or len(set(values)) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(value) for name, value in found.items()}


def write_tuning(tuning: Tuning) -> list[Path]:
    """Write ``best.toml``, ``trials.csv``, ``importance.csv`` and ``page.html``."""
    import tomli_w

    from pipelines.tuning import BEST

    rows = _rows(tuning.study)
    best = tuning.settings.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    texts = {
        BEST: tomli_w.dumps(best),
        "trials.csv": _csv(rows),
        "importance.csv": _csv([["setting", "importance"], *map(list, tuning.importances.items())]),
        "page.html": _page(tuning, rows),
    }
    for name, text in texts.items():
        (tuning.folder / name).write_text(text, encoding="utf-8")
    return [tuning.folder / name for name in texts]


def _rows(study: optuna.Study) -> list[list[object]]:
    names = list(dict.fromkeys(name for trial in study.trials for name in trial.params))
    rows: list[list[object]] = [["trial", "state", "epochs", "macro F1", *names]]
    for trial in study.trials:
        value = "" if trial.value is None else round(trial.value, 4)
        chosen = [trial.params.get(name, "") for name in names]
        state, epochs = trial.state.name.lower(), len(trial.intermediate_values)
        rows.append([trial.number + 1, state, epochs, value, *map(_short, chosen)])
    return rows


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def _csv(rows: list[list[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _page(tuning: Tuning, rows: list[list[object]]) -> str:
    pictures = [("Trials one after the other", figures.svg(history(tuning.study)))]
    if tuning.importances:
        title = "What mattered: share of the differences between trials"
        pictures.append((title, figures.svg(importance(tuning.importances))))
    return fill(
        "tuning.html.jinja",
        value=tuning.value,
        best={name: _short(value) for name, value in tuning.study.best_params.items()},
        counts=tuning.counts(),
        pictures=pictures,
        rows=rows,
    )


@figures.styled
def history(study: optuna.Study) -> Figure:
    """Draw the score of each finished trial, and the best so far."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure((6.4, 2.9), layout="constrained")
    axes = figure.subplots()
    found = [(trial.number + 1, trial.value) for trial in study.trials if trial.value is not None]
    numbers, values = (np.array(column, float) for column in zip(*found, strict=True))
    axes.plot(numbers, values, "o", color="#33418c", markersize=4, label="trial")
    axes.step(numbers, np.maximum.accumulate(values), where="post", color="#e08a00", label="best")
    axes.set(xlabel="trial", ylabel="macro F1, validation part")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend()
    return figure


@figures.styled
def importance(shares: dict[str, float]) -> Figure:
    """Draw how much each setting mattered."""
    from matplotlib.figure import Figure

    figure = Figure((6.4, 0.6 + 0.32 * len(shares)), layout="constrained")
    axes = figure.subplots()
    names = list(shares)[::-1]
    axes.barh(names, [shares[name] for name in names], color="#33418c")
    axes.set(xlim=(0, 1), xlabel="importance")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
