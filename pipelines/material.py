"""What a network is trained on: selections, labels, sample plans and statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cube.errors import PlanError
from cube.sampling import Part, SamplePlan, SplitSettings, leave_one_out, make_plan
from pipelines.model_folder import facts_of
from pipelines.planes import Source
from pipelines.recipe import Normalisation, TrainSettings

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube


@dataclass(frozen=True, eq=False)
class Material:
    """The samples of one region or of several."""

    sources: Mapping[str, Source]
    """By name of the region."""

    @classmethod
    def of_cube(cls, cube: Cube, settings: TrainSettings) -> Material:
        """Select from one region and plan by the settings' split.

        Raises
        ------
        SelectionError
            If the cube lacks labels, or what the settings select.
        PlanError
            If no plan can be made, or it would have no part to train or to validate on.
        """
        _require_parts(settings.split)
        dataset, labels = _opened(cube, settings)
        plan = make_plan(
            dataset, labels, split=settings.split, snapshot=cube.snapshot, **_options(settings)
        )
        return cls({cube.name: Source(dataset, labels, plan)})

    @classmethod
    def of_regions(
        cls,
        cubes: Mapping[str, Cube],
        held_out: str,
        validation: float | str,
        settings: TrainSettings,
    ) -> Material:
        """Select from several regions; one of them is for the test.

        Parameters
        ----------
        cubes
            By name of the region.
        held_out, validation
            See `cube.sampling.leave_one_out`.
        settings
            Of the split, buffer and seed are used only.

        Raises
        ------
        SelectionError, PlanError
            As for one region; the message names the region.
        """
        split = settings.split
        if split != SplitSettings(buffer=split.buffer, seed=split.seed):
            raise PlanError(
                "several regions are divided by the region that is held out: of the split's "
                "settings only buffer and seed can be set"
            )
        regions = {name: _opened(cube, settings) for name, cube in cubes.items()}
        plans = leave_one_out(
            regions,
            held_out,
            validation=validation,
            buffer=split.buffer,
            seed=split.seed,
            snapshots={name: cube.snapshot for name, cube in cubes.items()},
            **_options(settings),
        )
        return cls({name: Source(*regions[name], plan) for name, plan in plans.items()})

    @cached_property
    def plans(self) -> dict[str, SamplePlan]:
        """By name of the region."""
        return {name: source.plan for name, source in self.sources.items()}

    @property
    def plan(self) -> SamplePlan:
        """The first region's, for what all plans have in common."""
        return next(iter(self.plans.values()))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """`SamplePlan.summary`, of all regions together."""
        return facts_of(self.plans)

    def part(self, name: Part) -> list[Source]:
        """The regions that have samples in a part."""
        return [source for source in self.sources.values() if len(source.plan.part(name))]

    @cached_property
    def normalisation(self) -> Normalisation:
        """Mean and standard deviation of each band over the training part."""
        from pipelines.stream import band_statistics_of

        mean, std = band_statistics_of(self.part("train"))
        return Normalisation(mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def _opened(cube: Cube, settings: TrainSettings) -> tuple[xr.Dataset, xr.Dataset]:
    view = cube.at(cube.snapshot)
    return settings.of(view), view.dataset("labels", chunks=None).load()


def _options(settings: TrainSettings) -> dict[str, Any]:
    return {
        "patch": settings.patch,
        "stride": settings.steps,
        "sequence": settings.sequence,
        "drawing": settings.drawing,
        "min_valid": settings.min_valid,
    }


def _require_parts(split: SplitSettings) -> None:
    missing = [name for name in ("train", "val") if name not in split.parts]
    if missing:
        raise PlanError(
            f"the split ({split.in_words}) has no part {' and '.join(map(repr, missing))}, and "
            "training learns from one and stops by the other; give each a share above 0"
        )
