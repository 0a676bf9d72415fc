"""What a network keeps, gains and forgets on its way from region to region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.experiment_tables import TableDoc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = {"oa": "OA", "macro_f1": "macro F1"}


@dataclass(frozen=True, eq=False)
class Transfer:
    """A network trained on one region after the other, tested on all of them after each.

    Figures after Lopez-Paz & Ranzato 2017 (arXiv 1706.08840) and Chaudhry et al. 2018
    (arXiv 1801.10112).
    """

    network: str
    regions: tuple[str, ...]
    """In the order of training."""
    replay: float
    scores: Mapping[str, np.ndarray]
    """By name in `FIGURES`, float (after, on): after training on which region, tested on which."""
    scratch: Mapping[str, np.ndarray]
    """(on,): of a network that was trained on that region alone."""
    majority: Mapping[str, np.ndarray]
    """(on,): of the majority class of the region's training part."""

    @property
    def title(self) -> str:
        """What the table and the figure show."""
        return f"{self.network} through {', '.join(self.regions)}, " + (
            f"{self.replay:.0%} of earlier samples shown again" if self.replay else "no replay"
        )

    def backward(self, figure: str) -> float:
        """Backward transfer: how regions trained before have changed at the end; below 0 means
        that the network forgot.
        """
        matrix = self.scores[figure]
        return float(np.mean([matrix[-1, on] - matrix[on, on] for on in range(len(matrix) - 1)]))

    def forgetting(self, figure: str) -> float:
        """How far regions trained before have fallen from their best."""
        matrix = self.scores[figure]
        last = len(matrix) - 1
        return float(np.mean([matrix[:last, on].max() - matrix[last, on] for on in range(last)]))

    def forward(self, figure: str) -> float:
        """Forward transfer: regions not trained on yet, less their majority class."""
        matrix, known = self.scores[figure], self.majority[figure]
        return float(np.mean([matrix[on - 1, on] - known[on] for on in range(1, len(matrix))]))

    def fine_tuned(self, figure: str) -> float:
        """What another region's weights are worth to begin with: fine-tuned less from scratch."""
        matrix, alone = self.scores[figure], self.scratch[figure]
        return float(np.mean([matrix[on, on] - alone[on] for on in range(1, len(matrix))]))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        summary = {
            name: {
                "matrix": self.scores[name].tolist(),
                "scratch": self.scratch[name].tolist(),
                "majority": self.majority[name].tolist(),
                "backward_transfer": self.backward(name),
                "forward_transfer": self.forward(name),
                "forgetting": self.forgetting(name),
                "fine_tuned_less_scratch": self.fine_tuned(name),
            }
            for name in FIGURES
        }
        return {"network": self.network, "regions": list(self.regions), "replay": self.replay,
                **summary}  # fmt: skip

    def tables(self) -> list[TableDoc]:
        """The matrix of each figure, and what follows from it."""
        return [self._table(name) for name in FIGURES]

    def _table(self, name: str) -> TableDoc:
        known = {"trained there alone": self.scratch[name], "majority class": self.majority[name]}
        after = {f"after {region}": row for region, row in
                 zip(self.regions, self.scores[name], strict=True)}  # fmt: skip
        rows = tuple(
            (label, *(f"{value:.3f}" for value in values))
            for label, values in (after | known).items()
        )
        note = (
            f"Backward transfer {self.backward(name):+.3f}, "
            f"forgetting {self.forgetting(name):.3f}, "
            f"forward transfer {self.forward(name):+.3f}, fine-tuned less trained from scratch "
            f"{self.fine_tuned(name):+.3f}. All on ground that no training saw."
        )
        slug = f"transfer-{self.network}-{round(100 * self.replay)}-{name.replace('_', '-')}"
        head = ("", *(f"on {region}" for region in self.regions))
        return TableDoc(slug, f"{FIGURES[name]}: {self.title}", head, rows, note)

    def figure(self) -> Figure:
        """Draw macro F1 on each region after each step of the course."""
        from pipelines.charts import by_step

        return by_step(self.scores["macro_f1"], self.regions, self.majority["macro_f1"])
