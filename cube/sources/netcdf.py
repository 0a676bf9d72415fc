"""Scenes that already lie in a NetCDF cube: one granule a time step, dimensions by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cube.bands import MODALITIES
from cube.errors import GranuleError, GridError, LabelError, SourceError
from cube.lithology import CLASS_COUNT
from cube.quality import NO_PRODUCT_QC, Flag, is_valid
from cube.scene import Granule, Reading, utc
from cube.sources.base import Period, SourceSettings
from cube.sources.gridded import (
    NO_WORD,
    FlagVariable,
    band_onto,
    onto,
    open_cube,
    values_of,
)
from cube.sources.placement import Dims, Placement, locate

if TYPE_CHECKING:
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from cube.bands import Band

__all__ = ["Dims", "FlagVariable", "NetcdfSource", "Placement", "netcdf_labels"]


class NetcdfSource(SourceSettings):
    """Scenes of one NetCDF file, or of all ``*.nc`` files of a folder.

    With `variable`, the entries of `bands` are names on that variable's band dimension;
    without it, each names a variable of its own.

    Examples
    --------
    ::

        [[sources]]
        kind = "netcdf"
        name = "study"
        path = "thesis_puertollano.nc"
        platform = "ECOSTRESS"
        variable = "thermal"
        bands = { lst_err = "LST_err", emissivity = "EmisWB" }
        time = "datetime_utc"

        [sources.placement]
        crs = "est_crs"
        upper_left = ["est_upper_left_x", "est_upper_left_y"]
        pixel_size = "pixel_size_m"

        [sources.flags]
        variable = "valid_flag"
        values = { 1 = "poor_quality", 2 = "missing", 3 = "missing" }
    """

    kind: Literal["netcdf"]
    modality: Literal["thermal", "sar", "optical"] = "thermal"
    platform: str
    """Stands on the cube's time axis; scenes of one platform close in time are mosaicked."""
    variable: str | None = None
    bands: dict[str, str] = Field(min_length=1)
    """Band of the cube to name in the file."""
    time: str | None = None
    """Variable with the acquisition times, UTC; by default the time dimension's coordinate."""
    dims: Dims = Dims()
    placement: Placement | None = None
    """By default the file's own CF grid mapping with its x and y coordinates."""
    where: dict[str, int] = Field(default_factory=dict)
    """Only the time steps at which these variables have these values: of a file with images of
    several grids, those of one. Such a file takes a source with a `placement` for each grid."""
    flags: FlagVariable | None = None
    """Without it pixels are flagged ``unscreened``: only fill and range are checked."""

    @model_validator(mode="after")
    def _known_bands(self) -> Self:
        known = MODALITIES[self.modality].bands
        for band in self.bands:
            if band not in known:
                raise ValueError(
                    f"modality {self.modality!r} has no band {band!r}; its bands are "
                    + ", ".join(known)
                )
        return self

    def search(self, grid: GeoBox, period: Period) -> list[Granule]:
        """List the time steps of the period; steps without a time come with a defect.

        Raises
        ------
        SourceError
            If the file is not there, is no NetCDF, or lacks what the region file names. In a
            folder, a file that cannot be opened is a granule with a defect.
        """
        granules: list[Granule] = []
        for file in self._files():
            try:
                with open_cube(file) as dataset:
                    self._check(dataset, file)
                    granules += self._steps(dataset, file)
            except GranuleError as error:
                if file == self.location:
                    raise
                granules.append(self._granule(file, file.stem, defect=str(error)))
        return [step for step in granules if step.time is None or step.time in period]

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Read one time step onto the grid; pixels that lie on it already are not resampled.

        Raises
        ------
        GranuleError
            ``missing_layer``, ``wrong_layer`` (most values out of the band's range),
            ``bad_quality_word`` or ``unreadable``.
        """
        absent = [band.name for band in bands if band.name not in self.bands]
        if absent:
            raise GranuleError(
                f"{granule.id}: the region wants band {absent[0]!r}, but source {self.name!r} "
                f"maps only {', '.join(self.bands)}; add it to the source's `bands`",
                kind="missing_layer",
            )
        with open_cube(Path(granule.assets["cube"])) as dataset:
            place = locate(dataset, self._variable(bands[0].name), self.dims, self.placement)
            step = dataset.isel({self.dims.time: int(granule.extra["index"])})
            layers = [self._layer(step, band.name, granule.id) for band in bands]
            word = self._word(step, granule.id)
        flags, product_qc = self._flags(word, place, grid, granule.id)
        usable = True if word is None else is_valid(self._decode(word, granule.id))
        values = []
        for band, layer in zip(bands, layers, strict=True):
            layer = np.where(usable, layer, np.nan).astype(np.float32)
            value, outside = band_onto(layer, band, place, grid, granule.id)
            flags[outside] |= np.uint8(Flag.OUT_OF_RANGE)
            values.append(value)
        return Reading.build(values, flags, product_qc)

    def _files(self) -> list[Path]:
        location = self.location
        files = [location] if location.is_file() else sorted(location.glob("*.nc"))
        if not files:
            raise SourceError(
                f"source {self.name!r}: there is no NetCDF file at {location}; "
                "check `path` in the region file"
            )
        return files

    def _variable(self, band: str) -> str:
        return self.variable or self.bands[band]

    def _check(self, dataset: xr.Dataset, file: Path) -> None:
        dims = self.dims
        plane = {dims.time, dims.y, dims.x}
        expected = {self._variable(band): plane for band in self.bands}
        if self.variable:
            expected = {self.variable: plane | {dims.band}}
        if self.flags:
            expected[self.flags.variable] = plane
        expected |= {name: {dims.time} for name in (self.time or dims.time, *self.where)}
        for name, wanted in expected.items():
            self._require(name in dataset.variables, file, f"has no variable {name!r}", dataset)
            found = set(dataset[name].dims)
            problem = f"has {name!r} on {sorted(map(str, found))}, not on {sorted(wanted)}"
            self._require(found == wanted, file, f"{problem}; set `dims`", dataset)
        if self.variable:
            names = dataset[dims.band].astype(str).values.tolist() if dims.band in dataset else []
            for name in self.bands.values():
                known = f"has no {name!r} on {dims.band!r}, only {names}"
                self._require(names.count(name) == 1, file, known, dataset)
        dated = dataset[self.time or dims.time].dtype.kind == "M"
        self._require(dated, file, f"has no dates in {self.time or dims.time!r}", dataset)
        try:
            locate(dataset, self._variable(next(iter(self.bands))), dims, self.placement)
        except GridError as error:
            raise SourceError(f"source {self.name!r}: {file.name}: {error}") from error

    def _require(self, holds: bool, file: Path, problem: str, dataset: xr.Dataset) -> None:
        if not holds:
            raise SourceError(
                f"source {self.name!r}: {file.name} {problem}. "
                f"Its variables: {', '.join(map(str, dataset.variables))}"
            )

    def _steps(self, dataset: xr.Dataset, file: Path) -> list[Granule]:
        times = dataset[self.time or self.dims.time].values
        size = file.stat().st_size // max(len(times), 1)
        wanted = np.ones(len(times), bool)
        for name, value in self.where.items():
            wanted &= dataset[name].values == value
        steps = []
        for index in np.flatnonzero(wanted).tolist():
            value = times[index]
            extra = {"index": index, "size": size}
            if np.isnat(value):
                defect = f"no acquisition time: step {index} of {file.name} is NaT"
                steps.append(self._granule(file, f"{file.stem}:{index:04d}", defect, extra))
                continue
            time = utc(value.astype("datetime64[us]").item())
            name = f"{file.stem}:{index:04d}:{time:%Y%m%dT%H%M%S}"
            steps.append(self._granule(file, name, "", extra | {"time": time}))
        return steps

    def _granule(
        self, file: Path, name: str, defect: str = "", extra: dict[str, Any] | None = None
    ) -> Granule:
        extra = extra or {}
        return Granule(
            id=name,
            key=name,
            version="0",
            source=self.name,
            modality=self.modality,
            platform=self.platform,
            time=extra.get("time"),
            assets={"cube": str(file)},
            size=extra.get("size", file.stat().st_size),
            defect=defect,
            extra=extra,
        )

    def _layer(self, step: xr.Dataset, band: str, where: str) -> np.ndarray:
        array = step[self._variable(band)]
        if self.variable:
            array = array.assign_coords({self.dims.band: array[self.dims.band].astype(str)})
            array = array.sel({self.dims.band: self.bands[band]})
        return values_of(array, self.dims, where)

    def _word(self, step: xr.Dataset, where: str) -> np.ndarray | None:
        if self.flags is None:
            return None
        word = values_of(step[self.flags.variable], self.dims, where)
        known = np.isfinite(word)
        whole = np.full(word.shape, NO_WORD, np.int32)
        whole[known] = word[known]
        if (whole[known] != word[known]).any():
            raise GranuleError(
                f"{where}: {self.flags.variable} holds fractions; flags were interpolated",
                kind="bad_quality_word",
            )
        return whole

    def _decode(self, word: np.ndarray, where: str) -> np.ndarray:
        assert self.flags is not None
        return self.flags.decode(word, where)

    def _flags(
        self, word: np.ndarray | None, place: GeoBox, grid: GeoBox, where: str
    ) -> tuple[np.ndarray, np.ndarray | None]:
        if word is None:
            return np.full(grid.shape, int(Flag.UNSCREENED), np.uint8), None
        moved = onto(word, place, grid, "nearest", fill=NO_WORD)
        flags = self._decode(moved, where)
        return flags, np.where(moved == NO_WORD, NO_PRODUCT_QC, moved)


def netcdf_labels(
    path: Path,
    variable: str,
    grid: GeoBox,
    *,
    dims: Dims | None = None,
    placement: Placement | None = None,
) -> np.ndarray:
    """Read a map of lithology classes from a NetCDF file onto a grid, by nearest neighbour.

    Parameters
    ----------
    path, variable
        File and (y, x) variable; whole numbers 0..13, NaN where there is no class.
    grid
        Target. Labels of another grid are moved by their georeference, never by pixel index.
    dims, placement
        As in `NetcdfSource`.

    Returns
    -------
    ndarray of uint8, (y, x)
        Class codes of `cube.lithology.Lithology`; 0 where the map has none or does not reach.

    Raises
    ------
    LabelError
        If the variable is not there, is no (y, x) map, holds other values, or cannot be placed.
    """
    dims = dims or Dims()
    try:
        with open_cube(path) as dataset:
            found = list(map(str, dataset.variables))
            if variable not in found:
                raise LabelError(
                    f"{path.name} has no variable {variable!r}, only {', '.join(found)}"
                )
            array = dataset[variable]
            if set(array.dims) != {dims.y, dims.x}:
                raise LabelError(
                    f"{path.name}: {variable!r} lies on {', '.join(map(str, array.dims))}; a label "
                    f"map lies on {dims.y} and {dims.x}"
                )
            place = locate(dataset, variable, dims, placement)
            values = values_of(array, dims, path.name)
    except (GranuleError, GridError) as error:
        raise LabelError(f"the labels cannot be read: {error}") from error
    classes = np.where(np.isnan(values), 0, values)
    strange = classes[(classes != np.round(classes)) | (classes < 0) | (classes >= CLASS_COUNT)]
    if strange.size:
        raise LabelError(
            f"{path.name}: {variable!r} holds {strange[0]:g} ({strange.size} such pixels); "
            f"classes are whole numbers 0 to {CLASS_COUNT - 1}"
        )
    return onto(classes.astype(np.uint8), place, grid, "nearest", 0)
