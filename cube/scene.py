"""Granules as a source finds them, readings on the region's grid, and the scenes they make."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.quality import BAD, NO_PRODUCT_QC, Flag, is_valid

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox


@dataclass(frozen=True, slots=True)
class Granule:
    """One file set of one acquisition, as found by a source; nothing is read yet."""

    id: str
    """The product's own name of this delivery, version included; unique in a region."""
    key: str
    """Names the acquisition, whatever version: two granules with one key are two deliveries."""
    version: str
    """Sorts as text; the highest version of a key is used, the others are superseded."""
    source: str
    """Name of the source in the region file."""
    modality: str
    platform: str
    time: datetime | None
    """Start of acquisition, aware, UTC; None if the product does not say (then `defect` does)."""
    assets: Mapping[str, str]
    """Layer name to path or URL."""
    size: int = 0
    """Bytes of all assets, where known."""
    defect: str = ""
    """Why the granule cannot be used although it was found, e.g. a missing layer."""
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)
    """What the source needs again when it reads (an item's properties, an index into a file)."""

    @property
    def fingerprint(self) -> str:
        """Digest of what was found: it changes when a file is added, replaced or grows.

        Times of change are left out: a folder that is copied, checked out or synchronised has new
        ones, and all its scenes would be read and written again for nothing. So a file that is
        replaced by another of the same name *and* size goes unnoticed; products put the time of
        production into the name, and a catalogue's new version has another one.
        """
        parts = [self.version, str(self.size), self.defect]
        parts += [
            f"{layer}={href.rsplit('/', 1)[-1]}" for layer, href in sorted(self.assets.items())
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One granule, or a mosaic of several, on the region's grid.

    The invariant of the whole cube is made here: a pixel is finite in every band if and only if
    its flags hold no ``BAD`` bit.
    """

    imagery: np.ndarray
    """float32 (band, y, x), physical units, NaN where not valid."""
    qc: np.ndarray
    """uint8 (y, x), bits of `cube.quality.Flag`."""
    product_qc: np.ndarray
    """int32 (y, x), the product's own word, or -1."""

    @classmethod
    def build(
        cls, bands: Sequence[np.ndarray], qc: np.ndarray, product_qc: np.ndarray | None = None
    ) -> Reading:
        """Make a reading that keeps the invariant.

        Non-finite values that no flag explains become ``MISSING``; pixels with a ``BAD`` flag
        become NaN in every band.

        Parameters
        ----------
        bands
            One (y, x) array a band, in the order of the region's bands.
        qc : ndarray of uint8, (y, x)
        product_qc : ndarray of int32, (y, x), optional
        """
        stack = np.stack([np.asarray(band, dtype=np.float32) for band in bands])
        flags = np.array(qc, dtype=np.uint8)
        holes = ~np.isfinite(stack).all(axis=0) & is_valid(flags)
        flags[holes] |= np.uint8(Flag.MISSING)
        stack[:, ~is_valid(flags)] = np.nan
        word = (
            np.full(flags.shape, NO_PRODUCT_QC, np.int32)
            if product_qc is None
            else np.asarray(product_qc, dtype=np.int32)
        )
        return cls(stack, flags, word)

    @classmethod
    def empty(cls, bands: int, grid: GeoBox) -> Reading:
        """A reading in which nothing was measured."""
        height, width = grid.shape
        return cls(
            np.full((bands, height, width), np.nan, np.float32),
            np.full((height, width), int(Flag.MISSING), np.uint8),
            np.full((height, width), NO_PRODUCT_QC, np.int32),
        )


def mosaic(readings: Sequence[Reading]) -> Reading:
    """Lay the granules of one overpass over one another.

    A pixel is taken whole (all bands and flags) from the first reading in which it is valid,
    else from the first in which it was measured at all. Values are never averaged, so a class
    code or a flag word cannot be invented.

    Parameters
    ----------
    readings
        In order of acquisition; at least one.
    """
    if not readings:
        raise ValueError("a mosaic needs at least one reading")
    imagery, qc, word = (
        np.array(part) for part in (readings[0].imagery, readings[0].qc, readings[0].product_qc)
    )
    for reading in readings[1:]:
        take = _rank(reading.qc) < _rank(qc)
        imagery[:, take] = reading.imagery[:, take]
        qc[take] = reading.qc[take]
        word[take] = reading.product_qc[take]
    return Reading(imagery, qc, word)


def _rank(qc: np.ndarray) -> np.ndarray:
    missing = (qc & np.uint8(Flag.MISSING)) != 0
    return np.where(is_valid(qc), 0, np.where(missing, 2, 1))


@dataclass(frozen=True, slots=True)
class Coverage:
    """What share of a scene is cloud, bad or valid."""

    cloud_fraction: float
    """Cloudy pixels / measured pixels."""
    bad_fraction: float
    """Pixels invalid for another reason than cloud / measured pixels."""
    valid_fraction: float
    """Valid pixels / all pixels of the region."""

    @classmethod
    def of(cls, qc: np.ndarray) -> Coverage:
        """Count the flags of a scene, (y, x) uint8."""
        cloud = (qc & np.uint8(Flag.CLOUD)) != 0
        measured = (qc & np.uint8(Flag.MISSING)) == 0
        bad = measured & ~cloud & ((qc & np.uint8(BAD)) != 0)
        total = max(int(measured.sum()), 1)
        return cls(
            float((cloud & measured).sum()) / total,
            float(bad.sum()) / total,
            float(is_valid(qc).mean()),
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """The granules of one overpass: what becomes one step on the time axis."""

    modality: str
    granules: tuple[Granule, ...]
    """In order of acquisition, then of id."""

    @property
    def time(self) -> datetime:
        """Start of the first granule, UTC."""
        time = self.granules[0].time
        assert time is not None  # `group` takes dated granules only
        return time


def group(granules: Iterable[Granule], gap: timedelta) -> list[Scene]:
    """Group granules of one overpass: same modality and platform, each within `gap` of the last.

    Overpasses of two platforms that start in the same millisecond are one scene: every scene has
    a time of its own.

    Parameters
    ----------
    granules
        Dated granules, in any order.
    gap
        Longest pause between neighbours of one overpass.

    Returns
    -------
    list of Scene
        In order of time, whatever the order of the input.
    """
    dated = sorted(
        (granule for granule in granules if granule.time is not None),
        key=lambda granule: (granule.modality, granule.platform, granule.time, granule.id),
    )
    runs: list[list[Granule]] = []
    for granule in dated:
        last = runs[-1][-1] if runs else None
        joins = (
            last is not None
            and (last.modality, last.platform) == (granule.modality, granule.platform)
            and last.time is not None
            and granule.time is not None
            and granule.time - last.time <= gap
        )
        if joins:
            runs[-1].append(granule)
        else:
            runs.append([granule])
    scenes = [Scene(run[0].modality, tuple(run)) for run in _at_once(runs)]
    return sorted(scenes, key=lambda scene: (scene.time, scene.modality))


def _at_once(runs: Iterable[list[Granule]]) -> list[list[Granule]]:
    """Join runs of one modality that start in the same millisecond.

    A cube keeps milliseconds, and a scene has a time of its own.
    """
    joined: dict[tuple[str, datetime], list[Granule]] = {}
    for run in runs:
        start = run[0].time
        assert start is not None  # undated ones were left out
        kept = start.replace(microsecond=start.microsecond // 1000 * 1000)
        joined.setdefault((run[0].modality, kept), []).extend(run)
    return [sorted(run, key=lambda granule: (granule.time, granule.id)) for run in joined.values()]


def utc(value: datetime) -> datetime:
    """Make a datetime aware and UTC; a naive one is taken as UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
