"""What became of a planned scene, and by which rule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cube import timeline
from cube.ledger import Row, Status
from cube.region import ModalitySettings
from cube.scene import Coverage
from pipelines.plan import Work


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one planned scene, before it is committed."""

    work: Work
    rows: tuple[Row, ...]
    step: timeline.Step | None = None
    """The scene to be written; None if it is rejected or nothing could be read."""
    remove: tuple[datetime, ...] = ()
    """Times of the stored scenes whose place it takes."""
    read: int = 0
    """Bytes of the granules that were read for it."""
    lost: bool = False
    """Whether its readers died again and again, of this scene or of one read beside it."""

    @property
    def line(self) -> str:
        """One line for a log."""
        head = f"{self.work.scene.modality} {self.work.scene.time:%Y-%m-%d %H:%M:%S}"
        if self.step is None:
            # What failed tells more than what it leaves as it was.
            for row in sorted(self.rows, key=lambda row: not row.failing)[:1]:
                head += f" {Status.FAILED if row.failing else row.status}: {row.reason}"
            return head
        coverage = self.step.coverage
        return (
            f"{head} ingested: {coverage.valid_fraction:.1%} of the region valid, "
            f"cloud {coverage.cloud_fraction:.1%}, bad {coverage.bad_fraction:.1%}"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a scene is not kept."""

    status: Status
    rule: str
    reason: str
    figure: float
    limit: float


def screen(coverage: Coverage, settings: ModalitySettings, *, measured: bool) -> Verdict | None:
    """Decide whether a scene is kept.

    Parameters
    ----------
    coverage
        Its figures.
    settings
        The modality's limits.
    measured
        Whether anything at all was measured inside the region.

    Returns
    -------
    Verdict or None
        The first rule that the scene breaks; None if it is kept.
    """
    if not measured:
        nan = float("nan")
        return Verdict(Status.EMPTY, "", "nothing of it was measured inside the region", nan, nan)
    limits = (
        ("max_cloud", coverage.cloud_fraction, settings.max_cloud, "cloud"),
        ("max_bad", coverage.bad_fraction, settings.max_bad, "bad"),
    )
    for rule, figure, limit, what in limits:
        if figure > limit:
            reason = f"{figure:.1%} of its measured pixels are {what}; the limit is {limit:.1%}"
            return Verdict(Status.REJECTED, rule, reason, figure, limit)
    figure, limit = coverage.valid_fraction, settings.min_valid
    if figure < limit or figure == 0:
        reason = f"{figure:.1%} of the region is valid; the limit is {limit:.1%}"
        return Verdict(Status.REJECTED, "min_valid", reason, figure, limit)
    return None
