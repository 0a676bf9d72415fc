"""ASTER surface kinetic temperature (AST_08) as delivered, and GeoTIFFs derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cube.errors import GranuleError
from cube.quality import Flag
from cube.scene import Granule, Reading
from cube.sources.aster_names import AsterFile, LayerName, parse
from cube.sources.aster_swath import read_swath
from cube.sources.base import Layer, ListedSettings, SourceSettings
from cube.sources.modis_hdf import require_pyhdf
from cube.sources.modis_names import Encoding
from cube.sources.planes import Plane, lay, read_geotiff

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from cube.bands import Band
    from cube.sources.base import Period

# ASTER Higher-Level Product User Guide, surface kinetic temperature: 0.1 K, 0 is fill.
KELVIN = Encoding(0.1, (0.1,), 0)

FLOOR = 2000
"""DN (200 K) that stands where there was nothing to retrieve from: at the oblique edges of the
scene, in wedges of constant value that run along its whole side. Every one of the 63 scenes of the
LST super-resolution data base has them, 12 000 pixels of 250 m each, one in seven of those that
are not 0."""

# A file of floats was interpolated, and FLOOR with it: 1999.9995 is FLOOR as well, and the pixels
# next to fill lie somewhere between it and the land. In the 250 m files of the LST
# super-resolution data base the last such pixel is the third from the fill.
_FLOOR_TOLERANCE = 20.0
_INTERPOLATED_BORDER = 3

# Layer to data field of the swath.
_FIELDS = {"SKT": "KineticTemperature", "QA": "QA_DataPlane"}


class AsterGranule(ListedSettings):
    """A granule of AST_08 with files of other names."""

    layers: dict[LayerName, Path] = Field(min_length=1)
    """``SKT`` (and ``QA``) or ``HDF`` to file, relative to the source's folder."""


class AsterSource(SourceSettings):
    """A folder of AST_08, HDF swaths or GeoTIFFs of one layer; sub-folders are searched too.

    Recognised are the names of version 3 (``AST_08_003<MMDDYYYYhhmmss>_<production>_<number>.hdf``
    and ``….SurfaceKineticTemperature.KineticTemperature.tif``) and version 4 (``…_SKT.tif``), with
    the first quality plane beside them. Other files that begin with ``AST_08_`` come back from
    `search` as granules with a defect. Where a delivery lies in the folder as HDF and as GeoTIFFs,
    the HDF is read.

    Examples
    --------
    ::

        [[sources]]
        kind = "aster"
        name = "aster"
        path = "aster"

        [[sources.granules]]
        id = "validation-0"
        time = 2004-07-30T10:52:00Z
        layers = { SKT = "0_aster_250m.tif" }
    """

    modality: ClassVar[str] = "aster_lst"

    kind: Literal["aster"]
    border: int | None = Field(default=None, ge=0)
    """How many pixels next to fill are left out; by default 0 for files of integers, and for
    files of floats, which were interpolated across the fill, 3."""
    granules: tuple[AsterGranule, ...] = ()
    """Granules with files of other names, besides those that are recognised."""

    @model_validator(mode="after")
    def _unique(self) -> Self:
        ids = [entry.id for entry in self.granules]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"granule {twice[0]!r} is listed twice")
        return self

    def search(self, grid: GeoBox, period: Period) -> list[Granule]:
        """Find the granules of the period; where they lie shows only when they are read.

        Raises
        ------
        SourceError
            If the folder is not there or cannot be listed; ``missing_package`` if there are
            HDF4 files and pyhdf is not installed.
        """
        listed = [self._listed(entry) for entry in self.granules]
        taken = {Path(href).resolve() for granule in listed for href in granule.assets.values()}
        files = [path for path in self._files() if path.resolve() not in taken]
        granules = listed + self._recognised(files)
        return [one for one in granules if one.time is None or one.time in period]

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Read a granule onto the grid: LST in K.

        Fill is DN 0 and `FLOOR`. Where the first quality plane is not 0, its word for good, the
        pixel is ``POOR_QUALITY`` and takes no part in its neighbours' averages; ASTER's plane
        does not tell cloud apart reliably, so that none is flagged. Without the plane, pixels
        are ``UNSCREENED``.

        Raises
        ------
        GranuleError
            As `cube.sources.base.read_layer`, and ``wrong_layer`` (another encoding, most values
            out of the band's range, or a quality plane that lies elsewhere).
        """
        (band,) = bands
        where = f"granule {granule.id}"
        plane, box, quality = _planes(granule)
        KELVIN.check(plane.attributes, where, required=False)
        good = np.ones(box.shape, bool) if quality is None else quality.values == 0
        values = plane.values.astype(np.float32)
        values[_fill(plane.values, self.border) | ~good] = np.nan
        image = lay(
            values,
            box,
            grid,
            resampling=band.resampling,
            scale=KELVIN.factor,
            valid=(band.valid_min, band.valid_max),
            layer="SKT",
        )
        _require_kelvin(image, band, where)
        qc = np.where(image.covered, 0, np.uint8(Flag.MISSING)).astype(np.uint8)
        qc[image.out_of_range] |= np.uint8(Flag.OUT_OF_RANGE)
        if quality is None:
            qc[image.covered] |= np.uint8(Flag.UNSCREENED)
            return Reading.build([image.values], qc)
        word = lay(quality.values, box, grid, resampling="nearest", layer="QA")
        qc[word.covered & (word.values != 0)] = int(Flag.POOR_QUALITY)
        return Reading.build([image.values], qc, word.values)

    def _files(self) -> list[Path]:
        found = self.files(
            lambda name: (
                name.startswith("AST_08_") and name.lower().endswith((".tif", ".tiff", ".hdf"))
            )
        )
        if any(path.suffix.lower() == ".hdf" for path in found):
            require_pyhdf(f"source {self.name!r}")
        return found

    def _listed(self, entry: AsterGranule) -> Granule:
        paths = {str(layer): self.location / path for layer, path in entry.layers.items()}
        gone = [str(path) for path in paths.values() if not path.is_file()]
        defect = f"the region file lists {gone[0]}, which is not there" if gone else ""
        return self._granule(entry.id, entry.id, "", entry.time, paths, defect)

    def _recognised(self, files: Sequence[Path]) -> list[Granule]:
        names: dict[str, AsterFile] = {}
        layers: dict[str, dict[str, Path]] = {}
        strangers = []
        for path in files:
            try:
                file = parse(path.name)
            except ValueError as error:
                strangers.append(self._stranger(path, str(error)))
                continue
            names[file.granule] = file
            ours = layers.setdefault(file.granule, {})
            if file.layer:
                ours.setdefault(file.layer, path)
        return [
            self._granule(name, file.key, file.version, file.time, _best(layers[name]))
            for name, file in sorted(names.items())
        ] + strangers

    def _stranger(self, path: Path, reason: str) -> Granule:
        name = path.relative_to(self.location).as_posix()
        defect = f"{reason}; if it is to be used, list it under [[sources.granules]]"
        return self._granule(name, name, "", None, {"file": path}, defect)

    def _granule(
        self,
        name: str,
        key: str,
        version: str,
        time: datetime | None,
        paths: Mapping[str, Path],
        defect: str = "",
    ) -> Granule:
        whole = {"SKT", "HDF"} & set(paths)
        lacks = "" if whole else f"layer SKT missing; there is only {', '.join(paths)}"
        return Granule(
            id=name,
            key=key,
            version=version,
            source=self.name,
            modality=self.modality,
            platform="Terra",
            time=time,
            assets={layer: str(path) for layer, path in sorted(paths.items())},
            size=sum(path.stat().st_size for path in paths.values() if path.is_file()),
            defect=defect or lacks,
        )


def _best(layers: Mapping[str, Path]) -> Mapping[str, Path]:
    return {"HDF": layers["HDF"]} if "HDF" in layers else layers


def _planes(granule: Granule) -> tuple[Plane, GeoBox, Plane | None]:
    """Temperature, where it lies, and its quality plane if there is one."""
    if "HDF" in granule.assets:
        planes, box = read_swath(granule.assets["HDF"], tuple(_FIELDS.values()))
        return planes[_FIELDS["SKT"]], box, planes[_FIELDS["QA"]]
    plane, box = read_geotiff(granule.assets["SKT"], "SKT")
    if "QA" not in granule.assets:
        return plane, box, None
    quality, place = read_geotiff(granule.assets["QA"], "QA")
    if place != box:
        raise GranuleError(
            f"granule {granule.id}: the quality plane lies on {place.shape} pixels at "
            f"{place.affine[2]:.0f}, {place.affine[5]:.0f}, the temperature on {box.shape} at "
            f"{box.affine[2]:.0f}, {box.affine[5]:.0f}; they are of different deliveries",
            kind="wrong_layer",
        )
    return plane, box, quality


def _fill(values: np.ndarray, border: int | None) -> np.ndarray:
    """Where a layer holds no temperature, its own integers or interpolated floats."""
    from scipy.ndimage import binary_dilation

    whole = values.dtype.kind in "iu"
    floor = values == FLOOR if whole else np.abs(values - FLOOR) < _FLOOR_TOLERANCE
    # Not `<= 0`, which NaN is not.
    fill: np.ndarray = ~(values > 0) | floor
    reach = border if border is not None else 0 if whole else _INTERPOLATED_BORDER
    if reach == 0:
        return fill
    grown: np.ndarray = binary_dilation(fill, np.ones((3, 3), bool), iterations=reach)
    return grown


def _require_kelvin(image: Layer, band: Band, where: str) -> None:
    low, median, high = image.seen
    if image.covered.any() and not band.valid_min <= median <= band.valid_max:
        raise GranuleError(
            f"{where}: the layer holds {low:g} to {high:g} (median {median:g}) K after scaling by "
            f"{KELVIN.factor:g}, but {band.long_name} lies within {band.valid_min:g} to "
            f"{band.valid_max:g} K; is it another layer, or in other units?",
            kind="wrong_layer",
        )
