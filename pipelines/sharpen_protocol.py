"""How a sharpened map is set beside ASTER: the paper's protocol, and the registered one.

The paper's (Ait-Bachir et al. 2025, arXiv 2502.01204; that of its code) stacks LST and NDVI index
by index although their patches are up to three fine pixels apart, and gives the map the position
of the NDVI. The registered one keeps everything where it is: NDVI is moved onto the LST's fine
grid, the map has the position of the LST, and ASTER's displacement against MODIS, 0.6 fine pixels
to the south and to the east, is taken into account. Grids, resampling and metrics are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from models import image_metrics
from models.sharpening import bicubic, shifted
from pipelines.pairs import SCALE, Array, Pair

SINUSOIDAL = "+proj=sinu +R=6371007.181 +units=m +no_defs"
FINE_PIXEL = (231.65635826395834, 231.65635826375006)
"""Width and height of a pixel of the 250 m tile, metres."""
TILE_TOP = 5559752.598333
"""Of tile h18v04, whose left edge is the central meridian."""
ASTER_SHIFT = 0.60
"""Fine pixels by which ASTER lies south and east of MODIS in the public pairs."""
MARGIN = 8
"""Zeros around the map in the warp: beyond bilinear interpolation's reach they change nothing."""


class Protocol(StrEnum):
    """Which geometry maps are made and judged by."""

    PAPER = "paper"
    REGISTERED = "registered"


class Inputs(NamedTuple):
    """What a method gets to see of a pair."""

    lst: Array
    """(y, x) at 1 km, kelvin."""
    ndvi: Array
    """(4 y, 4 x) at 250 m, taken to lie on the LST's fine grid."""
    offset: tuple[int, int]
    """Where it really lies, for the one published method that heeds it; (0, 0) if registered."""
    location: int | None = None
    """Of the pair: a network that has learnt from it is not asked."""


Method = Callable[[Inputs], Array]
"""Inputs of a pair to its fine map (4 y, 4 x), kelvin."""


def inputs_of(pair: Pair, protocol: Protocol) -> Inputs:
    """The images of a pair as a protocol hands them to a method."""
    if protocol is Protocol.PAPER:
        return Inputs(pair.lst, pair.ndvi, pair.offset, pair.location)
    return Inputs(pair.lst, pair.registered_ndvi(), (0, 0), pair.location)


def registered(method: Method) -> Method:
    """Let a method see NDVI where it really lies, and bring its map back to the NDVI's grid.

    So that a method that heeds where the images lie, as `inputs` say, can be judged by the paper's
    protocol; under the registered one, where they lie alike, it changes nothing.
    """

    def moved(inputs: Inputs) -> Array:
        offset = inputs.offset
        fine = method(inputs._replace(ndvi=shifted(inputs.ndvi, offset), offset=(0, 0)))
        return shifted(fine, (-offset[0], -offset[1]))

    return moved


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The rectangle of one pair on which maps are compared with ASTER."""

    pair: Pair
    protocol: Protocol
    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top of ASTER within the warped tile, metres UTM."""
    aster: Array
    """ASTER resampled to the warped tile's pixel size, over all of `bounds`, kelvin."""

    @classmethod
    def of(cls, pair: Pair, protocol: Protocol) -> Frame:
        """Resample ASTER for a pair; done once for all methods."""
        left, width, _, top, _, height = pair.aster_transform
        rows, columns = pair.aster.shape
        tile_left, tile_top, dx, dy, tile_columns, tile_rows = pair.utm_grid
        bounds = (
            max(left, tile_left),
            max(top + rows * height, tile_top - tile_rows * dy),
            min(left + columns * width, tile_left + tile_columns * dx),
            min(top, tile_top),
        )
        shape = (int((bounds[3] - bounds[1]) / dy), int((bounds[2] - bounds[0]) / dx))
        transform = (width, 0.0, left, 0.0, height, top)
        aster = _read(pair.aster, transform, pair.aster_epsg, bounds, shape, "bilinear")
        return cls(pair, protocol, bounds, aster)

    @property
    def crop(self) -> tuple[slice, slice] | None:
        """Rows and columns to score; None where the paper's protocol drops the pair."""
        paper = self.protocol is Protocol.PAPER
        corners = self.pair.paper_crop if paper else self.pair.robust_crop
        return corners and (slice(*corners[:2]), slice(*corners[2:]))

    def truth(self) -> Array:
        """ASTER on the rectangle to score, kelvin."""
        return self.aster[self._scored]

    def image(self, fine: Array) -> Array:
        """A fine map, warped and cut to the rectangle to score."""
        left, top, dx, dy, *_ = self.pair.utm_grid
        # Whole pixels of the tile's UTM grid around the bounds.
        first = int((self.bounds[0] - left) // dx) - 2, int((top - self.bounds[3]) // dy) - 2
        columns = int((self.bounds[2] - self.bounds[0]) / dx) + 6
        rows = int((self.bounds[3] - self.bounds[1]) / dy) + 6
        transform = (dx, 0.0, left + first[0] * dx, 0.0, -dy, top - first[1] * dy)
        warped = self._warp(fine, transform, (rows, columns))
        read = _read(warped, transform, self.pair.aster_epsg, self.bounds, None, "nearest")
        return read[self._scored]

    @property
    def _scored(self) -> tuple[slice, slice]:
        if self.crop is None:
            raise ValueError(f"the paper's protocol scores no rectangle of pair {self.pair.id}")
        return self.crop

    def _warp(self, fine: Array, transform: tuple[float, ...], shape: tuple[int, int]) -> Array:
        from affine import Affine
        from rasterio.warp import Resampling, reproject

        width, height = FINE_PIXEL
        row, column, shift = self._corner(fine)
        origin = Affine(
            width,
            0.0,
            (column - MARGIN + shift) * width,
            0.0,
            -height,
            TILE_TOP - (row - MARGIN + shift) * height,
        )
        warped = np.zeros(shape)
        reproject(
            np.pad(fine, MARGIN),
            warped,
            src_transform=origin,
            src_crs=SINUSOIDAL,
            dst_transform=Affine(*transform),
            dst_crs=f"EPSG:{self.pair.aster_epsg}",
            resampling=Resampling.bilinear,
        )
        return warped

    def _corner(self, fine: Array) -> tuple[int, int, float]:
        """Row and column of the map's first pixel in the fine tile, and the shift of its place."""
        half = fine.shape[0] // 2
        if self.protocol is Protocol.PAPER:
            row, column = self.pair.centre_ndvi
            return row - half, column - half, 0.0
        row, column = self.pair.centre_lst
        return SCALE * row - half, SCALE * column - half, ASTER_SHIFT


def scores(truth: Array, image: Array, smooth: Array) -> dict[str, float]:
    """Every metric of one map; `smooth` is the bicubic map of the same pair and rectangle.

    LPIPS is left out: the weights it needs come with no package that is installed.
    """
    texture = image_metrics.rmse_by_texture(truth, image)
    spectrum = image_metrics.spectral_errors(truth, image, smooth)
    return {
        "rmse": image_metrics.rmse(truth, image),
        "ubrmse": image_metrics.unbiased_rmse(truth, image),
        "bias": image_metrics.bias(truth, image),
        "mae": image_metrics.mae(truth, image),
        "psnr": image_metrics.psnr(truth, image),
        "ssim": image_metrics.ssim(truth, image),
        "gssim": image_metrics.gradient_ssim(truth, image),
        "rmse_grad": image_metrics.gradient_rmse(truth, image),
        **{f"rmse_{part}": value for part, value in texture._asdict().items()},
        "correlation": image_metrics.correlation(truth, image),
        "hf_corr": image_metrics.detail_correlation(truth, image),
        "hf_std_ratio": image_metrics.detail_ratio(truth, image),
        "gmsd": image_metrics.gradient_deviation(truth, image),
        "frr": spectrum.restoration,
        "fro": spectrum.overshoot,
        "fru": spectrum.undershoot,
        "rmse_att": spectrum.rmse,
    }


@dataclass(frozen=True, slots=True)
class Score:
    """One method on one pair."""

    pair: int
    method: str
    protocol: Protocol
    metrics: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """One flat row for a table."""
        where = {"pair": self.pair, "method": self.method, "protocol": str(self.protocol)}
        return {**where, **self.metrics}


def evaluate(
    pairs: Sequence[Pair], methods: Mapping[str, Method], protocol: Protocol
) -> Iterator[Score]:
    """Make and score the map of every method on every pair that the protocol scores.

    Yields
    ------
    Score
        Pair by pair; pairs without a rectangle to score are left out, as in the paper.
    """
    for pair in pairs:
        frame = Frame.of(pair, protocol)
        if frame.crop is None:
            continue
        given, truth = inputs_of(pair, protocol), frame.truth()
        smooth = frame.image(bicubic(given.lst, SCALE))
        for name, method in methods.items():
            metrics = scores(truth, frame.image(method(given)), smooth)
            yield Score(pair.id, name, protocol, metrics)


def averages(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Mean of every metric over the pairs, for each method: the paper's unweighted averages."""
    methods = dict.fromkeys(score.method for score in scores)
    table = {}
    for method in methods:
        rows = [score.metrics for score in scores if score.method == method]
        table[method] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return table


def _read(
    image: Array,
    transform: tuple[float, ...],
    epsg: int,
    bounds: tuple[float, float, float, float],
    shape: tuple[int, int] | None,
    how: str,
) -> Array:
    """Read a part of an image by its bounds through GDAL, as the study's code does from files."""
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.io import MemoryFile
    from rasterio.windows import from_bounds

    profile = {"driver": "GTiff", "height": image.shape[0], "width": image.shape[1], "count": 1}
    place = {"crs": f"EPSG:{epsg}", "transform": Affine(*transform), "dtype": "float64"}
    with MemoryFile() as memory:
        with memory.open(**profile, **place) as file:
            file.write(image, 1)
        with memory.open() as file:
            window = from_bounds(*bounds, transform=file.transform)
            part: Array = file.read(1, window=window, out_shape=shape, resampling=Resampling[how])
    return part
