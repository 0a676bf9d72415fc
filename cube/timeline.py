"""Scenes on the time axis: a modality's arrays, kept in order of time whatever comes when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.bands import MODALITIES, Band
from cube.encoding import Encoded
from cube.errors import StoreError
from cube.grid import to_attrs
from cube.quality import FLAG_ATTRS, NO_PRODUCT_QC, Flag
from cube.scene import Coverage, Reading

if TYPE_CHECKING:
    import icechunk
    import xarray as xr
    import zarr
    from odc.geo.geobox import GeoBox

CHUNK = 256
"""Side of a spatial chunk in pixels: the unit of writing is one scene x one chunk."""

LAYERS = ("imagery", "qc", "product_qc")

SCENE_COORDS: dict[str, dict[str, Any]] = {
    "granules": {"long_name": "granules of the scene, separated by spaces"},
    "platform": {"long_name": "platform", "standard_name": "platform_name"},
    "cloud_fraction": {"long_name": "cloudy share of the measured pixels", "units": "1"},
    "bad_fraction": {"long_name": "otherwise invalid share of the measured pixels", "units": "1"},
    "valid_fraction": {"long_name": "valid share of the region", "units": "1"},
    "sun_elevation": {
        "long_name": "sun elevation at the region's centre",
        "standard_name": "solar_elevation_angle",
        "units": "degree",
    },
    "local_solar_time": {"long_name": "apparent solar time at the region's centre", "units": "h"},
}
_TEXT = ("granules", "platform")


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What is written for one scene."""

    time: datetime
    reading: Reading | Encoded
    granules: tuple[str, ...]
    platform: str
    coverage: Coverage
    sun_elevation: float
    local_solar_time: float

    @property
    def coords(self) -> dict[str, str | float]:
        """Values of the scene coordinates, by name."""
        return {
            "granules": " ".join(self.granules),
            "platform": self.platform,
            "cloud_fraction": self.coverage.cloud_fraction,
            "bad_fraction": self.coverage.bad_fraction,
            "valid_fraction": self.coverage.valid_fraction,
            "sun_elevation": self.sun_elevation,
            "local_solar_time": self.local_solar_time,
        }


def milliseconds(time: datetime) -> int:
    """A time as the cube keeps it: whole milliseconds since 1970, UTC."""
    return round(time.astimezone(UTC).timestamp() * 1000)


def codecs() -> tuple[Any, ...]:
    """The compressors of every array: zstd with shuffle, then a checksum.

    Without the checksum a flipped bit inside a zstd chunk comes back as data; with it, it raises.
    """
    from zarr.codecs import BloscCodec, Crc32cCodec

    return (BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec())


def create(session: icechunk.Session, modality: str, bands: Sequence[Band], grid: GeoBox) -> None:
    """Write the empty arrays and coordinates of a modality's group."""
    template = _template(modality, bands, grid)
    side_y, side_x = (min(CHUNK, side) for side in grid.shape)
    space = (side_y, side_x)
    encoding: dict[str, dict[str, Any]] = {
        "imagery": {"chunks": (1, len(bands), *space), "fill_value": np.nan},
        "qc": {"chunks": (1, *space), "fill_value": int(Flag.MISSING)},
        "product_qc": {"chunks": (1, *space), "fill_value": NO_PRODUCT_QC},
        "time": {
            "units": "milliseconds since 1970-01-01",
            "calendar": "proleptic_gregorian",
            "dtype": "int64",
            "chunks": (4096,),
        },
    }
    for name in SCENE_COORDS:
        encoding[name] = {"chunks": (4096,)}
    for variable in template.variables:
        encoding.setdefault(str(variable), {})["compressors"] = codecs()
    template.to_zarr(
        session.store, group=modality, mode="w-", encoding=encoding, consolidated=False
    )


def _template(modality: str, bands: Sequence[Band], grid: GeoBox) -> xr.Dataset:
    import xarray as xr
    from odc.geo.xr import xr_coords

    height, width = grid.shape
    text = np.dtypes.StringDType()
    pixels = {"grid_mapping": "spatial_ref"}
    layers = {
        "imagery": (
            ("time", "band", "y", "x"),
            np.empty((0, len(bands), height, width), np.float32),
            {"long_name": MODALITIES[modality].title, "ancillary_variables": "qc", **pixels},
        ),
        "qc": (("time", "y", "x"), np.empty((0, height, width), np.uint8), FLAG_ATTRS | pixels),
        "product_qc": (
            ("time", "y", "x"),
            np.empty((0, height, width), np.int32),
            {
                "long_name": "quality word as delivered by the product",
                "comment": f"{NO_PRODUCT_QC} where the product gave none",
                **pixels,
            },
        ),
    }
    coords: dict[str, Any] = {
        "time": (
            "time",
            np.empty(0, "datetime64[ns]"),
            {"standard_name": "time", "long_name": "start of the overpass, UTC"},
        ),
        "band": ("band", np.array([band.name for band in bands], text)),
        "band_units": ("band", np.array([band.units for band in bands], text)),
        "band_long_name": ("band", np.array([band.long_name for band in bands], text)),
        **{str(name): value for name, value in xr_coords(grid).items()},
    }
    for name, attrs in SCENE_COORDS.items():
        empty = np.empty(0, text) if name in _TEXT else np.empty(0, np.float64)
        coords[name] = ("time", empty, attrs)
    attrs = {"title": MODALITIES[modality].title, "modality": modality, "Conventions": "CF-1.11"}
    return xr.Dataset(layers, coords, {**attrs, **to_attrs(grid)})


def apply(
    session: icechunk.Session, modality: str, remove: Iterable[datetime], insert: Sequence[Step]
) -> None:
    """Take scenes out of a group and put scenes in, keeping it in order of time.

    Scenes that only change place are not rewritten: their chunks are re-indexed, so a late scene
    costs no more than a new one.

    Parameters
    ----------
    session
        Writable; nothing is visible to readers before it commits.
    modality
        Name of the group.
    remove
        Times to take out; times that are not there are ignored.
    insert
        Scenes to put in, in any order.

    Raises
    ------
    StoreError
        If two scenes would stand at the same time.
    """
    group = _Group(session, modality)
    old = group.values("time")
    gone = {milliseconds(time) for time in remove}
    kept = [int(time) for time in old if int(time) not in gone]
    steps = {milliseconds(step.time): step for step in insert}
    if len(steps) < len(insert) or steps.keys() & set(kept):
        clash = sorted(steps.keys() & set(kept)) or sorted(steps)
        raise StoreError(
            f"two {modality} scenes would stand at {datetime.fromtimestamp(clash[0] / 1000, UTC)}; "
            "every scene needs a time of its own"
        )
    new = sorted([*kept, *steps])
    place = {time: index for index, time in enumerate(new)}
    moves = {index: place[int(time)] for index, time in enumerate(old) if int(time) in place}
    # A removed time that is also inserted is no move: the place is written anew.
    moves = {index: target for index, target in moves.items() if int(old[index]) not in gone}
    group.move(len(old), len(new), moves)
    for time, step in steps.items():
        group.write_scene(place[time], step.reading)
    group.write_coords(old, new, steps)


def read_step(session: icechunk.Session, modality: str, time: datetime) -> Reading:
    """Read one stored scene back as a reading.

    Raises
    ------
    StoreError
        If there is no scene at that time.
    """
    group = _Group(session, modality)
    found = np.flatnonzero(group.values("time") == milliseconds(time))
    if found.size == 0:
        raise StoreError(f"the cube holds no {modality} scene at {time}")
    return Reading(*(np.asarray(group.array(name)[int(found[0])]) for name in LAYERS))


class _Group:
    """The arrays of one modality's group in a session."""

    def __init__(self, session: icechunk.Session, modality: str) -> None:
        self._session = session
        self.modality = modality

    def array(self, name: str) -> zarr.Array[Any]:
        """Open an array, for writing if the session allows it.

        Chunks that hold nothing but fill are written all the same: a chunk that is absent then
        always means damage, and re-indexing never meets a hole.
        """
        import zarr

        return zarr.open_array(
            self._session.store,
            path=f"{self.modality}/{name}",
            mode="r" if self._session.read_only else "r+",
            config={"write_empty_chunks": True},
        )

    def values(self, name: str) -> np.ndarray:
        """All values of a one-dimensional array."""
        return np.asarray(self.array(name)[:])

    def move(self, before: int, after: int, moves: dict[int, int]) -> None:
        """Give the scenes that stay their new places, without rewriting them."""
        moved = any(source != target for source, target in moves.items())

        def forward(index: Iterable[int]) -> list[int] | None:
            time, *rest = index
            # A removed scene's chunks stay where they are: each place is overwritten by what
            # moves or is written there, or falls off the end.
            return [moves[time], *rest] if time in moves else None

        for name in LAYERS:
            layer = self.array(name)
            if after > before:
                layer.resize((after, *layer.shape[1:]))
            if moved:
                self._session.reindex_array(f"/{self.modality}/{name}", forward)
            if after < before:
                layer.resize((after, *layer.shape[1:]))

    def write_scene(self, index: int, reading: Reading | Encoded) -> None:
        """Fill one place on the time axis."""
        if isinstance(reading, Encoded):
            reading.place(self._session, self.modality, index)
            return
        for name in LAYERS:
            self.array(name)[index] = getattr(reading, name)

    def write_coords(self, old: np.ndarray, new: Sequence[int], steps: dict[int, Step]) -> None:
        """Rewrite the coordinates on the time axis: small, and read at once by every reader."""
        times = np.array(new, dtype=np.int64)
        fresh = [index for index, time in enumerate(new) if time in steps]
        kept = np.ones(len(new), dtype=bool)
        kept[fresh] = False
        # Both are in order of time, so what is kept stands in the same order in either.
        source = np.isin(old, times[kept])
        for name in SCENE_COORDS:
            before = self.values(name)
            values = np.empty(len(new), dtype=before.dtype)
            values[kept] = before[source]
            for index in fresh:
                values[index] = steps[new[index]].coords[name]
            self._replace(name, values)
        self._replace("time", times)

    def _replace(self, name: str, values: np.ndarray) -> None:
        array = self.array(name)
        array.resize(values.shape)
        array[:] = values
