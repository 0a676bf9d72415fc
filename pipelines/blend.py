"""Overlap-blended inference: many patches in, one seamless map out.

The patches lie on one lattice for the whole region, so what a pixel is given depends neither on
the shards a region is worked through in nor on the batch size. What is averaged are the
network's outputs (probabilities), never class codes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from cube.errors import ModelError
from pipelines.lattice import Lattice, Window, windows

__all__ = ["Lattice", "Network", "Window", "blend", "blend_series", "taper", "windows"]

Network = Callable[[np.ndarray], np.ndarray]
"""Takes float32 (n, patch, patch, band), or (n, sequence, patch, patch, band), and gives
(n, patch, patch, channel)."""


def taper(patch: int) -> np.ndarray:
    """Weights of a patch's pixels: a separable Hann window, sampled at pixel centres.

    Strictly positive, so that a pixel under one patch only still has a value, and with a stride
    of half a patch the weights of neighbours add up to a constant.

    Returns
    -------
    ndarray of float64, (patch, patch)
    """
    side = np.sin(np.pi * (np.arange(patch) + 0.5) / patch) ** 2
    return np.outer(side, side)


def blend(
    network: Network,
    image: np.ndarray,
    lattice: Lattice,
    window: Window | None = None,
    *,
    batch_size: int = 32,
    skip_empty: bool = False,
) -> np.ndarray:
    """Run a network over a window of a region and average its overlapping outputs.

    Parameters
    ----------
    network
        Called with float32 batches (n, patch, patch, band); NaN means missing.
    image : ndarray of float32, (y, x, band)
        The pixels of ``lattice.reach(window)``. What lies outside the region is NaN to the network.
    lattice
        Of the whole region, whatever the window.
    window
        The part wanted; by default all of the region.
    batch_size
        Most patches in one call of the network.
    skip_empty
        Leave out patches without a single finite pixel; pixels under such patches only become NaN.

    Returns
    -------
    ndarray of float32, (y, x, channel)
        Of the window's size.

    Raises
    ------
    ModelError
        If the image is not the window and its halo, or the network's output does not lie on
        its input.
    """
    window = window or (slice(0, lattice.shape[0]), slice(0, lattice.shape[1]))
    (mean,) = blend_series(
        network,
        image[None],
        lattice,
        window,
        [0],
        batch_size=batch_size,
        skip_empty=skip_empty,
    )
    if mean is None:
        return np.full((*_size(window), 1), np.nan, np.float32)
    return mean


def blend_series(
    network: Network,
    images: np.ndarray,
    lattice: Lattice,
    window: Window,
    dates: Sequence[int],
    *,
    sequence: int | None = None,
    batch_size: int = 32,
    skip_empty: bool = False,
) -> Iterator[np.ndarray | None]:
    """Blend several dates of a window one after the other; a batch may hold patches of several.

    Parameters
    ----------
    images : ndarray of float32, (time, y, x, band)
        The pixels of ``lattice.reach(window)`` on all dates.
    dates
        Those wanted, as ascending indices into `images`.
    sequence
        Length of the sequences that the network takes, if it does: a date's patches then hold
        the dates up to and including it. No date may come too early for that.
    network, lattice, window, batch_size, skip_empty
        See `blend`.

    Yields
    ------
    ndarray of float32, (y, x, channel), or None
        A map of the window's size for each of `dates`; None where all of its patches were
        left out. No more than the dates of one batch are held at once.

    Raises
    ------
    ModelError
        See `blend`.
    """
    reach = lattice.reach(window)
    _require_size(images, reach)
    corner = np.array([reach[0].start, reach[1].start])
    padded = _pad(images, lattice.patch)
    cutter = _Cutter(padded, lattice.patch, sequence)
    origins = lattice.touching(window) - corner
    chosen = [cutter.filled(date, origins) if skip_empty else origins for date in dates]
    places = [(index, origin) for index, some in enumerate(chosen) for origin in some]
    inside = tuple(
        slice(part.start - start, part.stop - start)
        for part, start in zip(window, corner.tolist(), strict=True)
    )
    canvases: dict[int, _Canvas] = {}
    closed = 0

    def close(until: int) -> Iterator[np.ndarray | None]:
        for index in range(closed, until):
            canvas = canvases.pop(index, None)
            yield None if canvas is None else canvas.mean()[inside]

    # Float32 is three times as fast, and exact enough for the four patches that usually overlap.
    exact = np.float32 if 2 * lattice.stride >= lattice.patch else np.float64
    weights = taper(lattice.patch).astype(exact)
    for batch in itertools.batched(places, batch_size):
        outputs = _run(network, np.stack([cutter.cut(dates[index], at) for index, at in batch]))
        weighted = outputs * weights[..., None]
        for (index, origin), output in zip(batch, weighted, strict=True):
            if index not in canvases:
                canvases[index] = _Canvas(padded.shape[1:3], output.shape[-1], weights)
            canvases[index].add(origin, output)
        yield from close(batch[-1][0])
        closed = batch[-1][0]
    yield from close(len(dates))


class _Cutter:
    """Patches of a series of images, by date and place."""

    def __init__(self, images: np.ndarray, patch: int, sequence: int | None) -> None:
        self._images = images
        self._patch = patch
        self._sequence = sequence

    def _frames(self, date: int) -> slice:
        return slice(date + 1 - (self._sequence or 1), date + 1)

    def cut(self, date: int, origin: np.ndarray) -> np.ndarray:
        frames = self._images[self._frames(date)]
        found = frames[(slice(None), *_square(origin, self._patch))]
        return found[0] if self._sequence is None else found

    def filled(self, date: int, origins: np.ndarray) -> np.ndarray:
        """Those places whose patch has a finite value."""
        finite = np.isfinite(self._images[self._frames(date)]).any(axis=(0, -1))
        # Sums over rectangles from a corner: one look at each pixel, however the patches overlap.
        table = np.pad(finite.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        (top, left), size = origins.T, self._patch
        low, right = top + size, left + size
        count = table[low, right] - table[top, right] - table[low, left] + table[top, left]
        return origins[count > 0]


class _Canvas:
    """Sums of weight x output and of weight, patch by patch."""

    def __init__(self, shape: tuple[int, ...], channels: int, weights: np.ndarray) -> None:
        self._total = np.zeros((*shape, channels), weights.dtype)
        self._weight = np.zeros(shape, weights.dtype)
        self._weights = weights

    def add(self, origin: np.ndarray, weighted: np.ndarray) -> None:
        place = _square(origin, len(self._weights))
        self._total[place] += weighted
        self._weight[place] += self._weights

    def mean(self) -> np.ndarray:
        covered = np.where(self._weight > 0, self._weight, self._weight.dtype.type(np.nan))
        return (self._total / covered[..., None]).astype(np.float32, copy=False)


def _run(network: Network, batch: np.ndarray) -> np.ndarray:
    outputs = np.asarray(network(batch))
    wanted = (len(batch), *batch.shape[-3:-1])
    if outputs.ndim != 4 or outputs.shape[:3] != wanted:
        raise ModelError(
            f"the network made {outputs.shape} of a batch of {batch.shape}; blending needs one "
            "output a pixel: (n, patch, patch, channel)"
        )
    return outputs


def _square(origin: np.ndarray, patch: int) -> Window:
    row, column = origin
    return slice(row, row + patch), slice(column, column + patch)


def _pad(images: np.ndarray, patch: int) -> np.ndarray:
    missing = [(0, max(patch - size, 0)) for size in images.shape[1:3]]
    if not any(end for _, end in missing):
        return images.astype(np.float32, copy=False)
    whole = [(0, 0), *missing, (0, 0)]
    return np.pad(images.astype(np.float32, copy=False), whole, constant_values=np.nan)


def _size(window: Window) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in window)


def _require_size(images: np.ndarray, reach: Window) -> None:
    wanted = _size(reach)
    if images.ndim != 4 or images.shape[1:3] != wanted:
        raise ModelError(
            f"the image is {images.shape[1:]}, but the window and its halo are {wanted} pixels "
            f"(rows {reach[0].start}:{reach[0].stop}, columns {reach[1].start}:{reach[1].stop}): "
            "read lattice.reach(window), as (y, x, band)"
        )
