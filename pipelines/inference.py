"""A network over pieces of a region: some dates of some chunks at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import ModelError
from cube.store import Cube
from pipelines.blend import Network, blend_series
from pipelines.inference_layout import Encoded, Layers, Layout, decide, tiles
from pipelines.lattice import Lattice, Window
from pipelines.recipe import Selection
from pipelines.uncertainty import (
    entropy,
    mutual_information,
    passes,
    symmetrised,
    taught_classes,
    variance,
)

if TYPE_CHECKING:
    import icechunk
    import xarray as xr

DATES = 8
"""Dates of a unit of work: batches may mix them, and a kill costs no more than them."""


@dataclass(frozen=True)
class Options:
    """How a network is asked."""

    batch_size: int = 32
    """Most patches in one call of the network."""
    tta: bool = False
    """Average over the eight symmetries of the square."""
    mc_dropout: int = 0
    """Passes with dropout left on; 0 for one pass without."""
    step: int = 1
    """Dates from one sequence to the next, for networks that take sequences."""
    layers: Layers = field(default_factory=Layers)


@dataclass(frozen=True)
class Unit:
    """What is read, mapped and kept at once: some dates of a window."""

    window: Window
    start: int
    stop: int
    """Indices of the first date, and of the one after the last."""


@dataclass(frozen=True, eq=False)
class Part:
    """What comes of a unit."""

    chunks: Encoded
    total: np.ndarray
    """float32 (y, x, class): sum of the probabilities over the valid dates."""
    dates: np.ndarray
    """int32 (y, x): number of valid dates."""


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know of a run, but for the network. Small enough to send."""

    repository: icechunk.Repository
    location: str
    snapshot: str
    selection: Selection
    dates: int
    lattice: Lattice
    classes: int
    taught: frozenset[int]
    """Classes in the training part."""
    sequence: int | None
    """Dates that the network takes at once, if it takes a time axis."""
    options: Options
    layout: Layout

    def imagery(self) -> xr.DataArray:
        """Open the selected scenes (time, band, y, x), lazily."""
        cube = Cube(self.repository, self.location, self.snapshot)
        return self.selection.of(cube)["imagery"]

    def columns(self) -> Iterator[list[Unit]]:
        """The units of each window, in order of time."""
        channels = self.classes * max(self.options.mc_dropout, 1)
        lattice = self.lattice
        for window in tiles(lattice.shape, self.layout.chunk, lattice.stride, channels):
            yield [
                Unit(window, start, min(start + DATES, self.dates))
                for start in range(0, self.dates, DATES)
            ]

    def mapped(self, date: int) -> bool:
        """Whether there is a map of a date: for sequences, whether enough dates come before."""
        first = (self.sequence or 1) - 1
        return date >= first and (date - first) % self.options.step == 0

    def overall(self, window: Window, total: np.ndarray, dates: np.ndarray) -> Encoded:
        """The chunks of the maps over all dates.

        Parameters
        ----------
        total : ndarray of float, (y, x, class)
        dates : ndarray of int, (y, x)
        """
        mean = total / np.maximum(dates, 1)[..., None]
        lithology, confidence = decide(mean, dates > 0)
        return {
            **self.layout.encode("lithology_all", None, window, lithology),
            **self.layout.encode("confidence_all", None, window, confidence),
        }


class Engine:
    """A job with its network; several threads may run units, the network is asked by one.

    Parameters
    ----------
    job
        What is to be done.
    load
        Gives the network, something with ``predict_on_batch``; called once, when it is needed.
    """

    def __init__(self, job: Job, load: Callable[[], Any]) -> None:
        self._job = job
        self._load = load
        self._asking = threading.Lock()
        self._opening = threading.Lock()

    @cached_property
    def _imagery(self) -> xr.DataArray:
        return self._job.imagery()

    @cached_property
    def _network(self) -> Network:
        job, options = self._job, self._job.options
        model = self._load()
        if options.mc_dropout:
            from pipelines.mc_dropout import Stochastic

            side, bands = job.lattice.patch, self._imagery.sizes["band"]
            frames = () if job.sequence is None else (job.sequence,)
            model = Stochastic(model, (*frames, side, side, bands), options.mc_dropout)
        network = taught_classes(model.predict_on_batch, job.taught)
        if options.tta:
            network = symmetrised(network)
        if options.mc_dropout:
            network = passes(network, model.draw, options.mc_dropout)

        def ask(batch: np.ndarray) -> np.ndarray:
            with self._asking:
                return network(batch)

        return ask

    def run(self, unit: Unit) -> Part:
        """Read, map and encode a unit.

        Raises
        ------
        ModelError
            If the network gives no numbers.
        """
        with self._opening:
            imagery, network = self._imagery, self._network
        scribe = _Scribe(self._job, unit)
        first, images = self._read(imagery, unit)
        wanted = [date for date in range(unit.start, unit.stop) if self._job.mapped(date)]
        valid = {date: self._valid(images, date - first, unit.window) for date in wanted}
        wanted = [date for date in wanted if valid[date].any()]
        maps = blend_series(
            network,
            images,
            self._job.lattice,
            unit.window,
            [date - first for date in wanted],
            sequence=self._job.sequence,
            batch_size=self._job.options.batch_size,
            skip_empty=True,
        )
        for date, found in zip(wanted, maps, strict=True):
            if found is None or not np.isfinite(found[valid[date]]).all():
                raise self._broken(imagery, date, unit.window)
            scribe.write(date, found, valid[date])
        for date in sorted(set(range(unit.start, unit.stop)) - set(wanted)):
            scribe.leave_out(date)
        return Part(scribe.chunks, scribe.total, scribe.dates)

    def _read(self, imagery: xr.DataArray, unit: Unit) -> tuple[int, np.ndarray]:
        """Index of the first date read, and (time, y, x, band) of the window and its halo."""
        first = max(unit.start + 1 - (self._job.sequence or 1), 0)
        rows, columns = self._job.lattice.reach(unit.window)
        piece = imagery.isel(time=slice(first, unit.stop), y=rows, x=columns)
        # Loaded before it is turned: a lazy array that is turned is read pixel by pixel.
        return first, piece.compute().transpose("time", "y", "x", "band").to_numpy()

    def _valid(self, images: np.ndarray, index: int, window: Window) -> np.ndarray:
        """Pixels with all bands on the date, or on any date of its sequence; (y, x)."""
        reach = self._job.lattice.reach(window)
        inside = tuple(
            slice(part.start - halo.start, part.stop - halo.start)
            for part, halo in zip(window, reach, strict=True)
        )
        frames = images[(slice(index + 1 - (self._job.sequence or 1), index + 1), *inside)]
        return np.isfinite(frames).all(axis=-1).any(axis=0)

    def _broken(self, imagery: xr.DataArray, date: int, window: Window) -> ModelError:
        rows, columns = window
        return ModelError(
            f"the network gives NaN for scene {imagery['time'].values[date]}, rows "
            f"{rows.start}:{rows.stop}, columns {columns.start}:{columns.stop}; "
            "its weights are broken: train it again, with a lower learning rate"
        )


class _Scribe:
    """Chunks and sums of a unit, date by date."""

    def __init__(self, job: Job, unit: Unit) -> None:
        size = tuple(part.stop - part.start for part in unit.window)
        self._job = job
        self._window = unit.window
        self._size = size
        self.chunks: Encoded = {}
        self.total = np.zeros((*size, job.classes), np.float32)
        self.dates = np.zeros(size, np.int32)

    def write(self, date: int, found: np.ndarray, valid: np.ndarray) -> None:
        """Take in a blended map (y, x, pass * class)."""
        samples = found.reshape(*self._size, -1, self._job.classes)
        probabilities = samples[..., 0, :] if samples.shape[2] == 1 else samples.mean(axis=2)
        lithology, confidence = decide(probabilities, valid)
        layers = self._job.options.layers
        self._put("lithology", date, lithology)
        self._put("confidence", date, confidence)
        if layers.probability:
            channels = np.moveaxis(probabilities[..., 1:], -1, 0)
            self._put("probability", date, _masked(channels, valid))
        if layers.entropy:
            self._put("entropy", date, _masked(entropy(probabilities), valid))
        if layers.passes:
            self._put("mutual_information", date, _masked(mutual_information(samples), valid))
            self._put("variance", date, _masked(variance(samples, lithology), valid))
        self.total += np.where(valid[..., None], probabilities, np.float32(0))
        self.dates += valid

    def leave_out(self, date: int) -> None:
        """Write that there is nothing to be seen on a date."""
        for name in self._job.layout.documents:
            if name.endswith("_all"):
                continue
            shape = (self._job.classes - 1, *self._size) if name == "probability" else self._size
            self._put(
                name,
                date,
                np.zeros(shape, np.uint8)
                if name == "lithology"
                else np.full(shape, np.nan, np.float32),
            )

    def _put(self, name: str, date: int, values: np.ndarray) -> None:
        self.chunks |= self._job.layout.encode(name, date, self._window, values)


def _masked(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid, values, np.nan).astype(np.float32)
