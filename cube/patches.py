"""Square patches on a map: laying them, counting under them, keeping them apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def window_sums(array: np.ndarray, size: int) -> np.ndarray:
    """Sum every square window by a summed-area table (Crow 1984).

    Parameters
    ----------
    array : ndarray of bool or int, (y, x)
    size
        Side of the window, pixels; at most the shorter side of `array`.

    Returns
    -------
    ndarray of int32, (y - size + 1, x - size + 1)
        Element (r, c) is the sum over ``array[r:r + size, c:c + size]``.
    """
    table = np.zeros((array.shape[0] + 1, array.shape[1] + 1), np.int32)
    np.cumsum(array, axis=0, dtype=np.int32, out=table[1:, 1:])
    np.cumsum(table, axis=1, out=table)
    return table[size:, size:] - table[:-size, size:] - table[size:, :-size] + table[:-size, :-size]


def paint(places: np.ndarray, patch: int, shape: tuple[int, int]) -> np.ndarray:
    """Count how many patches cover each pixel.

    Parameters
    ----------
    places : ndarray of int, (n, 2)
        Row and column of the upper-left pixels.
    patch
        Side, pixels.
    shape
        Rows and columns of the map.

    Returns
    -------
    ndarray of int32, shape `shape`
    """
    corners = np.zeros((shape[0] - patch + 1, shape[1] - patch + 1), np.int32)
    np.add.at(corners, (places[:, 0], places[:, 1]), 1)
    return spread(corners, patch)


def spread(corners: np.ndarray, patch: int) -> np.ndarray:
    """Count the patches over each pixel, given how many start at each upper-left pixel."""
    return window_sums(np.pad(corners, patch - 1), patch)


def widen(mask: np.ndarray, buffer: int) -> np.ndarray:
    """Grow a mask by `buffer` pixels in all eight directions."""
    return window_sums(np.pad(mask, buffer), 2 * buffer + 1) > 0


def lay_patches(area: np.ndarray, patch: int, stride: int) -> np.ndarray:
    """Lay patches over an area of any shape, none of them reaching out of it.

    From the upper-left corner of each piece of the area in steps of `stride`; ground that is
    still bare (a ragged edge) then gets patches flush with the edge. With ``stride <= patch``
    every pixel is covered that any patch inside the area can cover.

    Parameters
    ----------
    area : ndarray of bool, (y, x)
    patch, stride
        Pixels.

    Returns
    -------
    ndarray of int32, (n, 2)
        Row and column of the upper-left pixels, in row-major order.
    """
    fits = window_sums(area, patch) == patch * patch
    chosen, free = np.zeros_like(fits), fits.copy()
    for row, column in _sweep(free):
        chosen[row, column] = True
        free[row : row + stride, column : column + stride] = False
    if stride <= patch:
        bare = (spread(fits, patch) > 0) & (spread(chosen, patch) == 0)
        for row, column in _sweep(bare):
            top, left = max(0, row - patch + 1), max(0, column - patch + 1)
            row, column = np.argwhere(fits[top : row + 1, left : column + 1])[-1] + (top, left)
            chosen[row, column] = True
            bare[row : row + patch, column : column + patch] = False
    return np.argwhere(chosen).astype(np.int32)


def _sweep(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    """Go through the True pixels row by row while the caller clears them."""
    for row in range(mask.shape[0]):
        while (columns := np.flatnonzero(mask[row])).size:
            yield row, int(columns[0])
