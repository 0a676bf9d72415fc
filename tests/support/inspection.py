"""What a reader sees of a cube while jobs on it die: counted, and held against what is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from cube.bands import MODALITIES
from cube.errors import CubeNotFoundError
from cube.ledger import Status
from cube.region import Region
from cube.store import Cube

LAYERS = ("imagery", "qc")


@dataclass
class Figures:
    """What a storm did, and what came of it."""

    faults: Counter[str] = field(default_factory=Counter)
    """Injected, by kind."""
    looks: int = 0
    """Times that a reader looked at the cube in between."""
    finished: int = 0
    """Cubes that were complete in the end and held against the undisturbed one."""
    scenes_lost: int = 0
    """Scenes that were seen once and not again, or are missing in the end."""
    half_visible_scenes: int = 0
    """Scenes that no ledger row explains, or with times out of order or chunks that are absent."""
    wrong_pixels: int = 0
    findings: list[str] = field(default_factory=list)
    """What was lost or half-visible, by name."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return vars(self) | {"faults": dict(sorted(self.faults.items()))}

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.faults.total()} faults injected ({kinds}); a reader looked {self.looks} times; "
            f"{self.finished} cubes finished; scenes lost {self.scenes_lost}, half-visible scenes "
            f"{self.half_visible_scenes}, wrong pixels {self.wrong_pixels}"
            f"{''.join(f'; {finding}' for finding in self.findings[:5])}"
        )

    def lost(self, how: str, names: AbstractSet[object]) -> None:
        """Count scenes, or granules of scenes, that are gone."""
        self.scenes_lost += len(names)
        self.findings += [f"lost, {how}: {name}" for name in names]

    def half_visible(self, how: str, names: AbstractSet[object]) -> None:
        """Count scenes, or granules of scenes, that should not be seen."""
        self.half_visible_scenes += len(names)
        self.findings += [f"half-visible, {how}: {name}" for name in names]

    def assert_clean(self) -> None:
        """Nothing was lost, half-visible or wrong, although faults were injected."""
        assert self.faults.total() and self.looks and self.finished, str(self)
        assert not self.scenes_lost, str(self)
        assert not self.half_visible_scenes, str(self)
        assert not self.wrong_pixels, str(self)


Scenes = dict[tuple[str, str], xr.Dataset]
"""By modality and the ids of the granules that a scene was made of."""


class Known:
    """The scenes of undisturbed cubes: the only ones that may ever be seen.

    Parameters
    ----------
    complete
        The cube that all jobs work towards.
    earlier
        Cubes of earlier deliveries, with the older versions of what was processed anew.
    """

    def __init__(self, complete: Cube, *earlier: Cube) -> None:
        self.complete = scenes_of(complete)
        self.scenes = {name: scene for cube in earlier for name, scene in scenes_of(cube).items()}
        self.scenes |= self.complete


def scenes_of(cube: Cube) -> Scenes:
    """Read every scene of a cube."""
    return dict(_scenes(cube))


def _scenes(cube: Cube) -> Iterator[tuple[tuple[str, str], xr.Dataset]]:
    for modality in MODALITIES:
        if modality in cube.groups():
            stack = cube.dataset(modality, chunks=None).load()
            for index, ids in enumerate(stack["granules"].values):
                yield (modality, str(ids)), stack.isel(time=index)


class Inspector:
    """Looks at a region's cube again and again, as one reader would."""

    def __init__(self, region: Region, known: Known, figures: Figures) -> None:
        self._region = region
        self._known = known
        self._figures = figures
        self._seen: set[str] = set()
        """Granules that were in the cube once."""

    def look(self) -> int:
        """Hold what is visible against what may be; return the number of scenes."""
        self._figures.looks += 1
        try:
            cube = Cube.open(self._region)
        except CubeNotFoundError:
            self._figures.scenes_lost += len(self._seen)
            return 0
        scenes = scenes_of(cube)
        self._values(scenes)
        self._axes(cube)
        self._ledger(cube, scenes)
        return len(scenes)

    def finish(self) -> None:
        """The job is done: every scene of the undisturbed cube must be there, and no other."""
        self.look()
        found = scenes_of(Cube.open(self._region))
        self._figures.lost("in the end", self._known.complete.keys() - found.keys())
        self._figures.half_visible("in the end", found.keys() - self._known.complete.keys())
        self._figures.finished += 1

    def _values(self, scenes: Scenes) -> None:
        for name, scene in scenes.items():
            right = self._known.scenes.get(name)
            if right is None or right["time"].values != scene["time"].values:
                self._figures.half_visible("unknown", {name})
                continue
            for layer in LAYERS:
                self._figures.wrong_pixels += unlike(scene[layer].values, right[layer].values)

    def _axes(self, cube: Cube) -> None:
        for modality in self._region.modalities:
            if modality in cube.groups():
                times = cube.dataset(modality, chunks=None)["time"].values
                steps = np.diff(times) <= np.timedelta64(0, "ns")
                self._figures.half_visible_scenes += int(steps.sum())

    def _ledger(self, cube: Cube, scenes: Scenes) -> None:
        """Every granule of a scene has its row, every row its scene; what was there once stays."""
        ledger = cube.ledger
        held = {granule for _, ids in scenes for granule in ids.split()}
        # What cannot be read again, for a better scene, stays in the one that is there.
        told = {row.granule for row in ledger if row.scene is not None}
        self._figures.half_visible("not as in the ledger", held ^ told)
        replaced = {row.granule for row in ledger if row.status is Status.SUPERSEDED}
        self._figures.lost("seen before", self._seen - held - replaced)
        self._seen |= held


def unlike(found: np.ndarray, right: np.ndarray) -> int:
    """Number of values that differ; two that are missing do not."""
    same = found == right
    if found.dtype.kind == "f":
        same |= np.isnan(found) & np.isnan(right)
    return int((~same).sum())
