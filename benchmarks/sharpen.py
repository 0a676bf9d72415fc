"""Area-to-point regression kriging: ours beside one that goes pixel by pixel.

Both get the same line and variogram, make the same map (checked), and run in turn on one thread;
the ratio of the medians counts, as the times themselves depend on the machine::

    python benchmarks/sharpen.py --size 64 --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from models.sharpening.blocks import block_mean
from models.sharpening.kriging import RADIUS, Variogram, atprk
from models.sharpening.regression import Line

SCALE = 4


def scene(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Coarse LST and fine NDVI of a made-up landscape."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    fine = (SCALE * size, SCALE * size)
    ndvi = np.clip(0.5 + 2.0 * gaussian_filter(rng.standard_normal(fine), 3), -1, 1)
    warmth = 305 - 12 * ndvi + 40 * gaussian_filter(rng.standard_normal(fine), 8)
    return block_mean(warmth, SCALE), ndvi


def per_pixel(lst: np.ndarray, ndvi: np.ndarray, line: Line, variogram: Variogram) -> np.ndarray:
    """The published loops over pixels, with the kriging weights already solved for."""
    weights, size = variogram.weights(SCALE), 2 * RADIUS + 1
    residual = lst - line.at(block_mean(ndvi, SCALE))
    padded = np.pad(residual, RADIUS, mode="edge")
    fine = np.empty(ndvi.shape)
    for row in range(fine.shape[0]):
        for column in range(fine.shape[1]):
            y, x = row // SCALE, column // SCALE
            around = padded[y : y + size, x : x + size].ravel()
            place = (row % SCALE) * SCALE + column % SCALE
            kriged = np.sum(weights[place] * around)
            fine[row, column] = line.intercept + line.slope * ndvi[row, column] + kriged
    return fine


def solved_per_pixel(
    lst: np.ndarray, ndvi: np.ndarray, line: Line, variogram: Variogram
) -> np.ndarray:
    """As `per_pixel`, but the kriging system is solved anew for each coarse pixel."""
    from models.sharpening import kriging

    size = 2 * RADIUS + 1
    padded = np.pad(lst - line.at(block_mean(ndvi, SCALE)), RADIUS, mode="edge")
    fine = line.at(ndvi)
    for y in range(lst.shape[0]):
        for x in range(lst.shape[1]):
            kriging._kriging_weights.cache_clear()
            kriged = variogram.weights(SCALE) @ padded[y : y + size, x : x + size].ravel()
            block = kriged.reshape(SCALE, SCALE)
            fine[y * SCALE : (y + 1) * SCALE, x * SCALE : (x + 1) * SCALE] += block
    return fine


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(size: int, rounds: int, *, solving: bool = True) -> dict[str, float]:
    """Median seconds of each way, in rounds that interleave them."""
    lst, ndvi = scene(size)
    line = Line.fit(lst, block_mean(ndvi, SCALE))
    variogram = Variogram.fit(lst - line.at(block_mean(ndvi, SCALE)), SCALE)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "vectorised": lambda: atprk(lst, ndvi, line=line, variogram=variogram),
        "vectorised, with its fits": lambda: atprk(lst, ndvi),
        "per pixel": lambda: per_pixel(lst, ndvi, line, variogram),
    }
    if solving:
        ways["solved per coarse pixel"] = lambda: solved_per_pixel(lst, ndvi, line, variogram)
    maps = [way() for way in ways.values()]
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], atol=1e-8)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(seconds(way))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="coarse pixels along a side")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    medians = compare(options.size, options.rounds)
    ours = medians["vectorised"]
    for name, median in medians.items():
        print(f"{name:26} {1e3 * median:10.1f} ms   {median / ours:8.1f} x")


if __name__ == "__main__":
    main()
