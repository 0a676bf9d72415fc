"""The bridge from a cube to a network: blocks read by threads, whole batches handed on."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.errors import PlanError
from pipelines import epoch as epochs
from pipelines.arena import Arena
from pipelines.augment import draw, turn
from pipelines.band_moments import band_statistics, band_statistics_of
from pipelines.blocks import Layout, choose_shape, plane_bytes, windows
from pipelines.buffers import Buffers
from pipelines.cutter import Batch, Cutter, Pixels
from pipelines.feeds import keras_dataset, tf_dataset, tf_dataset_of
from pipelines.planes import Labels, Reader, Source
from pipelines.staging import Staged, stage

if TYPE_CHECKING:
    import xarray as xr

    from cube.sample_plan import SamplePlan
    from cube.splits import Part

__all__ = [
    "MEMORY",
    "Batch",
    "Source",
    "Stream",
    "band_statistics",
    "band_statistics_of",
    "batches",
    "batches_of",
    "keras_dataset",
    "tf_dataset",
    "tf_dataset_of",
]

MEMORY = 512.0
"""Megabytes of imagery held, by default."""

IN_MEMORY = "memory"


class Stream:
    """All samples of a part, epoch after epoch, as numpy batches for any Keras backend.

    What comes out depends on the plans, the part, `batch_size`, `seed`, the epoch, `memory` and
    the options, never on the number of threads or on staging. Iterating goes to the end of the
    epoch it stands in; the next iteration is the next epoch.

    Parameters
    ----------
    sources
        Regions with the same bands, patch and sequence length; their samples are mixed.
    part
        ``"train"``, ``"val"`` or ``"test"``.
    batch_size
        Samples a batch.
    seed
        Of order and augmentation.
    shuffle
        Blocks in random order, and samples in random order over the blocks in memory. Without it
        the samples come in the order of ``plan.part(part)``, source after source.
    threads
        For reading, and as many for cutting.
    memory
        Megabytes of imagery held: one half goes out while the other is read. As many batches as
        `threads` + 1 come on top. Blocks are chosen to suit; what fits whole is read once only.
    augment
        Turn and mirror each sample at random, x, y and weight alike.
    jitter
        Probability that a date of a sequence is missing or taken from its neighbour; see
        `pipelines.augment.draw`.
    label_weight
        Multiply the weight by the labels' ``weight`` layer.
    staging
        A folder: decode everything once, keep it there uncompressed and cut from it, in this run
        and in later ones; see `pipelines.staging.stage`. ``"memory"``: the same in memory, on
        top of which `memory` is not used. None: read blocks in every epoch.

    Raises
    ------
    PlanError
        If a plan was made for other data, the sources do not go together, or `memory` is too
        small for a single block.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        part: Part,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        threads: int = 2,
        memory: float = MEMORY,
        augment: bool = False,
        jitter: float = 0.0,
        label_weight: bool = False,
        staging: str | Path | None = None,
    ) -> None:
        _require_least(batch_size=(batch_size, 1), threads=(threads, 1))
        if memory <= 0 or not 0 <= jitter <= 1:
            raise ValueError(f"memory is above 0 MB and jitter 0 to 1, not {memory} and {jitter}")
        self.sources, self.part = _require_alike(sources), part
        self.batch_size, self.seed, self.shuffle, self.threads = batch_size, seed, shuffle, threads
        self.memory, self.augment, self.jitter = memory * 1e6, augment, jitter
        plans = [source.plan for source in sources]
        shape = choose_shape(plans, self.memory)
        self._layouts = [Layout(plan, part, shape, shuffle) for plan in plans]
        self._readers = [Reader(source.dataset, source.plan) for source in sources]
        self._labels = [Labels(source, label_weight) for source in sources]
        self._staging, self._staged = staging, list[Staged]()
        self._label_weight = label_weight
        self._lock, self._arenas = threading.Lock(), list[Arena]()
        self._buffers = Buffers(most=2 * threads + 8)
        self._epoch = self._batch = 0
        next(self._windows(0), None)  # refuses memory that is too small now, not in mid-epoch

    def __len__(self) -> int:
        """Batches an epoch."""
        return math.ceil(self.count / self.batch_size)

    @property
    def count(self) -> int:
        """Samples an epoch."""
        return sum(len(layout.table) for layout in self._layouts)

    @property
    def plan(self) -> SamplePlan:
        """The first source's plan, for what all plans have in common."""
        return self.sources[0].plan

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.epoch(self._epoch, self._batch):
            self._batch += 1
            yield batch
        self._epoch, self._batch = self._epoch + 1, 0

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Go once through all samples.

        Parameters
        ----------
        epoch
            Another epoch, another order.
        start
            Leave out this many batches at the beginning, to go on in mid-epoch.
        """
        for batch, turns in self.cuts(epoch, start):
            if self.augment:
                axes = batch.x.ndim - 3, 1, 1
                layers = zip(batch, axes, strict=True)
                batch = Batch(*(turn(layer, turns, axis) for layer, axis in layers))
            yield batch

    def cuts(self, epoch: int = 0, start: int = 0) -> Generator[epochs.Cut]:
        """As `epoch`, with the turning left to who takes the batches."""
        _require_least(epoch=(epoch, 0), start=(start, 0))
        return self._cuts(epoch, start * self.batch_size)

    def _cuts(self, epoch: int, skip: int) -> Generator[epochs.Cut]:
        length = self.plan.sequence_length
        draws = draw(self.count, length, self.seed, epoch, augment=self.augment, jitter=self.jitter)
        bounds = np.cumsum([0] + [len(layout.table) for layout in self._layouts])
        own = [draws.between(*pair) for pair in itertools.pairwise(bounds.tolist())]
        arena = None if self._staging else self._borrow()
        try:
            cutter = Cutter(self._layouts, self._labels, self._pixels(arena), own, self._buffers)
            yield from epochs.run(
                self._layouts,
                self._windows(epoch),
                cutter,
                arena,
                batch_size=self.batch_size,
                skip=skip,
                threads=self.threads,
            )
        finally:
            if arena is not None:
                self._arenas.append(arena)

    @property
    def arenas(self) -> tuple[Arena, ...]:
        """Where imagery is held between epochs; empty while one runs, and with `staging`."""
        return tuple(self._arenas)

    def _windows(self, epoch: int) -> Iterator[Any]:
        rng = np.random.default_rng([self.seed, epoch]) if self.shuffle else None
        return windows(self._layouts, self._limit(), rng)

    def _limit(self) -> int:
        """Planes in one half of the memory."""
        return int(self.memory // (2 * plane_bytes(self._layouts, len(self.plan.bands))))

    def _borrow(self) -> Arena:
        """An arena that no other pass is using: tf.data may begin one before it ends another."""
        with self._lock:
            if self._arenas:
                return self._arenas.pop()
        planes = sum(layout.size for layout in self._layouts)
        slots = min(2 * self._limit(), planes)
        return Arena(self._readers, self._layouts, slots, len(self.plan.bands))

    def _pixels(self, arena: Arena | None) -> list[Pixels]:
        if arena is not None:
            return [Pixels(arena.x, arena.valid)] * len(self.sources)
        return [Pixels(staged.x, staged.valid) for staged in self.stage()]

    def stage(self) -> Sequence[Staged]:
        """Decode everything now, and not with the first batch; only with `staging`."""
        with self._lock:
            if self._staging and not self._staged:
                folder = None if self._staging == IN_MEMORY else self._staging
                self._staged = [
                    stage(source.dataset, source.plan, folder, threads=self.threads)
                    for source in self.sources
                ]
        return self._staged

    def state(self) -> dict[str, Any]:
        """Where the iteration stands, for a checkpoint; JSON-able."""
        epoch, batch = self._epoch, self._batch
        if batch == len(self):
            epoch, batch = epoch + 1, 0
        return {"epoch": epoch, "batch": batch, "stream": self.fingerprint}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another stream stood: the next iteration yields what would have come next.

        Raises
        ------
        PlanError
            If the state is of a stream with other plans or options.
        """
        if state["stream"] != self.fingerprint:
            raise PlanError(
                "the checkpoint is of a stream with another plan, part, batch size, seed, memory "
                "or augmentation; going on with this one would repeat some samples and leave out "
                "others"
            )
        self._epoch, self._batch = int(state["epoch"]), int(state["batch"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that the order and the content of the batches depend on."""
        settings = [
            [source.plan.digest for source in self.sources],
            [self.part, self.batch_size, self.seed, self.shuffle, self.memory],
            [self.augment, self.jitter, self._label_weight],
        ]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def _require_least(**values: tuple[int, int]) -> None:
    for name, (value, least) in values.items():
        if value < least:
            raise ValueError(f"{name} must be {least} or more, not {value}")


def _require_alike(sources: Sequence[Source]) -> list[Source]:
    if not sources:
        raise PlanError("a stream needs at least one source")
    kinds = {(plan.bands, plan.patch, plan.sequence_length) for _, _, plan in sources}
    if len(kinds) > 1:
        found = "; ".join(
            f"bands {', '.join(bands)}, patch {patch} px, sequences of {length}"
            for bands, patch, length in sorted(kinds)
        )
        raise PlanError(f"the sources cannot be mixed, their plans differ: {found}")
    return list(sources)


def batches(
    dataset: xr.Dataset,
    labels: xr.Dataset,
    plan: SamplePlan,
    part: Part,
    *,
    batch_size: int,
    epoch: int = 0,
    start: int = 0,
    **options: Any,
) -> Iterator[Batch]:
    """Go once through all samples of a part of one region.

    Parameters
    ----------
    dataset, labels, plan
        See `Source`.
    part, batch_size
        See `Stream`.
    epoch, start
        See `Stream.epoch`.
    **options
        `seed`, `shuffle`, `threads`, `memory`, `augment`, `jitter`, `label_weight`, `staging`:
        see `Stream`.

    Raises
    ------
    PlanError
        If the plan was made for other data. At the call, not at the first batch.
    """
    source = Source(dataset, labels, plan)
    return batches_of([source], part, batch_size=batch_size, epoch=epoch, start=start, **options)


def batches_of(
    sources: Sequence[Source],
    part: Part,
    *,
    batch_size: int,
    epoch: int = 0,
    start: int = 0,
    **options: Any,
) -> Iterator[Batch]:
    """As `batches`, over several regions at once."""
    _require_least(epoch=(epoch, 0), start=(start, 0))
    return Stream(sources, part, batch_size=batch_size, **options).epoch(epoch, start)
