"""Thermal signatures of a cube's classes, and what its data say of the study's two hypotheses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cube.lithology import Lithology
from models.signatures import CLAY, COOLING, HEATING, SAND, group_medians, rate, signatures
from models.signatures import hypotheses as judge
from pipelines.pixel_features import date_groups

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube
    from models.signatures import Hypothesis, Signatures

TEMPERATURE = "lst"


def signature_document(cube: Cube, *, least: int = 20) -> dict[str, Any]:
    """Sum up each band by class, year, day and night; compare sand with clay.

    Parameters
    ----------
    cube
        With ``thermal`` and ``labels``.
    least
        A class with fewer valid pixels on a date has no value on it.

    Returns
    -------
    dict
        ``bands`` -> band -> ``classes``, ``years``, ``day_night``, ``heating``, ``cooling`` (a
        rate of each class), ``hypotheses``; and ``verdict``, a sentence: the hypotheses are about
        temperature and cannot be judged from other bands.
    """
    dataset = cube.dataset("thermal", chunks=None).load()
    labels = cube.dataset("labels", chunks=None)["lithology"].transpose("y", "x").to_numpy()
    bands = {str(name): _band(dataset, str(name), labels, least) for name in dataset["band"].values}
    return {
        "region": cube.name,
        "snapshot": cube.snapshot,
        "dates": int(dataset.sizes["time"]),
        "bands": bands,
        "verdict": _verdict(bands, labels),
    }


def _band(dataset: xr.Dataset, band: str, labels: np.ndarray, least: int) -> dict[str, Any]:
    layer = dataset["imagery"].sel(band=band).transpose("time", "y", "x").to_numpy()
    found = signatures(layer, labels, least=least)
    hours = dataset["local_solar_time"].to_numpy()
    days = dataset["time"].dt.dayofyear.to_numpy()
    names = [Lithology(code).name.lower() for code in found.codes]
    light = np.where(date_groups(days, hours)["day"], "day", "night")
    return {
        "classes": _by_class(names, np.nanmedian(_filled(found.median), axis=0)),
        "pixels": _by_class(names, np.median(found.pixels, axis=0)),
        "years": _grouped(found, dataset["time"].dt.year.to_numpy(), names),
        "day_night": _grouped(found, light, names),
        "heating": _rates(found, hours, days, HEATING, names),
        "cooling": _rates(found, hours, days, COOLING, names),
        "hypotheses": [_told(judged) for judged in judge(found, hours, days)],
    }


def _filled(medians: np.ndarray) -> np.ndarray:
    """A class without any value is 0 instead of a warning; it has no name in the result."""
    return np.where(np.isfinite(medians).any(axis=0), medians, 0.0)


def _grouped(found: Signatures, groups: np.ndarray, names: list[str]) -> dict[str, Any]:
    medians = group_medians(found.median, groups)
    return {str(group): _by_class(names, values) for group, values in medians.items()}


def _by_class(names: list[str], values: np.ndarray) -> dict[str, float | None]:
    return {
        name: float(value) if np.isfinite(value) else None
        for name, value in zip(names, values, strict=True)
    }


def _rates(
    found: Signatures,
    hours: np.ndarray,
    days: np.ndarray,
    window: tuple[float, float],
    names: list[str],
) -> dict[str, Any]:
    return {
        name: _plain(rate(found.of(code), hours, days, window)._asdict())
        for name, code in zip(names, found.codes, strict=True)
    }


def _told(judged: Hypothesis) -> dict[str, Any]:
    return {
        "statement": judged.statement,
        "verdict": judged.verdict,
        "difference": _plain(judged.difference._asdict()),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _verdict(bands: dict[str, Any], labels: np.ndarray) -> str:
    absent = [Lithology(code).name.lower() for code in (SAND, CLAY) if not (labels == code).any()]
    if TEMPERATURE not in bands:
        return (
            "cannot be told: the hypotheses are about temperature, and the data hold "
            + ", ".join(bands)
            + (f"; nor is there any {' or '.join(absent)} on the map" if absent else "")
        )
    if absent:
        return f"cannot be told: there is no {' or '.join(absent)} on the map"
    return "; ".join(f"{row['statement']}: {row['verdict']}" for row in
                     bands[TEMPERATURE]["hypotheses"])  # fmt: skip
