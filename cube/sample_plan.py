"""The sample plan as a value: a frozen table, its digest, its file, and what it refuses to be."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from cube.errors import GridError, PlanError
from cube.patches import paint
from cube.plan_file import ADVICE, reading_plan_file, write_plan_file
from cube.sample_checks import check_plan
from cube.sequences import SINGLE, Sequence
from cube.splits import PARTS, Part, SplitSettings

if TYPE_CHECKING:
    import xarray as xr

LEAK = (
    "the label map does not change with time and every place stands in all parts, so a model "
    "that only remembers places scores near 1; the leak-safe figure comes from split 'blocks'"
)
Drawing = Literal["uniform", "balanced"]

_FORMATS = (1, 2)
_ARRAYS = {"times": "<i8", "places": "<i4", "samples": "<i4", "blocks": "|i1"}
_ARRAYS_2 = {"sequences": "<i4", "repeats": "<i4"}
_SPLITS_1 = ("blocks", "time", "thesis")
_SPLIT_FIELDS_2 = ("folds", "fold", "part")


@dataclass(frozen=True, eq=False)
class SamplePlan:
    """Which patch at which date, or dates, is for training, validation or test.

    Checked when it is made and when it is loaded: a plan whose parts touch cannot exist.
    Equal plans have equal digests.
    """

    patch: int
    """Side of a patch, pixels."""
    stride: int
    min_valid: float
    """Share of a patch's pixels that are valid and labelled, at least."""
    split: SplitSettings
    """With the defaults filled in."""
    snapshot: str
    """The cube's snapshot it was made from; ``""`` if there is none."""
    modality: str
    bands: tuple[str, ...]
    """In the order in which a network sees them."""
    shape: tuple[int, int]
    """Rows and columns of the region."""
    times: np.ndarray
    """datetime64[ns] (time,), UTC: all dates of the dataset."""
    places: np.ndarray
    """int32 (place, 2): row and column of the upper-left pixel, in row-major order."""
    samples: np.ndarray
    """int32 (sample, 3): place index, row of `sequences`, part (index into `PARTS`); in order of
    part, sequence, place. Without sequences the row is the time index."""
    blocks: np.ndarray
    """int8 (block row, block column): part of each block; empty for splits by time."""
    facts: dict[str, Any] = field(repr=False)
    """What `summary` gives; counted once from the data."""
    sequence: Sequence = SINGLE
    """How the dates of a sample were chosen."""
    sequences: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int32))
    """int32 (sequence, date): increasing indices into `times`, in lexicographic order. Without
    sequences every date by itself: (time, 1)."""
    drawing: Drawing = "uniform"
    """``balanced``: samples of rare classes go out more often than once an epoch."""
    repeats: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    """int32 (sample,): how often a sample goes out in an epoch; more than once in the train
    part only."""

    def __post_init__(self) -> None:
        if self.sequence.length == 1:
            object.__setattr__(self, "sequences", single_dates(len(self.times)))
        if self.drawing == "uniform":
            object.__setattr__(self, "repeats", np.ones(len(self.samples), np.int32))
        for name, kind in (_ARRAYS | _ARRAYS_2).items():
            dtype = "datetime64[ns]" if name == "times" else kind
            array = np.array(getattr(self, name), dtype=dtype)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        check_plan(self)

    @property
    def leaky(self) -> bool:
        """Whether a model that remembers places would do well on the test part."""
        return self.split.leaky

    @property
    def sequence_length(self) -> int:
        """Dates of a sample."""
        return self.sequence.length

    @property
    def leak_reason(self) -> str:
        """Why the plan is leaky; ``""`` if it is not."""
        return LEAK if self.leaky else ""

    @property
    def summary(self) -> dict[str, Any]:
        """Counts and class shares of each part, and the baselines on the test part.

        Returns
        -------
        dict
            ``parts`` -> part -> ``patches``, ``samples``, ``dates``, ``labelled_pixels``,
            ``class_shares`` (class code as text -> share of the labelled valid pixels);
            ``baselines`` -> ``majority`` and ``memorise_place`` -> ``oa``, ``macro_f1`` (over
            the classes in the truth) on the test part, each pixel counted as often as it is in
            a sample, at each date of a sequence; ``leaky``; ``leak_reason``. JSON-able.
        """
        return copy.deepcopy(self.facts) | {"leaky": self.leaky, "leak_reason": self.leak_reason}

    def part(self, name: Part) -> np.ndarray:
        """Samples of a part as they go out in an epoch.

        Returns
        -------
        ndarray of int32, (n, 2)
            Place index and row of `sequences`, which without sequences is the time index; in
            order of the second, then the first. A sample that goes out more than once stands
            here as often, one after the other.
        """
        rows = self.samples[:, 2] == _index(name)
        return np.repeat(self.samples[rows, :2], self.repeats[rows], axis=0)

    def mask(self, name: Part) -> np.ndarray:
        """Pixels that patches of a part cover at any date: bool (y, x)."""
        places = self.places[np.unique(self.part(name)[:, 0])]
        return paint(places, self.patch, self.shape) > 0

    def times_of(self, name: Part) -> np.ndarray:
        """Dates at which a part has samples: datetime64[ns], increasing."""
        used = self.sequences[np.unique(self.part(name)[:, 1])]
        return cast(np.ndarray, self.times[np.unique(used)])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all content, hexadecimal."""
        digest = hashlib.sha256(self._header().encode())
        for name, array in self._arrays().items():
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SamplePlan) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def _format(self) -> int:
        """The oldest format that can hold the plan: what was in it stays what it was."""
        plain = self.sequence == SINGLE and self.drawing == "uniform"
        return 1 if plain and self.split.kind in _SPLITS_1 else 2

    def _header(self) -> str:
        names = ["patch", "stride", "min_valid", "snapshot", "modality", "bands", "shape", "facts"]
        header = {name: getattr(self, name) for name in names}
        split = self.split.model_dump()
        if self._format > 1:
            header |= {"sequence": self.sequence.model_dump(), "drawing": self.drawing}
        else:
            split = {name: value for name, value in split.items() if name not in _SPLIT_FIELDS_2}
        return json.dumps(header | {"format": self._format, "split": split}, sort_keys=True)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name).astype(kind) for name, kind in _kept(self._format)}

    def save(self, path: str | Path) -> None:
        """Write the plan as one ``.npz`` file; the same plan always gives the same bytes."""
        write_plan_file(Path(path), self._header(), self.digest, self._arrays())

    @classmethod
    def load(cls, path: str | Path) -> SamplePlan:
        """Read a plan and check it as if it were new.

        Raises
        ------
        PlanError
            If the file is not a plan, its content does not match its digest, or its parts touch.
        """
        try:
            with reading_plan_file(Path(path)) as stored:
                header = json.loads(str(stored["header"]))
                digest = str(stored["digest"])
                if (version := header.pop("format")) not in _FORMATS:
                    known = " or ".join(map(str, _FORMATS))
                    raise PlanError(f"it is of format {version}, not {known}; {ADVICE}")
                arrays = {name: stored[name] for name, _ in _kept(version)}
                plan = cls(**_parsed(header), **arrays)
        except PlanError as error:
            raise PlanError(f"sample plan {path}: {error}") from None
        if plan.digest != digest:
            raise PlanError(
                f"sample plan {path} was changed after it was made: its digest says "
                f"{digest[:12]}, its content {plan.digest[:12]}; {ADVICE}"
            )
        return plan

    def require(self, dataset: xr.Dataset, labels: xr.Dataset | None = None) -> None:
        """Refuse data that this plan was not made for.

        Parameters
        ----------
        dataset : xarray.Dataset
            With ``imagery(time, band, y, x)``; the bands may come in any order.
        labels : xarray.Dataset
            With ``lithology(y, x)``; compared with the imagery's grid.

        Raises
        ------
        PlanError
            If bands, dates or shape differ; the message names both.
        GridError
            If the labels lie on another grid than the imagery.
        """
        origin = f"; open the cube at snapshot {self.snapshot}" if self.snapshot else ""
        bands = tuple(str(name) for name in dataset["band"].values)
        if sorted(bands) != sorted(self.bands):
            raise PlanError(
                f"the sample plan is for bands {', '.join(self.bands)}, "
                f"the dataset has {', '.join(bands)}{origin}"
            )
        times = np.asarray(dataset["time"].values, dtype="datetime64[ns]")
        if not np.array_equal(times, self.times):
            raise PlanError(
                f"the sample plan is for {_span(self.times)}, "
                f"the dataset has {_span(times)}{origin}"
            )
        shape = common_shape(dataset, dataset if labels is None else labels)
        if shape != self.shape:
            raise PlanError(
                f"the sample plan is for {self.shape[0]} x {self.shape[1]} px, the dataset has "
                f"{shape[0]} x {shape[1]}{origin}"
            )


def single_dates(count: int) -> np.ndarray:
    """The sequences of a plan without sequences: int32 (time, 1), every date by itself."""
    return np.arange(count, dtype=np.int32)[:, np.newaxis]


def _kept(version: int) -> Iterable[tuple[str, str]]:
    """Names and types of the arrays in a file of a format."""
    return (_ARRAYS | (_ARRAYS_2 if version > 1 else {})).items()


def _parsed(header: dict[str, Any]) -> dict[str, Any]:
    """Values of a plan from the header of its file."""
    header["split"] = SplitSettings.model_validate(header["split"])
    header["sequence"] = Sequence.model_validate(header.get("sequence", {}))
    return header | {"bands": tuple(header["bands"]), "shape": tuple(header["shape"])}


def common_shape(dataset: xr.Dataset, labels: xr.Dataset) -> tuple[int, int]:
    """Rows and columns of imagery and labels, which must lie on one grid.

    Raises
    ------
    GridError
    """
    for axis in ("y", "x"):
        mine, theirs = dataset.sizes[axis], labels.sizes[axis]
        same = mine == theirs
        if same and axis in dataset.coords and axis in labels.coords:
            same = np.allclose(dataset[axis].values, labels[axis].values, rtol=0, atol=1e-3)
        if not same:
            raise GridError(
                f"the labels lie on another grid than the imagery: {axis} has "
                f"{_axis(labels, axis)} there and {_axis(dataset, axis)} here"
            )
    return dataset.sizes["y"], dataset.sizes["x"]


def _axis(dataset: xr.Dataset, axis: Literal["y", "x"]) -> str:
    values = dataset[axis].values
    return f"{len(values)} px from {values[0]:.10g} to {values[-1]:.10g}"


def _span(times: np.ndarray) -> str:
    if not len(times):
        return "no dates"
    first, last = (np.datetime_as_string(time, unit="m") for time in (times[0], times[-1]))
    return f"{len(times)} dates from {first} to {last}"


def _index(name: str) -> int:
    if name not in PARTS:
        raise PlanError(f"a plan has the parts {', '.join(PARTS)}; there is no {name!r}")
    return PARTS.index(name)
