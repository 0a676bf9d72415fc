"""A sharpening method applied to tiles of a scene, as if to the whole of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cube.errors import ModelError
from models.sharpening import (
    METHODS,
    Curve,
    Degradation,
    Forest,
    Line,
    LocalLines,
    Response,
    Variogram,
)
from models.sharpening.blocks import Array, fill
from models.sharpening.features import REACH, masked
from models.sharpening.kriging import RADIUS
from pipelines.lattice import Lattice, Window
from pipelines.pairs import SCALE
from pipelines.sharpen_slopes import SLOPES
from pipelines.superres_folder import PATCH, Trained

HALO = 8
"""Coarse pixels around a tile by which every classical method is as in the whole scene."""
Read = Callable[[Window], tuple[Array, Array]]
"""A window in coarse pixels to its LST and NDVI."""


class View(NamedTuple):
    """A scene at the coarse scale: what facts are found from. All (y, x)."""

    lst: Array
    mean: Array
    """Of NDVI over each coarse pixel."""
    std: Array


@dataclass(frozen=True)
class Facts:
    """What a method takes from the whole scene, so that tiles need not differ."""

    fitted: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the method."""
    means: tuple[float, float] = (0.0, 0.0)
    """Of LST (K) and NDVI: what networks see far within a gap."""


@dataclass(frozen=True)
class Part:
    """One method, or one of several whose maps are averaged."""

    method: str
    """Name of a classical method, or of the kind of a trained network."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    folder: str | None = None
    """Of a trained method."""
    digest: str = ""
    """Of what was in it."""

    @classmethod
    def of(cls, name: str, models: Mapping[str, Trained]) -> Part:
        """Look a method up by name.

        Raises
        ------
        ModelError
            If there is none of that name.
        """
        if name in models:
            trained = models[name]
            place = str(trained.path.resolve())
            return cls(f"network:{trained.recipe.network}", {}, place, trained.digest)
        if name in METHODS:
            return cls(name)
        if name in SLOPES:
            return cls("local_slope", SLOPES[name])
        known = ", ".join([*METHODS, *models])
        raise ModelError(f"no method is called {name!r}; there are {known}, and means as A+B")

    def degradation(self, scale: int) -> Degradation:
        """The sensor's blur, for those that use it."""
        found = self.settings.get("degradation")
        return found if isinstance(found, Degradation) else Degradation.gaussian(scale / 2, scale)

    @property
    def needs_curve(self) -> bool:
        """Whether the scene must be looked at twice: once for the curve, once along it."""
        return self.method in ("local_slope", "network:slope")

    def curve(self, lst: Array, blurred: Array) -> Curve | None:
        """LST against NDVI, seen by the sensor, over the scene; None where it is not needed.

        Raises
        ------
        ValueError
            If no pixel has both.
        """
        if not self.needs_curve:
            return None
        return Curve.fit(lst, blurred, self.settings.get("degree", 3))

    def facts(self, view: View, curve: Curve | None, guide: Array, scale: int) -> Facts:
        """Fit to a scene all that tiles share.

        Parameters
        ----------
        view
            The scene.
        curve, guide
            Of `curve`, and its values along NDVI, seen by the sensor.
        scale
            Fine pixels along one side of a coarse pixel.

        Raises
        ------
        ValueError
            If the scene has too little to learn from.
        """
        if self.folder is not None and not (np.isfinite(view.lst) & np.isfinite(view.mean)).any():
            raise ValueError("no pixel has both LST and NDVI")
        if curve is not None:
            means = float(np.nanmean(view.lst)), float(np.nanmean(view.mean))
            return Facts({"response": Response.of_guide(view.lst, curve, guide)}, means)
        if self.method == "network:sif":
            return Facts({"level": float(np.nanmean(view.lst))})
        if self.method == "dms":
            return Facts(
                {"forest": Forest.fit(view.lst, view.mean[..., None], view.std[..., None])}
            )
        if self.method in ("tsharp", "atprk", "aatprk"):
            return Facts(_lines(self.method, view, scale))
        return Facts()

    def map(self, read: Read, window: Window, shape: tuple[int, int], facts: Facts) -> Array:
        """The fine map of a window.

        Parameters
        ----------
        read
            Gives LST and NDVI of any window of the scene.
        window
            In coarse pixels.
        shape
            Of the scene, coarse pixels.
        facts
            Of the scene.
        """
        if self.folder is None:
            sharpener = METHODS[self.method]
            arguments: dict[str, Any] = {**self.settings, **facts.fitted}
            return _with_halo(
                read, window, shape, HALO, lambda *pair: sharpener(*pair, **arguments)
            )
        trained = load(self.folder, self.digest)
        if trained.tiled:
            return _blended(trained, read, window, shape, facts)
        return _moved(trained, read, window, shape, facts)


@lru_cache(maxsize=4)
def load(folder: str, digest: str) -> Trained:
    """A trained method; once a process.

    Raises
    ------
    ModelError
        If it is not what the run began with.
    """
    trained = Trained.load(folder)
    if trained.digest != digest:
        raise ModelError(
            f"{folder} holds another trained method than when the run began, or than workers see; "
            "let all see the same folder, and run again"
        )
    return trained


def grown(window: Window, by: int, shape: tuple[int, int]) -> Window:
    """A window with a margin, as far as the scene reaches."""
    rows, columns = (
        slice(max(0, part.start - by), min(size, part.stop + by))
        for part, size in zip(window, shape, strict=True)
    )
    return rows, columns


def inner(window: Window, outer: Window, scale: int) -> Window:
    """Where a window lies in the fine map of one around it."""
    rows, columns = (
        slice(scale * (part.start - around.start), scale * (part.stop - around.start))
        for part, around in zip(window, outer, strict=True)
    )
    return rows, columns


def _with_halo(
    read: Read, window: Window, shape: tuple[int, int], halo: int, sharpen: Callable[..., Array]
) -> Array:
    around = grown(window, halo, shape)
    lst, ndvi = read(around)
    scale = ndvi.shape[0] // lst.shape[0]
    if np.isnan(lst).all():
        return np.full(ndvi.shape, np.nan)[inner(window, around, scale)]
    return sharpen(lst, ndvi)[inner(window, around, scale)]


def _moved(
    trained: Trained, read: Read, window: Window, shape: tuple[int, int], facts: Facts
) -> Array:
    """Networks whose layers move with the image: gaps are bridged as in the whole scene."""
    near = read(grown(window, trained.halo, shape))
    gaps = any(np.isnan(image).any() for image in near)

    def sharpen(lst: Array, ndvi: Array) -> Array:
        bridged = map(_bridged, (lst, ndvi), facts.means)
        return masked(trained.sharpen(*bridged, **facts.fitted), lst, ndvi)

    return _with_halo(read, window, shape, trained.halo + (REACH if gaps else 0), sharpen)


def _bridged(image: Array, mean: float) -> Array:
    """Fill gaps as features do, but with the scene's mean, not the tile's, where they are deep."""
    from scipy.ndimage import binary_dilation

    there = np.isfinite(image)
    near = binary_dilation(there, np.ones((3, 3)), iterations=REACH)
    return np.where(near, fill(image, REACH), mean)


def _blended(
    trained: Trained, read: Read, window: Window, shape: tuple[int, int], facts: Facts
) -> Array:
    """Networks whose layers do not move with the image: fixed windows, blended where they meet."""
    lattice = Lattice(shape, PATCH, PATCH // 2)
    around, scale = lattice.reach(window), SCALE
    size = tuple(scale * (part.stop - part.start) for part in around)
    total, weight = np.zeros(size), np.zeros(size)
    gaps = np.zeros(size, dtype=bool)
    for row, column in lattice.touching(window).tolist():
        tile = (
            slice(row, min(row + PATCH, shape[0])),
            slice(column, min(column + PATCH, shape[1])),
        )
        lst, ndvi = read(tile)
        place = inner(tile, around, scale)
        fine = np.full(ndvi.shape, np.nan)
        if np.isfinite(lst).any() and np.isfinite(ndvi).any():
            fine = trained.sharpen(lst, ndvi, **facts.fitted)
        share = np.outer(_ramp(ndvi.shape[0]), _ramp(ndvi.shape[1]))
        gaps[place] |= np.isnan(fine)
        total[place] += share * np.nan_to_num(fine)
        weight[place] += share
    blended = np.divide(total, weight, out=np.full(size, np.nan), where=(weight > 0) & ~gaps)
    return blended[inner(window, around, scale)]


def _ramp(length: int) -> Array:
    """Weights along one axis of a fixed window: least at its border, above 0 everywhere."""
    places = np.arange(length)
    ramp: Array = np.minimum(places + 1, length - places) / length
    return ramp


def _lines(method: str, view: View, scale: int) -> dict[str, Any]:
    line = Line.fit(view.lst, view.mean)
    if method == "tsharp":
        return {"line": line}
    if method == "atprk":
        residual = view.lst - line.at(view.mean)
    else:
        lines = LocalLines.fit(view.lst, view.mean, radius=RADIUS, line=line)
        residual = view.lst - lines.at(view.mean)
    return {"line": line, "variogram": Variogram.fit(residual, scale)}
