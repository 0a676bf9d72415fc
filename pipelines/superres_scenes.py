"""Scenes to learn sharpening from, without ASTER: MODIS LST and NDVI, and their folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cube.errors import PairsError
from models.sharpening import Degradation, shifted
from pipelines.pairs import SCALE, Array

When = Literal["day", "night"]
PAIR_FIELDS = ("pair_id", "modis_lst", "ndvi", "center_lst", "center_ndvi", "location_group")
PATCH_FIELDS = ("lst", "ndvi_1km", "ndvi_index", "row0", "col0")
PATCH = 64
"""Side of a patch, coarse pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Coarse LST with its NDVI, registered."""

    name: str
    location: int | None
    """Scenes of one number share ground; None for a patch, which no fold is made of."""
    corner: tuple[int, int]
    """Row and column of the first coarse pixel in the tile."""
    lst: Array
    """(y, x), kelvin."""
    ndvi: Array | None
    """(4 y, 4 x); None for a patch."""
    coarse_ndvi: Array
    """(y, x), at the resolution of the LST."""

    def overlaps(self, other: Scene) -> bool:
        """Whether the two share ground."""
        return all(abs(a - b) < PATCH for a, b in zip(self.corner, other.corner, strict=True))


@dataclass(frozen=True, slots=True)
class Fold:
    """Which scenes a network learns from, is stopped by, and is kept from."""

    train: tuple[Scene, ...]
    validation: tuple[Scene, ...]
    test: tuple[Scene, ...]

    @property
    def parts(self) -> tuple[tuple[Scene, ...], ...]:
        """The three, in that order."""
        return self.train, self.validation, self.test

    @property
    def left_out(self) -> tuple[int, ...]:
        """Locations of the test scenes."""
        return tuple(sorted({scene.location for scene in self.test if scene.location is not None}))


def scenes_of_pairs(path: str | Path, ids: Sequence[int] | None = None) -> list[Scene]:
    """Read the MODIS images of a pairs file; what it holds of ASTER is not looked at.

    Parameters
    ----------
    path
        See `pipelines.pairs.read_pairs`.
    ids
        Of the pairs to read; None for all.

    Raises
    ------
    PairsError
        If the file is not there or lacks a variable.
    """
    found = _read(path, PAIR_FIELDS)
    numbers = found["pair_id"].astype(int).tolist()
    blur = Degradation.gaussian(SCALE / 2, SCALE)
    scenes = []
    for row, number in enumerate(numbers):
        if ids is not None and number not in ids:
            continue
        centre, fine = found["center_lst"][row], found["center_ndvi"][row]
        offset = tuple(int(step) for step in (fine - SCALE * centre)[:2])
        ndvi = shifted(found["ndvi"][row].astype(np.float64), (offset[0], offset[1]))
        scenes.append(
            Scene(
                name=f"pair {number}",
                location=int(found["location_group"][row]),
                corner=(int(centre[0]) - PATCH // 2, int(centre[1]) - PATCH // 2),
                lst=found["modis_lst"][row].astype(np.float64),
                ndvi=ndvi,
                coarse_ndvi=blur(ndvi),
            )
        )
    return scenes


def scenes_of_patches(
    path: str | Path,
    when: When = "day",
    most: int | None = None,
    seed: int = 0,
    *,
    guided: bool = True,
) -> list[Scene]:
    """Read patches of MODIS LST with the NDVI of their 16 days, both at 1 km.

    Parameters
    ----------
    path
        NetCDF file of ``lst (patch, daynight, y, x)`` and ``ndvi_1km``.
    when
        Day or night overpass.
    most
        Draw so many at random; None for all.
    seed
        Of the draw.
    guided
        Leave out patches without an NDVI; otherwise theirs is missing everywhere.

    Raises
    ------
    PairsError
        If the file is not there or lacks a variable.

    Notes
    -----
    Pixels without an NDVI (not positive reflectance, such as water) are NaN.
    """
    found = _read(path, PATCH_FIELDS)
    rows = np.flatnonzero(found["ndvi_index"] >= (0 if guided else -1))
    if most is not None and most < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    scenes = []
    for row in rows:
        partner = int(found["ndvi_index"][row])
        ndvi = found["ndvi_1km"][partner].astype(np.float64)
        ndvi[(np.abs(ndvi) > 1) | (partner < 0)] = np.nan
        scenes.append(
            Scene(
                name=f"patch {row} {when}",
                location=None,
                corner=(int(found["row0"][row]), int(found["col0"][row])),
                lst=found["lst"][row, 0 if when == "day" else 1].astype(np.float64),
                ndvi=None,
                coarse_ndvi=ndvi,
            )
        )
    return scenes


def folds(
    scenes: Sequence[Scene],
    count: int,
    *,
    more: Sequence[Scene] = (),
    validation_share: float = 0.2,
    seed: int = 0,
) -> list[Fold]:
    """Deal scenes into folds; those that share ground stay together.

    Parameters
    ----------
    scenes
        With a location.
    count
        Of folds. Each scene is tested in one of them; where that is 1, none is.
    more
        Further scenes to learn from, in every fold whose test and validation scenes they share
        no ground with.
    validation_share
        Of the scenes that are not tested.
    seed
        Of the deal.

    Raises
    ------
    PairsError
        If there are fewer places than folds need.
    """
    places = sorted({scene.location for scene in scenes if scene.location is not None})
    if len(places) < count + 1:
        raise PairsError(
            f"{len(places)} places cannot be dealt into {count} folds with some left to stop by: "
            "take fewer folds, or a file with more places"
        )
    rng = np.random.default_rng(seed)
    order = [places[row] for row in rng.permutation(len(places))]
    made = []
    for number in range(count):
        tested = set(order[number::count]) if count > 1 else set()
        rest = [place for place in order if place not in tested]
        kept = set(rest[: max(1, round(validation_share * len(rest)))])
        parts = [
            tuple(scene for scene in scenes if scene.location in part)
            for part in (set(rest) - kept, kept, tested)
        ]
        held = [*parts[1], *parts[2]]
        free = tuple(one for one in more if not any(one.overlaps(other) for other in held))
        made.append(Fold(parts[0] + free, parts[1], parts[2]))
    return made


def _read(path: str | Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    import xarray as xr

    if not Path(path).is_file():
        raise PairsError(f"there is no file at {path}: give the path of a NetCDF file")
    with xr.open_dataset(path) as dataset:
        absent = [name for name in names if name not in dataset.variables]
        if absent:
            raise PairsError(f"{path} lacks {', '.join(absent)}; it needs {', '.join(names)}")
        return {name: dataset[name].values for name in names}
