"""Networks under a split that does not leak, on the page of results."""

from __future__ import annotations

from typing import Any

from pipelines.evaluation import MAJORITY, MEMORISE, PREDICTORS
from pipelines.study_networks_page import rows, section, verdict


def document(oa: float) -> dict[str, Any]:
    def scores(worth: float) -> dict[str, Any]:
        return {who: {"oa": worth, "macro_f1": worth / 4} for who in PREDICTORS}

    span = {who: {"oa": [0.5, 0.75], "macro_f1": [0.1, 0.2]} for who in PREDICTORS}
    return {
        "split": "leak-safe split: fold 1 of 6 of spatial blocks of 32 px, 24 px apart; no place",
        "scores": scores(oa),
        "intervals": {"scores": span},
        "all_dates": scores(oa + 0.04),
        "all_dates_intervals": {"scores": span},
        "folds": [{"plan": {"digest": str(fold) * 64}} for fold in range(6)],
    }


def test_each_network_stands_beside_its_baselines_on_dates_and_on_one_map() -> None:
    head, *body = rows({"convlstm-santa": document(0.6), "cnn-puertollano": document(0.52)})
    assert {len(row) for row in (head, *body)} == {6}
    assert [row[:2] for row in body] == [
        ("puertollano", "CNN"),
        ("puertollano", f"{MAJORITY}, as the CNN"),
        ("puertollano", f"{MEMORISE}, as the CNN"),
        ("santa", "ConvLSTM"),
        ("santa", f"{MAJORITY}, as the ConvLSTM"),
        ("santa", f"{MEMORISE}, as the ConvLSTM"),
    ]
    assert body[0][2:] == (
        "0.520 [0.500, 0.750]",
        "0.130 [0.100, 0.200]",
        "0.560 [0.500, 0.750]",
        "0.140 [0.100, 0.200]",
    )


def test_the_section_says_how_ground_was_divided() -> None:
    text = " ".join(section({"cnn-santa": document(0.6)}).split())
    assert (
        "6 folds, every block of ground tested once (spatial blocks of 32 px, 24 px apart)" in text
    )
    assert "CNN in santa 0.640 / 0.160, 0.640 / 0.160." in verdict({"cnn-santa": document(0.6)})
    assert f"* cnn-santa: `{'0' * 12}`, `{'1' * 12}`" in text
    assert section({}) == verdict({}) == ""
