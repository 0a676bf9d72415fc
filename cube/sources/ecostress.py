"""ECOSTRESS L2 and L2T LSTE from local folders: AppEEARS extracts and layers of tiles."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from cube.errors import GranuleError
from cube.quality import LST_ACCURACY_LIMITS
from cube.scene import Granule, Reading
from cube.sources.base import ListedSettings, SourceSettings, read_header
from cube.sources.ecostress_layers import read_flags, read_image, require_plausible, screen
from cube.sources.ecostress_names import UNUSED_LAYERS, LayerFile, parse

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from cube.bands import Band
    from cube.sources.base import Period

LayerName = Literal["LST", "LST_err", "EmisWB", "QC", "cloud", "water", "view_zenith"]

REQUIRED_LAYERS = ("LST", "QC", "cloud")


def _known_limit(limit: float) -> float:
    if limit not in LST_ACCURACY_LIMITS:
        raise ValueError(f"the QC word tells 2.0, 1.5 and 1.0 K apart, not {limit:g}")
    return limit


LstErrorLimit = Annotated[float, AfterValidator(_known_limit)]
"""A limit, K, that the QC word can tell."""


class ListedGranule(ListedSettings):
    """A granule of ECOSTRESS with files of other names."""

    layers: dict[LayerName, Path] = Field(min_length=1)
    """Layer to file, relative to the source's folder."""


class EcostressSource(SourceSettings):
    """A folder of ECOSTRESS layers, one file a layer; sub-folders are searched too.

    Files are recognised by their exact names (`cube.sources.ecostress_names.parse`); only the
    extension, ``.tif`` or ``.tiff``, may be in capitals. A file that begins with ``ECO`` (or
    ``eco``) and is not understood comes back from `search` as a granule with a defect, so that
    it is never passed over in silence; other files are none of this source's business. A layer
    that lies in the folder twice is taken once if both files have the same size; else it is a
    defect. Folders behind symbolic links are not entered.
    """

    kind: Literal["ecostress"]
    allow_missing: tuple[Literal["QC", "cloud"], ...] = ()
    """Screening layers a granule may lack; its pixels are then flagged ``UNSCREENED``."""
    max_lst_error: LstErrorLimit | None = None
    """Refuse pixels with a worse LST accuracy by QC: 2.0, 1.5 or 1.0 K."""
    granules: tuple[ListedGranule, ...] = ()
    """Granules with files of other names, besides those that are recognised."""

    @model_validator(mode="after")
    def _unique(self) -> Self:
        ids = [entry.id for entry in self.granules]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"granule {twice[0]!r} is listed twice")
        return self

    @property
    def modality(self) -> str:
        """Always ``thermal``."""
        return "thermal"

    def search(self, grid: GeoBox, period: Period) -> list[Granule]:
        """Find the granules of the period; where they lie shows only when they are read.

        A file that is not understood has no time and is always among them, with its defect.

        Raises
        ------
        SourceError
            If the folder is not there or cannot be listed.
        """
        listed = [self._listed(entry) for entry in self.granules]
        taken = {Path(href).resolve() for granule in listed for href in granule.assets.values()}
        files = [path for path in self._files() if path.resolve() not in taken]
        granules = listed + self._recognised(files)
        return [one for one in granules if one.time is None or one.time in period]

    def read(self, granule: Granule, grid: GeoBox, bands: Sequence[Band]) -> Reading:
        """Read a granule onto the grid: LST in K, emissivity in 1, with common flags.

        Cloud comes from the mask layer alone, for the QC word of Collection 2 holds none. A
        cloudy pixel is ``CLOUD`` whether or not it has a value. Where the QC word is fill,
        nothing was measured (``MISSING``); where it is not, yet a band has no value, the
        retrieval failed (``POOR_QUALITY``), and so it is where there is a value but the cloud
        mask is fill: that pixel was never shown to be clear.

        Raises
        ------
        GranuleError
            A file that cannot be read (see `read_layer`), ``missing_layer``, ``wrong_layer``
            (most values out of the band's range), ``bad_quality_word``.
        """
        images = []
        for band in bands:
            image = read_image(granule, grid, band)
            if not image.overlaps:
                return Reading.empty(len(bands), grid)
            images.append(image)
        word = read_flags(granule, grid, "QC")
        cloud = read_flags(granule, grid, "cloud")
        water = read_flags(granule, grid, "water")
        for band, image in zip(bands, images, strict=True):
            require_plausible(image, band, cloud, granule)
        qc = screen(images, word, cloud, water, self.max_lst_error, f"granule {granule.id}")
        return Reading.build([i.values for i in images], qc, None if word is None else word.values)

    def _files(self) -> list[Path]:
        return self.files(
            lambda name: name.upper().startswith("ECO") and name.lower().endswith((".tif", ".tiff"))
        )

    def _listed(self, entry: ListedGranule) -> Granule:
        paths = {str(layer): self.location / path for layer, path in entry.layers.items()}
        gone = [str(path) for path in paths.values() if not path.is_file()]
        defect = f"the region file lists {gone[0]}, which is not there" if gone else ""
        return self._granule(entry.id, entry.id, "", entry.time, paths, {}, defect)

    def _recognised(self, files: Sequence[Path]) -> list[Granule]:
        names: dict[str, LayerFile] = {}
        layers: dict[str, dict[str, Path]] = {}
        defects: dict[str, str] = {}
        strangers = []
        for path in files:
            try:
                file = parse(path.stem)
            except ValueError as error:
                strangers.append(self._stranger(path, str(error)))
                continue
            names.setdefault(file.granule, file)
            ours = layers.setdefault(file.granule, {})
            if file.layer in UNUSED_LAYERS:
                continue
            first = ours.setdefault(file.layer, path)
            if first.stat().st_size != path.stat().st_size:
                defects[file.granule] = f"two different files of one name: {first} and {path}"
        return [
            self._found(names[name], paths, defects.get(name, ""))
            for name, paths in sorted(layers.items())
        ] + strangers

    def _found(self, file: LayerFile, paths: dict[str, Path], defect: str) -> Granule:
        extra, version = dict(file.extra), file.version
        if "build" not in extra and paths:
            extra |= _tags(paths.get("LST") or next(iter(paths.values())))
            version = f"{version}_{extra.get('build', '')}"
        return self._granule(file.granule, file.key, version, file.time, paths, extra, defect)

    def _granule(
        self,
        name: str,
        key: str,
        version: str,
        time: datetime | None,
        paths: Mapping[str, Path],
        extra: Mapping[str, str],
        defect: str,
    ) -> Granule:
        return Granule(
            id=name,
            key=key,
            version=version,
            source=self.name,
            modality=self.modality,
            platform="ISS",
            time=time,
            assets={layer: str(path) for layer, path in sorted(paths.items())},
            size=sum(path.stat().st_size for path in paths.values() if path.is_file()),
            defect=defect or self._lacks(paths),
            extra=extra,
        )

    def lacking(self, layers: Collection[str]) -> list[str]:
        """Layers a granule must have and that are not among these."""
        return [
            layer
            for layer in REQUIRED_LAYERS
            if layer not in layers and layer not in self.allow_missing
        ]

    def _lacks(self, paths: Mapping[str, Path]) -> str:
        lacking = self.lacking(paths)
        if not lacking:
            return ""
        there = ", ".join(sorted(paths)) or "no layer of use"
        return f"layer {' and '.join(lacking)} missing; there is only {there}"

    def _stranger(self, path: Path, reason: str) -> Granule:
        name = path.relative_to(self.location).as_posix()
        defect = f"{reason}. If it is to be used, list it under [[sources.granules]]"
        return self._granule(name, name, "", None, {"file": path}, {}, defect)


def _tags(path: Path) -> dict[str, str]:
    try:
        tags = read_header(path).tags
    except GranuleError:
        # Reading the granule will say what is wrong with the file.
        return {}
    wanted = {"build_id": "build", "orbit_number": "orbit", "scene_id": "scene"}
    return {name: tags[tag] for tag, name in wanted.items() if tag in tags}
