from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from models.metrics import bins_of, confusion, confusion_by_group, scores

CLASSES = 5

maps = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.uint8, n, elements=st.integers(0, CLASSES - 1)),
        hnp.arrays(np.uint8, n, elements=st.integers(0, CLASSES - 1)),
    )
)


@settings(deadline=None, max_examples=50)
@given(maps)
def test_scores_are_those_of_scikit_learn(pair):
    truth, predicted = pair
    labelled = truth != 0
    assume(labelled.any())
    ours = scores(confusion(truth, predicted, CLASSES))
    y, p = truth[labelled], predicted[labelled]
    present = np.unique(y)

    assert ours.pixels == len(y)
    assert ours.oa == pytest.approx(reference.accuracy_score(y, p))
    averages = {"labels": present, "average": "macro", "zero_division": 0}
    assert ours.macro_f1 == pytest.approx(reference.f1_score(y, p, **averages))
    assert ours.aa == pytest.approx(reference.recall_score(y, p, **averages))
    assert ours.mean_iou == pytest.approx(reference.jaccard_score(y, p, **averages))
    averages["average"] = "weighted"
    assert ours.weighted_f1 == pytest.approx(reference.f1_score(y, p, **averages))
    if len(np.union1d(y, p)) > 1:
        assert ours.kappa == pytest.approx(reference.cohen_kappa_score(y, p))


@settings(deadline=None, max_examples=50)
@given(maps)
def test_per_class_scores_are_those_of_scikit_learn(pair):
    truth, predicted = pair
    labelled = truth != 0
    assume(labelled.any())
    rows = scores(confusion(truth, predicted, CLASSES)).per_class
    y, p = truth[labelled], predicted[labelled]
    codes = np.setdiff1d(np.union1d(y, p), [0])
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        y, p, labels=codes, zero_division=0
    )
    assert [row.code for row in rows] == list(codes)
    np.testing.assert_allclose([row.precision for row in rows], precision)
    np.testing.assert_allclose([row.recall for row in rows], recall)
    np.testing.assert_allclose([row.f1 for row in rows], f1)
    assert [row.support for row in rows] == list(support)
    iou = reference.jaccard_score(y, p, labels=codes, average=None, zero_division=0)
    np.testing.assert_allclose([row.iou for row in rows], iou)


@settings(deadline=None, max_examples=50)
@given(maps, st.integers(0, 60))
def test_counts_of_pieces_add_up_to_the_counts_of_the_whole(pair, cut):
    truth, predicted = pair
    whole = confusion(truth, predicted, CLASSES)
    pieces = confusion(truth[:cut], predicted[:cut], CLASSES)
    pieces = pieces + confusion(truth[cut:], predicted[cut:], CLASSES)
    np.testing.assert_array_equal(whole, pieces)
    assert whole.sum() == (truth != 0).sum()
    assert whole.dtype == np.int64


def test_groups_of_dates_and_of_pixels_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, (6, 7))
    predicted = rng.integers(0, CLASSES, (3, 6, 7))
    valid = rng.random((3, 6, 7)) < 0.8
    whole = confusion(np.broadcast_to(truth, (3, 6, 7)), predicted, CLASSES, valid=valid)
    seasons = np.array(["winter", "summer", "winter"])[:, np.newaxis, np.newaxis]
    by_season = confusion_by_group(truth, predicted, CLASSES, seasons, valid=valid)
    assert list(by_season) == ["summer", "winter"]
    np.testing.assert_array_equal(sum(by_season.values()), whole)
    np.testing.assert_array_equal(
        by_season["summer"], confusion(truth, predicted[1], CLASSES, valid=valid[1])
    )
    by_row = confusion_by_group(
        truth, predicted, CLASSES, np.arange(6)[:, np.newaxis] - 1, valid=valid
    )
    assert list(by_row) == [0, 1, 2, 3, 4]  # the first row is in no group
    np.testing.assert_array_equal(
        by_row[4],
        confusion(np.broadcast_to(truth[5], (3, 7)), predicted[:, 5], CLASSES, valid=valid[:, 5]),
    )


def test_groups_without_a_labelled_pixel_are_left_out():
    groups = np.array([np.nan, 1.0, 2.0, 2.0])
    found = confusion_by_group([1, 0, 2, 1], [1, 1, 2, 2], 3, groups)
    assert list(found) == [2.0]
    assert found[2.0].sum() == 2
    with pytest.raises(ValueError, match="map holds 9"):
        confusion_by_group([1, 1], [1, 9], 3, [0, 0])


def test_bins_hold_their_lower_edge_and_the_last_both():
    found = bins_of([[-0.1, 0.0, 0.19], [0.2, 0.4, np.nan]], [0.0, 0.2, 0.4])
    np.testing.assert_array_equal(found, [[-1, 0, 0], [1, 1, -1]])


def test_nodata_in_the_truth_is_never_scored():
    truth = np.array([[1, 2], [0, 0]], np.uint8)
    right, wrong = np.array([[1, 2], [0, 0]]), np.array([[1, 2], [2, 1]])
    assert scores(confusion(truth, right, 3)) == scores(confusion(truth, wrong, 3))


def test_nodata_predicted_on_a_labelled_pixel_is_an_error():
    result = scores(confusion([1, 1, 2, 2], [1, 0, 2, 2], 3))
    assert result.oa == 0.75
    assert [(row.code, row.recall) for row in result.per_class] == [(1, 0.5), (2, 1.0)]


def test_a_class_that_only_the_map_has_is_listed_but_not_averaged():
    result = scores(confusion([1, 1, 1, 1], [1, 1, 1, 3], 4))
    assert [(row.code, row.support) for row in result.per_class] == [(1, 4), (3, 0)]
    assert result.aa == 0.75
    assert result.macro_f1 == pytest.approx(6 / 7)


def test_pixels_without_imagery_are_left_out_by_the_valid_mask():
    valid = np.array([True, False])
    counts = confusion([[1, 2], [2, 2]], [[1, 0], [1, 0]], 3, valid=valid)
    np.testing.assert_array_equal(counts, [[0, 0, 0], [0, 1, 0], [0, 1, 0]])


def test_kappa_of_one_single_class_is_zero_not_nan():
    assert scores(confusion([2, 2], [2, 2], 3)).kappa == 0.0


def test_majority_of_the_study_region_scores_as_published():
    """Labels of Puertollano: 62.2 % detritic, nine classes; .622 / .085 in the study's rebuild."""
    labels = {1: 162, 2: 60, 4: 1013, 6: 1474, 7: 59221, 8: 10824, 9: 8950, 11: 111, 12: 13456}
    truth = np.repeat(list(labels), list(labels.values()))
    result = scores(confusion(truth, np.full_like(truth, 7), 14))
    assert round(result.oa, 3) == 0.622
    assert round(result.macro_f1, 3) == 0.085
    assert result.kappa == pytest.approx(0.0)
    assert len(result.per_class) == 9


def test_scores_become_json():
    tables = json.loads(json.dumps(scores(confusion([1, 2], [1, 1], 3)).to_dict()))
    assert tables["oa"] == 0.5
    assert tables["per_class"][1] == {
        "code": 2,
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "iou": 0.0,
        "support": 1,
    }


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([1, 2], [1], "shape"),
        ([1, 3], [1, 1], "truth holds 3"),
        ([1, 2], [1, 255], "map holds 255"),
        ([1, -1], [1, 1], "truth holds -1"),
        ([1.0, np.nan], [1, 1], "integers"),
    ],
)
def test_what_is_not_a_class_map_is_refused(truth, predicted, message):
    with pytest.raises(ValueError, match=message):
        confusion(truth, predicted, 3)


def test_an_empty_matrix_is_refused():
    with pytest.raises(ValueError, match="no labelled pixel"):
        scores(confusion([0, 0], [1, 2], 3))
    with pytest.raises(ValueError, match="square"):
        scores(np.ones((2, 3)))


def test_scores_and_baselines_need_no_keras():
    code = (
        "import sys, models.metrics, models.baselines; "
        "sys.exit(bool({'keras', 'tensorflow', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
