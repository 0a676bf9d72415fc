"""Overlap-blended inference: many patches in, one seamless map out.

The patches lie on one lattice for the whole region, so what a pixel is given depends neither on
the shards a region is worked through in nor on the batch size. What is averaged are the
network's outputs (probabilities), never class codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cube.errors import ModelError

Network = Callable[[np.ndarray], np.ndarray]
"""Takes float32 (n, patch, patch, band) and gives (n, patch, patch, channel)."""

Window = tuple[slice, slice]
"""Rows and columns of a region, with plain non-negative bounds."""


@dataclass(frozen=True)
class Lattice:
    """The places of all patches of a region.

    Patches start at multiples of `stride`; one more, flush with the border, covers a ragged edge.
    Along an axis shorter than a patch there is one patch, which sticks out of the region.
    """

    shape: tuple[int, int]
    """Rows and columns of the region."""
    patch: int
    """Side of a patch, pixels."""
    stride: int
    """Step from one patch to the next, pixels; at most `patch`, or there would be holes."""

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not 1 <= self.stride <= self.patch:
            raise ModelError(
                f"patches of {self.patch} px every {self.stride} px cannot cover a region of "
                f"{self.shape[0]} x {self.shape[1]} px: the stride must lie between 1 and the patch"
            )

    @cached_property
    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """First row, and first column, of the patches; ascending."""
        return self._starts(self.shape[0]), self._starts(self.shape[1])

    def _starts(self, size: int) -> np.ndarray:
        last = max(size - self.patch, 0)
        return np.unique(np.append(np.arange(0, last, self.stride), last))

    def touching(self, window: Window) -> np.ndarray:
        """Find the patches that share a pixel with the window.

        Returns
        -------
        ndarray of int, (n, 2)
            Row and column of the upper-left pixels, row by row.
        """
        rows, columns = (
            starts[(starts < part.stop) & (starts + self.patch > part.start)]
            for starts, part in zip(self.starts, window, strict=True)
        )
        return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)

    def reach(self, window: Window) -> Window:
        """The window and its halo: all pixels that the window's result depends on."""
        origins = self.touching(window)
        first, end = origins.min(axis=0), origins.max(axis=0) + self.patch
        return (
            slice(int(first[0]), min(int(end[0]), self.shape[0])),
            slice(int(first[1]), min(int(end[1]), self.shape[1])),
        )


def windows(shape: tuple[int, int], size: int) -> Iterator[Window]:
    """Cut a region into square windows, row by row; those at the far edges are smaller."""
    for row in range(0, shape[0], size):
        for column in range(0, shape[1], size):
            yield (
                slice(row, min(row + size, shape[0])),
                slice(column, min(column + size, shape[1])),
            )


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
    reach = lattice.reach(window)
    corner = np.array([reach[0].start, reach[1].start])
    _require_size(image, reach)
    origins = lattice.touching(window) - corner
    padded = _pad(image, lattice.patch)
    if skip_empty:
        origins = origins[[np.isfinite(_cut(padded, o, lattice.patch)).any() for o in origins]]
    mean = _average(network, padded, origins, lattice.patch, batch_size)
    rows, columns = (
        slice(part.start - start, part.stop - start)
        for part, start in zip(window, corner.tolist(), strict=True)
    )
    if mean is None:
        return np.full(
            (rows.stop - rows.start, columns.stop - columns.start, 1), np.nan, np.float32
        )
    return mean[rows, columns]


def _average(
    network: Network, image: np.ndarray, origins: np.ndarray, patch: int, batch_size: int
) -> np.ndarray | None:
    """Sum weight x output and weight, patch by patch, and divide; None without any patch."""
    weights = taper(patch)
    total: np.ndarray | None = None
    weight = np.zeros(image.shape[:2])
    for start in range(0, len(origins), batch_size):
        batch = origins[start : start + batch_size]
        outputs = _run(network, np.stack([_cut(image, origin, patch) for origin in batch]))
        if total is None:
            total = np.zeros((*image.shape[:2], outputs.shape[-1]))
        for origin, output in zip(batch, outputs, strict=True):
            _cut(total, origin, patch)[...] += weights[..., None] * output
            _cut(weight, origin, patch)[...] += weights
    if total is None:
        return None
    covered = np.where(weight > 0, weight, np.nan)
    return (total / covered[..., None]).astype(np.float32)


def _run(network: Network, batch: np.ndarray) -> np.ndarray:
    outputs = np.asarray(network(batch))
    if outputs.ndim != 4 or outputs.shape[:3] != batch.shape[:3]:
        raise ModelError(
            f"the network made {outputs.shape} of a batch of {batch.shape}; blending needs one "
            "output a pixel: (n, patch, patch, channel)"
        )
    return outputs


def _cut(image: np.ndarray, origin: np.ndarray, patch: int) -> np.ndarray:
    row, column = origin
    return image[row : row + patch, column : column + patch]


def _pad(image: np.ndarray, patch: int) -> np.ndarray:
    missing = [(0, max(patch - size, 0)) for size in image.shape[:2]]
    return np.pad(image.astype(np.float32), [*missing, (0, 0)], constant_values=np.nan)


def _require_size(image: np.ndarray, reach: Window) -> None:
    wanted = tuple(part.stop - part.start for part in reach)
    if image.ndim != 3 or image.shape[:2] != wanted:
        raise ModelError(
            f"the image is {image.shape}, but the window and its halo are {wanted} pixels "
            f"(rows {reach[0].start}:{reach[0].stop}, columns {reach[1].start}:{reach[1].stop}): "
            "read lattice.reach(window), as (y, x, band)"
        )
