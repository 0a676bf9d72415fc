"""Which method held-out reconstruction chooses, with its table; no ASTER takes part."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cube.errors import ModelError, PairsError
from models.bootstrap import Interval
from models.image_metrics import grouped_mean
from pipelines.sharpen_choice_figure import gain_figure
from pipelines.sharpen_heldout import CLEAN, NOISY, Row, held_out, makers, noise_of
from pipelines.sharpen_rows import writing
from pipelines.superres_folder import Trained
from pipelines.superres_scenes import Scene, scenes_of_pairs, scenes_of_patches

Progress = Callable[[int, int, str], None]
YARDSTICK = "bicubic"
PAIRS, DAY, NIGHT = "pairs", "patches by day", "patches by night"
TITLES = {
    PAIRS: "The pairs' own MODIS, NDVI of the day",
    DAY: "Patches by day, NDVI of 16 days",
    NIGHT: "Patches by night, NDVI of 16 days",
}


@dataclass(frozen=True)
class Standing:
    """One method over all scenes of a set."""

    method: str
    rmse: Mapping[str, float]
    """By condition, kelvin."""
    ssim: Mapping[str, float]
    hf_std_ratio: float
    """With noise."""
    behind: Interval
    """RMSE with noise less that of the best, paired by scene, kelvin."""
    gain: Interval
    """RMSE of bicubic with noise less this one's, paired by scene, kelvin."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "method": self.method,
            "rmse": dict(self.rmse),
            "ssim": dict(self.ssim),
            "hf_std_ratio": self.hf_std_ratio,
            "behind": list(self.behind),
            "gain": list(self.gain),
        }


@dataclass(frozen=True)
class Choice:
    """Standings on every set of scenes; the pairs' own MODIS decides."""

    noise: float
    """Kelvin added in the condition that decides."""
    sets: Mapping[str, Sequence[Standing]]
    """Best first."""
    scenes: Mapping[str, int]

    @property
    def chosen(self) -> str:
        """The method with the least mean RMSE on the pairs' own MODIS, with noise."""
        return self.sets[PAIRS][0].method

    @property
    def most_alike(self) -> str:
        """The method with the greatest mean SSIM on the pairs' own MODIS, with noise."""
        return max(self.sets[PAIRS], key=lambda one: one.ssim[NOISY]).method

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "chosen": self.chosen,
            "most_alike": self.most_alike,
            "noise": self.noise,
            "scenes": dict(self.scenes),
            "sets": {name: [one.to_dict() for one in rows] for name, rows in self.sets.items()},
        }

    def markdown(self, most: int | None = None) -> str:
        """A table for each set, of the best `most` methods."""
        told = f"Chosen: `{self.chosen}` (greatest SSIM: `{self.most_alike}`)."
        lines = [f"{told} Noise added: {self.noise:.3f} K.", ""]
        for name, rows in self.sets.items():
            lines += [f"### {TITLES[name]}, {self.scenes[name]} scenes", ""]
            lines += [*_HEAD, *(_line(one) for one in rows[:most]), ""]
        return "\n".join(lines)


_HEAD = (
    "| method | RMSE with noise, K | behind the best, K | SSIM with noise | detail, of the truth's "
    "| RMSE without noise, K | SSIM without noise | gain on bicubic, K |",
    "|---|---|---|---|---|---|---|---|",
)


def choose(
    pairs_file: str | Path,
    folder: str | Path,
    *,
    methods: Sequence[str] | None = None,
    models: Sequence[str | Path] = (),
    mixtures: Sequence[str] = (),
    patches: str | Path | None = None,
    most: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> Choice:
    """Judge every method by held-out reconstruction, 4 km to 1 km, and choose one.

    Parameters
    ----------
    pairs_file
        Its MODIS images decide; what it holds of ASTER is not read.
    folder
        For ``held_out.csv`` (every row), ``held_out.md``, ``choice.json`` and ``gain.png``.
    methods
        Names of the candidates; None for all. Bicubic, the yardstick, is always there.
    models
        Folders of trained methods; scenes are restored by networks that have not learnt from
        their places.
    mixtures
        Equal-weight means of others, such as ``local_slope+sc_unet``.
    patches
        File of further scenes, by day and by night, that are reported and do not decide.
    most
        Of them, drawn at random.
    seed
        Of the draw and of the noise.
    progress
        Told of each scene.

    Raises
    ------
    PairsError
        If a file is not such a file, or none of its scenes can be restored by all methods.
    ModelError
        If a folder is no trained method, or there is no method of a name.
    """
    sets: dict[str, list[Scene]] = {PAIRS: scenes_of_pairs(pairs_file)}
    if patches is not None:
        sets[DAY] = scenes_of_patches(patches, "day", most, seed)
        sets[NIGHT] = scenes_of_patches(patches, "night", most, seed)
    candidates = makers([Trained.load(model) for model in models], mixtures)
    if methods is not None:
        wanted = {YARDSTICK, *methods, *mixtures, *(Path(model).resolve().name for model in models)}
        _require_known(wanted - set(candidates))
        candidates = {name: make for name, make in candidates.items() if name in wanted}
    noise = noise_of(sets[PAIRS])
    rows: dict[str, list[Row]] = {}
    total, done = sum(map(len, sets.values())), 0
    for name, scenes in sets.items():
        rows[name] = []
        for scene in scenes:
            rows[name] += held_out([scene], candidates, noise, seed=seed + done)
            done += 1
            if progress is not None:
                progress(done, total, f"{name}: {scene.name}")
    choice = Choice(
        noise,
        {name: standings(found) for name, found in rows.items()},
        {name: len({row.scene for row in found}) for name, found in rows.items()},
    )
    _write(Path(folder), rows, choice)
    return choice


def _require_known(unknown: set[str]) -> None:
    if unknown:
        raise ModelError(
            f"no method is called {', '.join(sorted(unknown))}; `thermocube sharpen held-out` "
            "without --method lists all there are"
        )


def standings(rows: Sequence[Row]) -> list[Standing]:
    """Means over scenes of every method, the best first.

    Raises
    ------
    PairsError
        If there is no row.
    """
    if not rows:
        raise PairsError(
            "no scene could be restored by every method: each needs LST with an NDVI that varies"
        )
    by_method: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        by_method.setdefault(row.method, {}).setdefault(row.condition, []).append(row)
    order = sorted(by_method, key=lambda method: _mean(by_method[method][NOISY], "rmse"))
    best = by_method[order[0]][NOISY]
    return [_standing(name, by_method[name], best, by_method.get(YARDSTICK)) for name in order]


def _standing(
    method: str,
    found: Mapping[str, Sequence[Row]],
    best: Sequence[Row],
    yardstick: Mapping[str, Sequence[Row]] | None,
) -> Standing:
    groups = _groups(best)

    def difference(first: Sequence[Row], second: Sequence[Row]) -> Interval:
        return grouped_mean(
            [a.rmse - b.rmse for a, b in zip(first, second, strict=True)], groups, seed=0
        )

    return Standing(
        method,
        {condition: _mean(found[condition], "rmse") for condition in (CLEAN, NOISY)},
        {condition: _mean(found[condition], "ssim") for condition in (CLEAN, NOISY)},
        _mean(found[NOISY], "hf_std_ratio"),
        difference(found[NOISY], best),
        difference((yardstick or found)[NOISY], found[NOISY]),
    )


def _groups(rows: Sequence[Row]) -> list[int]:
    """A number for each scene: its location, or one of its own."""
    return [
        row.location if row.location is not None else -1 - number for number, row in enumerate(rows)
    ]


def _mean(rows: Sequence[Row], field: str) -> float:
    return sum(getattr(row, field) for row in rows) / len(rows)


def _line(one: Standing) -> str:
    def bounds(interval: Interval) -> str:
        return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"

    cells = [f"`{one.method}`", f"{one.rmse[NOISY]:.3f}", bounds(one.behind)]
    cells += [f"{one.ssim[NOISY]:.3f}", f"{one.hf_std_ratio:.2f}"]
    cells += [f"{one.rmse[CLEAN]:.3f}", f"{one.ssim[CLEAN]:.3f}", bounds(one.gain)]
    return "| " + " | ".join(cells) + " |"


def _write(folder: Path, rows: Mapping[str, Sequence[Row]], choice: Choice) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["set", *Row._fields])
    for name, found in rows.items():
        writer.writerows([name, *row] for row in found)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "held_out.csv").write_text(text.getvalue(), encoding="utf-8")
        (folder / "held_out.md").write_text(choice.markdown(), encoding="utf-8")
        (folder / "choice.json").write_text(json.dumps(choice.to_dict(), indent=1) + "\n")
        gain_figure(rows, choice.chosen, YARDSTICK).savefig(folder / "gain.png", dpi=110)
