"""What `thermocube sharpen run` reads of a cube: coarse LST, and the NDVI nearest to it in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import GridError, SelectionError
from cube.grid import describe
from cube.store import Cube
from models.sharpening.blocks import Array
from pipelines.lattice import Window

if TYPE_CHECKING:
    import icechunk
    import xarray as xr
    from odc.geo.geobox import GeoBox

LST, NDVI = "modis_lst", "modis_ndvi"


@dataclass(frozen=True)
class Scenery:
    """Scenes to sharpen. Small enough to travel to a worker, which reads for itself."""

    repository: icechunk.Repository
    location: str
    snapshot: str
    wanted: Mapping[str, Any]
    """Rules by which LST scenes are chosen."""
    partners: tuple[tuple[int, ...], ...]
    """For each scene: indices of NDVI scenes, the nearest in time first."""
    scale: int
    shape: tuple[int, int]
    """Of the LST, coarse pixels."""
    fine_shape: tuple[int, int]
    """Of the NDVI, fine pixels; LST may reach beyond."""

    @classmethod
    def of(cls, cube: Cube, wanted: Mapping[str, Any], days: float) -> Scenery:
        """Choose scenes and their NDVI; reads no pixel.

        Parameters
        ----------
        cube
            Read at its snapshot.
        wanted
            See `cube.store.Cube.select`.
        days
            NDVI may be so much older or newer than the LST.

        Raises
        ------
        SelectionError
            If the cube lacks LST or NDVI, or no scene has both.
        GridError
            If the two grids do not nest.
        """
        pinned = cube.at(cube.snapshot)
        coarse = pinned.select(LST, bands=["lst"], chunks=None, **wanted)
        fine = pinned.select(NDVI, bands=["ndvi"], chunks=None)
        scale = nesting(pinned.grid_of(LST), pinned.grid_of(NDVI))
        partners = tuple(
            tuple(_nearest(time, fine["time"].values, days)) for time in coarse["time"].values
        )
        if not any(partners):
            raise SelectionError(
                f"cube {cube.location}: no scene of {LST} has an NDVI within {days:g} days; allow "
                "more days, or ingest NDVI of that time"
            )
        shapes = [(data.sizes["y"], data.sizes["x"]) for data in (coarse, fine)]
        return cls(
            pinned.repository,
            pinned.location,
            pinned.snapshot,
            dict(wanted),
            partners,
            scale,
            shapes[0],
            shapes[1],
        )

    @cached_property
    def lst(self) -> xr.Dataset:
        """The scenes, lazily."""
        return self._cube.select(LST, bands=["lst"], chunks=None, **self.wanted)

    @cached_property
    def ndvi(self) -> xr.Dataset:
        """All scenes of NDVI, lazily."""
        return self._cube.select(NDVI, bands=["ndvi"], chunks=None)

    @cached_property
    def _cube(self) -> Cube:
        return Cube(self.repository, self.location, self.snapshot)

    def fine_window(self, window: Window) -> Window:
        """A window in coarse pixels as one of fine pixels, as far as the NDVI's grid reaches."""
        rows, columns = (
            slice(min(self.scale * part.start, size), min(self.scale * part.stop, size))
            for part, size in zip(window, self.fine_shape, strict=True)
        )
        return rows, columns

    def read(self, scene: int, window: Window) -> tuple[Array, Array]:
        """LST and NDVI of a window in coarse pixels; NaN where missing, or beyond the NDVI's grid.

        A pixel's NDVI is the nearest in time that is there.
        """
        rows, columns = window
        coarse = self.lst["imagery"][scene, 0, rows, columns].values.astype(np.float64)
        fine = np.full(tuple(self.scale * size for size in coarse.shape), np.nan)
        near = self.fine_window(window)
        there = fine[: near[0].stop - near[0].start, : near[1].stop - near[1].start]
        for partner in self.partners[scene]:
            found = self.ndvi["imagery"][partner, 0, near[0], near[1]].values
            np.copyto(there, found, where=np.isnan(there))
            if not np.isnan(there).any():
                break
        return coarse, fine

    def __getstate__(self) -> dict[str, Any]:
        """Without what was opened."""
        kept = set(self.__dataclass_fields__)
        return {name: value for name, value in self.__dict__.items() if name in kept}


def nesting(coarse: GeoBox, fine: GeoBox) -> int:
    """Fine pixels along one side of a coarse one.

    Raises
    ------
    GridError
        If the grids do not share CRS and upper-left corner, or the ratio is not whole.
    """
    ratio = abs(coarse.resolution.x) / abs(fine.resolution.x)
    scale = round(ratio)
    corners = [np.array([box.boundingbox.left, box.boundingbox.top]) for box in (coarse, fine)]
    apart = float(np.abs(corners[0] - corners[1]).max())
    off = scale < 2 or abs(ratio - scale) > 1e-6 or apart > 1e-3 * abs(fine.resolution.x)
    if off or coarse.crs != fine.crs:
        raise GridError(
            f"{NDVI} does not nest in {LST}: {describe(fine)} against {describe(coarse)}; give "
            "the two resolutions of which one is a whole multiple, 2 or more, of the other"
        )
    return scale


def _nearest(time: np.datetime64, others: np.ndarray, days: float) -> list[int]:
    apart = np.abs(others - time) / np.timedelta64(1, "D")
    order = np.argsort(apart, kind="stable")
    return [int(row) for row in order if apart[row] <= days]
