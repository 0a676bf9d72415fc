"""What a reader sees of a cube while jobs on it die: counted, and held against what is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import xarray as xr

from cube.bands import MODALITIES
from cube.errors import CubeNotFoundError
from cube.ledger import Ledger, Status
from cube.quality import Flag, is_valid
from cube.region import Region
from cube.scene import Reading, group
from cube.store import Cube
from cube.timeline import milliseconds
from pipelines.scope import search


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
    """Scenes whose pixels are not the mosaic of exactly those granules that the ledger lists as
    ingested for them; also those that only one of the two knows, or that are out of order."""
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
Place = tuple[str, int]
"""A scene: its modality, and its time in milliseconds."""


class Known:
    """What is right: every granule as it reads undisturbed, and the cube of all of them.

    Parameters
    ----------
    region
        Shows all granules that are ever delivered, of all versions; nothing befalls its files.
    complete
        The cube that all jobs work towards.
    """

    def __init__(self, region: Region, complete: Cube) -> None:
        self._region = region
        self._readings: dict[str, Reading] = {}
        self._mosaics: dict[tuple[str, ...], Reading] = {}
        self.granules = {granule.id: granule for granule in search(region)}
        self.complete = scenes_of(complete)

    def mosaic(self, names: AbstractSet[str]) -> Reading:
        """The pixels of a scene of these granules, made apart from the code under test."""
        order = tuple(sorted(names, key=lambda name: (self.granules[name].time, name)))
        if order not in self._mosaics:
            self._mosaics[order] = laid_over([self._reading(name) for name in order])
        return self._mosaics[order]

    def time(self, names: AbstractSet[str]) -> int:
        """Time of a scene of these granules, milliseconds since 1970."""
        times = [self.granules[name].time for name in names]
        return milliseconds(min(time for time in times if time is not None))

    def beside(self, name: str) -> set[str]:
        """All granules of the same pass, of whatever version; the granule itself among them."""
        granule = self.granules[name]
        gap = timedelta(seconds=self._region.modalities[granule.modality].pass_gap)
        dated = [other for other in self.granules.values() if other.modality == granule.modality]
        scenes = [{one.id for one in scene.granules} for scene in group(dated, gap)]
        return next((scene for scene in scenes if name in scene), set())

    def _reading(self, name: str) -> Reading:
        if name not in self._readings:
            granule = self.granules[name]
            source = next(one for one in self._region.sources if one.name == granule.source)
            grid = self._region.grid_of(granule.modality)
            self._readings[name] = source.read(granule, grid, self._region.bands(granule.modality))
        return self._readings[name]


def laid_over(readings: Sequence[Reading]) -> Reading:
    """Each pixel from the first reading that is valid there, else the first that measured it."""
    flags = np.stack([reading.qc for reading in readings])
    measured = (flags & int(Flag.MISSING)) == 0
    first = (~is_valid(flags) * 1 + ~measured * 1).argmin(axis=0)

    def taken(layers: list[np.ndarray]) -> np.ndarray:
        stack = np.stack(layers)
        index = np.broadcast_to(first, (1, *stack.shape[1:]))
        return np.take_along_axis(stack, index, axis=0)[0]

    names = ("imagery", "qc", "product_qc")
    return Reading(*(taken([getattr(each, name) for each in readings]) for name in names))


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
    """Looks at a region's cube again and again, as one reader would.

    Held against what is right is each scene by itself: its pixels must be the mosaic of exactly
    those granules that the ledger lists as ingested for it, no more and no fewer.
    """

    def __init__(self, region: Region, known: Known, figures: Figures) -> None:
        self._region = region
        self._known = known
        self._figures = figures
        self._seen: set[str] = set()
        """Granules that were in the cube once."""

    def look(self, shown: Container[str] | None = None) -> int:
        """Hold what is visible against what may be; return the number of scenes.

        Parameters
        ----------
        shown
            Granules that the sources show, if not all; what failed and is gone is forgotten.
        """
        self._figures.looks += 1
        try:
            cube = Cube.open(self._region)
        except CubeNotFoundError:
            self._figures.lost("the whole cube", self._seen)
            return 0
        ledger, stored = cube.ledger, dict(self._stored(cube))
        told: dict[Place, set[str]] = {}
        for row in ledger:
            if row.status is Status.INGESTED and row.scene is not None:
                told.setdefault((row.modality, milliseconds(row.scene)), set()).add(row.granule)
            elif row.status is Status.INGESTED or row.scene is not None:
                self._figures.half_visible(f"{row.status}, scene {row.scene}", {row.granule})
        self._figures.half_visible("not in the cube", told.keys() - stored.keys())
        self._figures.half_visible("not in the ledger", stored.keys() - told.keys())
        for place in told.keys() & stored.keys():
            self._scene(place, told[place], stored[place])
        self._names(ledger, told, self._known.granules if shown is None else shown)
        self._lost(ledger, told)
        return len(stored)

    def finish(self) -> None:
        """The job is done: every scene of the undisturbed cube must be there, and no other."""
        self.look()
        found = scenes_of(Cube.open(self._region))
        self._figures.lost("in the end", self._known.complete.keys() - found.keys())
        self._figures.half_visible("in the end", found.keys() - self._known.complete.keys())
        self._figures.finished += 1

    def _stored(self, cube: Cube) -> Iterator[tuple[Place, xr.Dataset]]:
        for modality in self._region.modalities:
            if modality in cube.groups():
                stack = cube.dataset(modality, chunks=None).load()
                times = stack["time"].values.astype("datetime64[ms]").astype(np.int64)
                self._figures.half_visible("out of order", set(times[1:][np.diff(times) <= 0]))
                for index, time in enumerate(times.tolist()):
                    yield (modality, time), stack.isel(time=index)

    def _scene(self, place: Place, names: set[str], scene: xr.Dataset) -> None:
        """Compare one scene with the mosaic of the granules that the ledger lists for it."""
        listed = str(scene["granules"].values).split()
        if sorted(listed) != sorted(names):
            self._figures.half_visible("lists other granules than the ledger", {place})
        if place[1] != self._known.time(names):
            self._figures.half_visible("not at the time of its granules", {place})
        right = self._known.mosaic(names)
        wrong = sum(
            unlike(scene[layer].values, getattr(right, layer))
            for layer in ("imagery", "qc", "product_qc")
        )
        if wrong or abs(float(scene["valid_fraction"]) - is_valid(right.qc).mean()) > 1e-6:
            self._figures.wrong_pixels += wrong
            self._figures.half_visible(f"{wrong} values not of {sorted(names)}", {place})

    def _names(self, ledger: Ledger, told: dict[Place, set[str]], shown: Container[str]) -> None:
        """A granule that failed names the scene of its pass, if there is one."""
        for row in ledger:
            if row.status is Status.FAILED and row.granule in shown:
                beside = self._known.beside(row.granule)
                scenes = {time for (_, time), names in told.items() if names & beside}
                scene = ledger.scene_of(row.granule)
                if scenes != ({milliseconds(scene)} if scene else set()):
                    self._figures.half_visible("failed, and does not name its scene", {row.granule})

    def _lost(self, ledger: Ledger, told: dict[Place, set[str]]) -> None:
        """What was there once stays, or was replaced by a newer version."""
        held = {name for names in told.values() for name in names}
        replaced = {row.granule for row in ledger if row.status is Status.SUPERSEDED}
        self._figures.lost("seen before", self._seen - held - replaced)
        self._seen |= held


def unlike(found: np.ndarray, right: np.ndarray) -> int:
    """Number of values that differ; two that are missing do not."""
    same = found == right
    if found.dtype.kind == "f":
        same |= np.isnan(found) & np.isnan(right)
    return int((~same).sum())
