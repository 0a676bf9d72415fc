"""Averages of scores over pairs, with intervals, as CSV and Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.bootstrap import Interval
from models.image_metrics import grouped_mean
from pipelines.sharpen_protocol import Protocol, Score

REFERENCE = "bicubic"
"""Method that the others' gains are counted from."""
COLUMNS = {
    "rmse": ("RMSE, K", 3),
    "ubrmse": ("ubRMSE, K", 3),
    "bias": ("bias, K", 2),
    "ssim": ("SSIM", 3),
    "psnr": ("PSNR, dB", 2),
    "gssim": ("GSSIM", 3),
    "hf_corr": ("HF corr.", 3),
    "hf_std_ratio": ("HF std ratio", 2),
    "rmse_att": ("RMSE_att, dB", 2),
    "frr": ("FRR", 2),
    "consistency_box": ("consistency (block mean), K", 3),
    "consistency_psf": ("consistency (PSF), K", 3),
}
"""Of the Markdown table: heading and digits; CSV files have every metric."""
WITH_INTERVAL = ("rmse", "ssim", "rmse_att")
GAIN = "rmse_gain"
TITLES = {
    Protocol.PAPER: "Paper protocol",
    Protocol.REGISTERED: "Registered protocol",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Averages of every method under one protocol."""

    protocol: Protocol
    pairs: int
    groups: int
    """Places that the pairs lie at: what the intervals resample."""
    means: Mapping[str, Mapping[str, Interval]]
    """By method and metric; `GAIN` is the RMSE of bicubic less that of the method."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; bounds that do not exist are null."""
        return {
            "pairs": self.pairs,
            "groups": self.groups,
            "methods": {
                method: {
                    name: {part: _number(value) for part, value in interval._asdict().items()}
                    for name, interval in row.items()
                }
                for method, row in self.means.items()
            },
        }

    def markdown(self) -> str:
        """A heading, a table of `COLUMNS`, and a line on how to read it."""
        names = [name for name in COLUMNS if name != "frr" or self._has("frr")]
        gain = [GAIN] if self._has(GAIN) else []
        titles = ["method", *(COLUMNS[name][0] for name in names)]
        titles += ["RMSE gain on bicubic, K"] * len(gain)
        lines = [
            f"## {TITLES[self.protocol]}",
            "",
            "| " + " | ".join(titles) + " |",
            "|---" * len(titles) + "|",
        ]
        for method, row in self.means.items():
            cells = [_cell(row[name], COLUMNS[name][1], name in WITH_INTERVAL) for name in names]
            cells += [_cell(row[name], 3, bounds=True) for name in gain]
            lines.append("| " + " | ".join([method, *cells]) + " |")
        lines += ["", self._note(), ""]
        return "\n".join(lines)

    def _has(self, name: str) -> bool:
        return all(name in row and math.isfinite(row[name].estimate) for row in self.means.values())

    def _note(self) -> str:
        return (
            f"Means over {self.pairs} pairs at {self.groups} places; in brackets 95 % intervals "
            "from a bootstrap over the places, pairs that share ground kept together."
        )


def table(
    scores: Sequence[Score], protocol: Protocol, locations: Mapping[int, int], *, seed: int = 0
) -> Table:
    """Average scores over pairs.

    Parameters
    ----------
    scores
        Rows of one protocol. Only pairs that every method has are averaged, lest methods be
        compared on different scenes.
    protocol
        Theirs.
    locations
        By pair; pairs of one number share ground.
    seed
        Of the bootstrap.
    """
    by_method: dict[str, dict[int, Mapping[str, float]]] = {}
    for score in scores:
        by_method.setdefault(score.method, {})[score.pair] = score.metrics
    common = sorted(set.intersection(*(set(rows) for rows in by_method.values())))
    groups = [locations[pair] for pair in common]
    means: dict[str, dict[str, Interval]] = {}
    for method, rows in by_method.items() if common else ():
        means[method] = {
            name: grouped_mean([rows[pair][name] for pair in common], groups, seed=seed)
            for name in rows[common[0]]
        }
        if REFERENCE in by_method:
            smooth = by_method[REFERENCE]
            gains = [smooth[pair]["rmse"] - rows[pair]["rmse"] for pair in common]
            means[method][GAIN] = grouped_mean(gains, groups, seed=seed)
    return Table(protocol, len(common), len(set(groups)), means)


def scores_csv(scores: Sequence[Score], locations: Mapping[int, int]) -> str:
    """Every metric of every row, with the place of its pair."""
    rows = [{**score.to_dict(), "location": locations[score.pair]} for score in scores]
    rows.sort(key=lambda row: (row["protocol"], row["pair"]))
    first = ["protocol", "pair", "location", "method"]
    names = [*first, *(name for name in rows[0] if name not in first)]
    return _csv(names, rows)


def summary_csv(tables: Sequence[Table]) -> str:
    """Means and bounds, one row for each protocol, method and metric."""
    rows = [
        {
            "protocol": str(table.protocol),
            "method": method,
            "metric": metric,
            "mean": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "pairs": table.pairs,
            "groups": table.groups,
        }
        for table in tables
        for method, metrics in table.means.items()
        for metric, interval in metrics.items()
    ]
    return _csv(list(rows[0]) if rows else ["protocol"], rows)


def _csv(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cell(interval: Interval, digits: int, bounds: bool) -> str:
    text = f"{interval.estimate:.{digits}f}"
    if bounds and math.isfinite(interval.low):
        text += f" [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"
    return text


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
