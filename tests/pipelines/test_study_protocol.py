"""Networks under the study's own protocol, on the page of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cube.store import Cube
from pipelines.evaluation import MAJORITY, MEMORISE, NETWORK
from pipelines.model_folder import ModelFolder
from pipelines.study_protocol_page import blind, rows, shuffled_rows, verdict
from pipelines.study_shuffled import AS_THEY_ARE, SHUFFLED, shuffle_pixels, shuffled_document


def test_networks_under_the_studys_split_stand_beside_what_it_published() -> None:
    def scores(oa: float, f1: float) -> dict[str, float]:
        return {"oa": oa, "macro_f1": f1}

    def run(oa: float, f1: float) -> dict[str, Any]:
        found = {NETWORK: scores(oa, f1), MAJORITY: scores(0.5, 0.1), MEMORISE: scores(1, 1)}
        return {"scores": found, "plan": {"digest": "d" * 64, "patch": 64, "stride": 64}}

    runs = {"cnn-puertollano": run(0.83, 0.72), "convlstm-puertollano": run(0.97, 0.8)}
    known = {"santa": {"baselines": {"majority": scores(0.4, 0.2), "memorise_place": scores(1, 1)}}}
    head, cnn, convlstm, *others = rows(runs, known)
    assert cnn[:4] == ("puertollano", "CNN", "0.8300 / 0.7200", "0.8220 / 0.7148")
    assert cnn[4:] == ("1.0000 / 1.0000", "0.5000 / 0.1000", f"64 px, `{'d' * 12}`")
    assert {len(row) for row in (head, cnn, convlstm, *others)} == {7}
    assert [row[:3] for row in others] == [
        ("santa", "CNN", "not run"),
        ("santa", "ConvLSTM", "not run"),
    ]
    said = verdict(runs, {})
    assert "above both published figures: CNN in puertollano;" in said
    assert "not above both: ConvLSTM in puertollano;" in said
    assert "not run: CNN in santa, ConvLSTM in santa" in said
    assert verdict({}, {}) == ""


def test_a_network_that_scores_as_well_on_shuffled_pixels_is_named() -> None:
    def document(oa: float, f1: float) -> dict[str, Any]:
        found = {"oa": oa, "macro_f1": f1}
        return {"scores": {AS_THEY_ARE: {"oa": 0.9, "macro_f1": 0.8}, SHUFFLED: found}}

    found = {"cnn-puertollano": document(0.6, 0.4), "cnn-santa": document(0.89, 0.68)}
    assert blind(found).endswith("CNN in santa.**")
    assert list(shuffled_rows(found))[1:] == [
        ("puertollano", "CNN", "0.9000 / 0.8000", "0.6000 / 0.4000"),
        ("santa", "CNN", "0.9000 / 0.8000", "0.8900 / 0.6800"),
    ]


def test_shuffled_pixels_are_the_same_pixels_and_none_is_missing_elsewhere() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 3, 8, 8, 2)).astype(np.float32)
    x[0, 1, :4, :, 0] = np.nan
    found = shuffle_pixels(x, rng)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(x))
    for image, other in zip(x.reshape(6, 64, 2), found.reshape(6, 64, 2), strict=True):
        valid = np.isfinite(image).all(axis=1)
        np.testing.assert_array_equal(other[~valid], image[~valid])
        assert (other[valid] != image[valid]).any()
        pixels, others = (each[valid][np.argsort(each[valid, 1])] for each in (image, other))
        np.testing.assert_array_equal(others, pixels)


def test_a_network_that_looks_at_the_imagery_loses_when_pixels_are_shuffled(
    tiny_cube: Cube, thermometer: Callable[..., ModelFolder]
) -> None:
    document = shuffled_document(tiny_cube, thermometer("looks").path)
    assert document["scores"][AS_THEY_ARE]["oa"] == 1
    assert document["scores"][SHUFFLED]["oa"] < 0.7
