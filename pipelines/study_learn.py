"""What networks learn where the truth is known: simulated regions, one of them left out."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.lithology import CLASS_COUNT
from models.metrics import Scores, confusion, scores
from pipelines.evaluation import MAJORITY, MEMORISE, NETWORK, Evaluation
from pipelines.recipe import Selection, TrainSettings
from pipelines.simulate import SimulationSettings

if TYPE_CHECKING:
    from cube.store import Cube

SEEDS = {"alpha": 11, "beta": 22, "gamma": 33}
"""Regions that share rocks and physics, but no map, no weather and no overpass."""
HELD_OUT = "gamma"

WORLD: dict[str, Any] = {
    "size": (192, 192),
    "ecostress": 24,
    "sentinel1": 12,
    "sentinel2": 6,
    "days": 180,
    "cloudiness": 0.15,
    "day_share": 0.5,
    "sentinel1_resolution": 40.0,
}
"""Half of the passes by night, so that sequences go through day and night."""

RELATIVE: dict[str, Any] = {"anomalies": ["lst"]}
"""Temperatures less the median of their scene, which weather and hour move by tens of kelvins."""
SAR: dict[str, Any] = {"join": [{"modality": "sar", "tolerance": "16D"}]}
NDVI: dict[str, Any] = {"join": [{"modality": "optical", "bands": ["ndvi"], "tolerance": "40D"}]}

BASE: dict[str, Any] = {
    "patch": 32,
    "epochs": 16,
    "batch_size": 32,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "filters": 8,
    "l2": 1e-3,
    "loss": "weighted",
    "min_valid": 0.3,
    "patience": 16,
}
TRIALS: dict[str, dict[str, Any]] = {
    "CNN, temperatures as they are": {},
    "CNN": RELATIVE,
    "CNN, with SAR": RELATIVE | SAR,
    "CNN, with NDVI": RELATIVE | NDVI,
    "ConvLSTM, 5 dates": RELATIVE
    | {
        "network": "convlstm-small",
        "sequence": {"length": 5, "stride": 1},
        "jitter": 0.3,
        "depth": 2,
        "dropout": 0.1,
        "l2": 1e-4,
        "batch_size": 16,
    },
}
PIXELS: dict[str, dict[str, Any]] = {
    "single pixels": RELATIVE,
    "single pixels, with SAR": RELATIVE | SAR,
    "single pixels, with NDVI": RELATIVE | NDVI,
}
TREES: dict[str, dict[str, Any]] = {
    "boosted trees, one date": RELATIVE,
    "boosted trees, 5 dates": RELATIVE | {"stack": 5},
}
"""What the pixel itself holds of its class, on one date and through day and night."""
MOST_PIXELS = 20_000
"""Drawn from each training region for predictors that see one pixel; twice as many for the test."""

Row = dict[str, Any]
Tell = Callable[[str], None]


def make_regions(folder: Path, world: Mapping[str, Any] | None = None) -> dict[str, Cube]:
    """Simulate and ingest the regions.

    Parameters
    ----------
    folder
        A region that was made there earlier with the same settings is opened.
    world
        Settings of `pipelines.simulate.SimulationSettings`, by default `WORLD`.
    """
    from cube.region import Region
    from cube.store import Cube
    from pipelines.ingest import ingest
    from pipelines.simulate import deliver_late, simulate

    cubes = {}
    for name, seed in SEEDS.items():
        settings = SimulationSettings(name=name, seed=seed, **(world or WORLD))
        home = folder / f"{name}-{_digest(settings.model_dump(mode='json'))}"
        if not (home / "done").exists():
            simulate(home, settings)
            deliver_late(home, settings)
            ingest(Region.load(home / "region.toml"))
            (home / "done").touch()
        cubes[name] = Cube.open(home / "region.toml")
    return cubes


def settings_of(trial: str, seed: int = 0, **changes: Any) -> TrainSettings:
    """Training settings of one of `TRIALS`."""
    return TrainSettings.model_validate(BASE | TRIALS[trial] | {"seed": seed} | changes)


def network_scores(cubes: Mapping[str, Cube], settings: TrainSettings) -> Evaluation:
    """Train on all regions but one, and score the network on that one.

    Parameters
    ----------
    cubes
        By name; that of `HELD_OUT` is tested, and nothing of it is learnt or chosen from.
    settings
        Of the training; part of the other regions' ground is kept for validation.
    """
    from pipelines.aside import map_aside
    from pipelines.evaluate import score
    from pipelines.model_folder import ModelFolder
    from pipelines.train import train

    with TemporaryDirectory(prefix="thermocube-learn-") as temporary:
        folder = Path(temporary) / "network"
        train(dict(cubes), folder, settings, held_out=HELD_OUT, validation=0.15)
        model, cube = ModelFolder.load(folder), cubes[HELD_OUT]
        view = cube.at(cube.snapshot)
        maps = map_aside(view, model, Path(temporary) / "work", batch_size=64)
        return score(view, maps, model, model.name)


def pixel_scores(cubes: Mapping[str, Cube], selection: Selection, *, trees: bool = False) -> Scores:
    """What can be said of single pixels of single dates, or of stacked ones, without context.

    Parameters
    ----------
    cubes, selection
        As the network's; all regions but the one held out are learnt from.
    trees
        Boosted trees, missing dates allowed, instead of a logistic regression: near to all that
        the pixel itself holds.
    """
    random = np.random.default_rng(0)
    drawn = []
    for name, cube in cubes.items():
        x, y = _pixels(cube, selection, trees)
        most = 2 * MOST_PIXELS if name == HELD_OUT else MOST_PIXELS
        rows = random.choice(len(x), min(most, len(x)), replace=False)
        drawn.append((name, x[rows], y[rows]))
    known = [(x, y) for name, x, y in drawn if name != HELD_OUT]
    values, labels = (np.concatenate(parts) for parts in zip(*known, strict=True))
    test, truth = next((x, y) for name, x, y in drawn if name == HELD_OUT)
    said = _pixel_classifier(trees).fit(values, labels).predict(test)
    return scores(confusion(truth, said, CLASS_COUNT))


def _pixel_classifier(trees: bool) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if trees:
        return HistGradientBoostingClassifier(max_iter=60, random_state=0)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))


def _pixels(cube: Cube, selection: Selection, trees: bool) -> tuple[np.ndarray, np.ndarray]:
    """Values (pixel, band) and classes (pixel,) of the valid, labelled pixels of all dates."""
    imagery = selection.of(cube.at(cube.snapshot))["imagery"].load()
    values = imagery.transpose("time", "y", "x", "band").to_numpy()
    labels = cube.dataset("labels", chunks=None)["lithology"].transpose("y", "x").to_numpy()
    truth = np.broadcast_to(labels, values.shape[:3])
    there = np.isfinite(values)
    valid = (there.any(axis=-1) if trees else there.all(axis=-1)) & (truth > 0)
    return values[valid], truth[valid]


def learn_document(
    folder: Path, seeds: Sequence[int] = (0, 1, 2), *, tell: Tell = lambda line: None
) -> dict[str, Any]:
    """Run all trials with each seed; stopped and started again it goes on where it was.

    Parameters
    ----------
    folder
        For the simulated regions, and scores as they come.
    seeds
        Of the networks' weights and of the order of samples.
    tell
        Told of each score.

    Returns
    -------
    dict
        Settings, and OA and macro F1 of every trial on the region held out, beside those of
        predictors that see one pixel, of the majority class and of the memory of the place.
    """
    cubes = make_regions(folder)

    def once(name: str, key: Mapping[str, Any], score: Callable[[], Row]) -> Row:
        known = _kept(folder, {"world": WORLD, "name": name, **key}, score)
        tell(f"{name}: {known}")
        return known

    networks: dict[str, dict[str, Row]] = {name: {} for name in TRIALS}
    for seed, name in itertools.product(seeds, TRIALS):
        key = settings_of(name, seed).model_dump(mode="json")
        networks[name][str(seed)] = once(name, key, partial(_network_row, cubes, name, seed))
    return {
        "world": WORLD,
        "regions": SEEDS,
        "held_out": HELD_OUT,
        "training": BASE,
        "trials": TRIALS,
        "networks": networks,
        "pixels": {
            name: once(name, changes, partial(_pixel_row, cubes, name, changes))
            for name, changes in (PIXELS | TREES).items()
        },
    }


def _kept(folder: Path, key: Mapping[str, Any], score: Callable[[], Row]) -> Row:
    """A score of an earlier run with the same settings, or a new one."""
    file = folder / f"score-{_digest(key)}.json"
    if not file.exists():
        fresh = file.with_suffix(".part")
        fresh.write_text(json.dumps(score()), encoding="utf-8")
        fresh.replace(file)
    row: Row = json.loads(file.read_text(encoding="utf-8"))
    return row


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _pixel_row(cubes: Mapping[str, Cube], name: str, changes: Mapping[str, Any]) -> Row:
    selection = Selection.model_validate(changes)
    return _plain(pixel_scores(cubes, selection, trees=name in TREES))


def _network_row(cubes: Mapping[str, Cube], name: str, seed: int) -> Row:
    found = network_scores(cubes, settings_of(name, seed))
    lead = found.blocks.lead[MEMORISE]
    return {
        **_plain(found.scores[NETWORK]),
        "all_dates": _plain(found.all_dates[NETWORK]),
        "lead": {key: lead[key]._asdict() for key in ("oa", "macro_f1")},
        "baselines": {who: _plain(found.scores[who]) for who in (MAJORITY, MEMORISE)},
    }


def _plain(found: Scores) -> Row:
    return {"oa": round(found.oa, 4), "macro_f1": round(found.macro_f1, 4)}
