"""What is done to one tile of a scene, wherever that is: read, sharpen, encode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.sharpening import Curve, enforce
from models.sharpening.blocks import Array, block_mean, block_std
from pipelines.inference_layout import Encoded, Layout
from pipelines.lattice import Window
from pipelines.sharpen_engine import HALO, Facts, Part, grown, inner
from pipelines.sharpen_scenery import Scenery


@dataclass(frozen=True, slots=True)
class Misfit:
    """How far block means of a map are from its input."""

    squares: float = 0.0
    """Sum of squares, kelvin squared."""
    pixels: int = 0
    largest: float = 0.0
    """Kelvin."""

    @classmethod
    def of(cls, difference: Array) -> Misfit:
        """Of coarse pixels, NaN where there is nothing to compare."""
        known = difference[np.isfinite(difference)]
        return cls(float((known**2).sum()), known.size, float(np.abs(known).max(initial=0.0)))

    def __add__(self, other: Misfit) -> Misfit:
        """Both together."""
        return Misfit(
            self.squares + other.squares,
            self.pixels + other.pixels,
            max(self.largest, other.largest),
        )

    @property
    def rmse(self) -> float:
        """Kelvin."""
        return float(np.sqrt(self.squares / self.pixels)) if self.pixels else float("nan")


class Mapped(NamedTuple):
    """A finished tile."""

    chunks: Encoded
    misfit: Misfit


@dataclass(frozen=True)
class Task:
    """All that a tile needs, to be sent to a worker."""

    scenery: Scenery
    parts: tuple[Part, ...]
    consistent: bool
    layout: Layout

    def coarse(
        self, scene: int, window: Window, curves: Sequence[Curve | None]
    ) -> tuple[Array, ...]:
        """A tile at the coarse scale, as in the whole scene.

        Returns
        -------
        tuple of ndarray
            LST, mean and deviation of NDVI, and for each part NDVI, or its curve along NDVI, as
            the sensor sees it; all (y, x).
        """
        scale = self.scenery.scale
        around = grown(window, HALO, self.scenery.shape)
        lst, ndvi = self.scenery.read(scene, around)
        guides = [
            part.degradation(scale)(ndvi if curve is None else curve.at(ndvi))
            for part, curve in zip(self.parts, curves, strict=True)
        ]
        cut = inner(window, around, 1)
        images = (lst, block_mean(ndvi, scale), block_std(ndvi, scale), *guides)
        return tuple(image[cut] for image in images)

    def map(self, scene: int, window: Window, facts: Sequence[Facts]) -> Mapped:
        """Sharpen a tile, and encode it as the store would.

        Parameters
        ----------
        scene
            Its number.
        window
            In coarse pixels.
        facts
            Of the scene, for each part.
        """
        fine, lst = self.fine(scene, window, facts)
        misfit = Misfit.of(lst - block_mean(fine, self.scenery.scale))
        place = self.scenery.fine_window(window)
        rows, columns = (part.stop - part.start for part in place)
        if not (rows and columns):
            return Mapped({}, misfit)
        return Mapped(self.layout.encode("lst", scene, place, fine[:rows, :columns]), misfit)

    def fine(self, scene: int, window: Window, facts: Sequence[Facts]) -> tuple[np.ndarray, Array]:
        """The fine map of a tile, float32, the mean of the parts'; and its coarse LST."""
        scenery = self.scenery
        wide = grown(window, HALO if self.consistent else 0, scenery.shape)

        def read(some: Window) -> tuple[Array, Array]:
            return scenery.read(scene, some)

        maps = [
            part.map(read, wide, scenery.shape, fact)
            for part, fact in zip(self.parts, facts, strict=True)
        ]
        fine = np.mean(maps, axis=0)
        lst = read(wide)[0]
        if self.consistent:
            fine = enforce(fine, lst)
        fine = fine[inner(window, wide, scenery.scale)].astype(np.float32)
        return fine, lst[inner(window, wide, 1)]
