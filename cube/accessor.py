"""``dataset.thermocube``: the functions on a selection, as methods of it.

Registered when a cube's data set is opened; ``import cube.accessor`` does it for data sets that
were opened otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr

from cube import select as selections
from cube.quality import Flag, is_valid

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from cube.align import How
    from cube.selection_report import SelectionReport


@xr.register_dataset_accessor("thermocube")  # type: ignore[no-untyped-call]
class Accessor:
    """What can be done with ``imagery(time, band, y, x)`` and ``qc(time, y, x)``. Lazy.

    Parameters
    ----------
    dataset
        A modality of a cube, or a selection of it.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def select(self, **rules: Any) -> xr.Dataset:
        """Choose scenes and bands; see `cube.select.select`."""
        return selections.select(self._dataset, **rules)

    def explain(self, **rules: Any) -> SelectionReport:
        """Say which scenes `select` would leave out, and why; see `cube.select.explain`."""
        return selections.explain(self._dataset, **rules)

    @property
    def report(self) -> SelectionReport:
        """How this selection was made; see `cube.select.report`."""
        return selections.report(self._dataset)

    def mask(self, *flags: str | Flag) -> xr.Dataset:
        """Make pixels with any of these flags missing; see `cube.quality.mask`."""
        return selections.masked(self._dataset, list(flags))

    def align(
        self, other: xr.Dataset, *, tolerance: str = "16D", how: How = "nearest"
    ) -> xr.Dataset:
        """Set the bands of another modality beside each scene; see `cube.select.align`."""
        return selections.align(self._dataset, other, tolerance=tolerance, how=how)

    def on_dates_of(
        self, other: xr.Dataset, *, tolerance: str = "16D", how: How = "nearest"
    ) -> xr.Dataset:
        """Keep the scenes that have a partner; see `cube.select.on_dates_of`."""
        return selections.on_dates_of(self._dataset, other, tolerance=tolerance, how=how)

    def stack_dates(self, dates: int, *, max_gap: float | None = None) -> xr.Dataset:
        """Set each scene beside the ones before it; see `cube.select.stack_dates`."""
        return selections.stack_dates(self._dataset, dates, max_gap=max_gap)

    @property
    def valid(self) -> xr.DataArray:
        """Where a pixel may be used: bool (time, y, x)."""
        valid: xr.DataArray = xr.apply_ufunc(
            is_valid, self._dataset["qc"], dask="parallelized", output_dtypes=[bool]
        )
        return valid

    @property
    def grid(self) -> GeoBox:
        """The grid that the pixels lie on."""
        from cube.grid import grid_of

        return grid_of(self._dataset)
