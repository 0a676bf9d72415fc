"""The loops between store and network, compiled.

In NumPy they take several calls a sample or a band, each of which lets go of the GIL and takes it
again, so that threads spend their time in waking one another. These let go of it once a batch.
Positions are not checked: those of a plan are sound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit


def _compiled(function: Callable[..., None]) -> Any:
    """Compile at the first call, and keep the code for other processes where that is allowed."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # A service that may write neither beside this file nor into a home.
        return njit(nogil=True)(function)


@_compiled
def copy_samples(  # type: ignore[no-untyped-def]
    x, valid, slots, corners, dropped, codes, known, grounds, at, out_x, out_codes, out_weight
) -> None:
    """Copy samples out of planes into a batch.

    Pixels and bands share an axis in `x` and `out_x`: a row of a patch is one run of memory.

    Parameters
    ----------
    x : ndarray of float32, (plane, row, column x band)
        Imagery.
    valid : ndarray of uint8, (plane, row, column)
        1 where valid.
    slots : ndarray of int64, (n, date)
        Planes of each sample.
    corners : ndarray of int64, (n, 2)
        Upper-left pixels in the planes.
    dropped : ndarray of bool, (n, date)
        Dates that become NaN and count as not valid.
    codes, known : ndarray of uint8 and float32, (y, x)
        Class codes and weights of the ground.
    grounds : ndarray of int64, (n, 2)
        Upper-left pixels there.
    at : ndarray of int64, (n,)
        Positions in the batch.
    out_x, out_codes, out_weight : ndarray
        The batch: float32 (m, date, patch, patch x band), uint8 and float32 (m, patch, patch).
    """
    dates, side, wide = out_x.shape[1:]
    bands = wide // side
    seen = np.empty((side, side), np.uint8)
    for number in range(len(at)):
        place, (row, column), (top, left) = at[number], corners[number], grounds[number]
        seen[:] = 0
        for date in range(dates):
            if dropped[number, date]:
                out_x[place, date] = np.nan
                continue
            slot = slots[number, date]
            # Element by element, which becomes vector code; assigning slices does not.
            for line in range(side):
                source = x[slot, row + line, column * bands : (column + side) * bands]
                target = out_x[place, date, line]
                for step in range(wide):
                    target[step] = source[step]
                good, some = valid[slot, row + line, column : column + side], seen[line]
                for step in range(side):
                    some[step] |= good[step]
        for line in range(side):
            code = codes[top + line, left : left + side]
            share, some = known[top + line, left : left + side], seen[line]
            for step in range(side):
                out_codes[place, line, step] = code[step]
                out_weight[place, line, step] = share[step] * some[step]


@_compiled
def put_in_place(pixels, order, usable, slots, x, valid) -> None:  # type: ignore[no-untyped-def]
    """Put scenes into planes, bands last; a pixel that is not valid becomes NaN in every band.

    Parameters
    ----------
    pixels : ndarray of float32, (date, stored band, row, column)
    order : ndarray of int64, (band,)
        Stored bands that are wanted, in their order.
    usable : ndarray of bool, (date, row, column)
        What the quality flags say.
    slots : ndarray of int64, (date,)
        Planes.
    x, valid : ndarray of float32 and uint8, (plane, row, column, band) and (plane, row, column)
        Planes at least as large as the scenes, which go to their corners.
    """
    rows, columns = usable.shape[1:]
    for date in range(len(slots)):
        for line in range(rows):
            good = usable[date, line].copy()
            for band in order:
                value = pixels[date, band, line]
                for step in range(columns):
                    good[step] &= np.isfinite(value[step])
            for place in range(len(order)):
                value = pixels[date, order[place], line]
                for step in range(columns):
                    x[slots[date], line, step, place] = value[step] if good[step] else np.nan
            for step in range(columns):
                valid[slots[date], line, step] = good[step]
