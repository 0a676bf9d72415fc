from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.baselines import Majority, MemorisePlace
from models.metrics import confusion, scores

label_maps = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.integers(1, 13),
)


def test_majority_is_the_class_with_the_largest_weight():
    labels = np.array([[3, 3, 3], [5, 5, 0]], np.uint8)
    assert Majority.fit(labels).label == 3
    assert Majority.fit(labels, np.array([[1, 0, 0], [1, 1, 9]])).label == 5
    np.testing.assert_array_equal(Majority.fit(labels).predict((2, 2)), [[3, 3], [3, 3]])
    assert Majority.fit(labels).predict((2, 2)).dtype == np.uint8


def test_majority_ignores_nodata_however_much_there_is():
    assert Majority.fit(np.array([0, 0, 0, 0, 4])).label == 4


@settings(deadline=None, max_examples=50)
@given(label_maps, st.integers(1, 4))
def test_memory_is_perfect_where_every_place_was_seen(labels, dates):
    """Defect 8: a static map shared by training and test is learnt by place alone."""
    series = np.repeat(labels[np.newaxis], dates, axis=0)
    memory = MemorisePlace.fit(series)
    assert memory.seen.all()
    assert scores(confusion(series, memory.predict(series.shape), 14)).oa == 1.0


@settings(deadline=None, max_examples=50)
@given(label_maps, st.data())
def test_memory_is_the_majority_where_no_place_was_seen(labels, data):
    train = data.draw(hnp.arrays(np.bool_, labels.shape).filter(np.any))
    memory = MemorisePlace.fit(labels, train)
    majority = Majority.fit(labels, train)
    np.testing.assert_array_equal(memory.seen, train)
    np.testing.assert_array_equal(memory.predict()[train], labels[train])
    assert (memory.predict()[~train] == majority.label).all()


def test_memory_takes_the_most_frequent_label_of_a_place():
    labels = np.array([[[1, 2]], [[1, 3]], [[4, 3]], [[4, 0]], [[4, 0]]], np.uint8)
    weight = np.array([1, 1, 1, 1, 0], np.float32)[:, np.newaxis, np.newaxis]
    np.testing.assert_array_equal(MemorisePlace.fit(labels).predict(), [[4, 3]])
    np.testing.assert_array_equal(MemorisePlace.fit(labels, weight).predict(), [[1, 3]])


def test_counts_of_dates_stand_for_a_repeated_map():
    labels = np.array([[1, 2], [2, 1]], np.uint8)
    dates = np.array([[3, 0], [1, 1]])
    series = np.repeat(labels[np.newaxis], 3, axis=0)
    weight = np.arange(3)[:, np.newaxis, np.newaxis] < dates
    once, repeated = MemorisePlace.fit(labels, dates), MemorisePlace.fit(series, weight)
    np.testing.assert_array_equal(once.predict(), repeated.predict())


def test_what_is_learnt_cannot_be_changed_through_a_prediction():
    memory = MemorisePlace.fit(np.array([[1, 2]]))
    memory.predict()[:] = 9
    memory.predict((3, 1, 2))[:] = 9
    np.testing.assert_array_equal(memory.predict(), [[1, 2]])


@pytest.mark.parametrize("predictor", [Majority, MemorisePlace])
def test_bad_training_data_is_refused(predictor):
    grid = np.array([[1, 2]])
    with pytest.raises(ValueError, match="nothing to learn"):
        predictor.fit(grid, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="nothing to learn"):
        predictor.fit(np.zeros((1, 2), np.uint8))
    with pytest.raises(ValueError, match="integers"):
        predictor.fit(np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="from 1 to 300"):
        predictor.fit(np.array([[1, 300]]))
    with pytest.raises(ValueError, match="NaN"):
        predictor.fit(grid, np.array([[1.0, np.nan]]))


def test_memory_of_another_grid_is_refused():
    """Defect 4: labels looked up by pixel index on another grid."""
    with pytest.raises(ValueError, match="grid"):
        MemorisePlace.fit(np.array([[1, 2]])).predict((2, 2))
    with pytest.raises(ValueError, match="y, x"):
        MemorisePlace.fit(np.array([1, 2]))


def test_study_region_scores_as_published(shared_data):
    import xarray as xr

    with xr.open_dataset(shared_data / "thesis_puertollano.nc") as study:
        labels = study["labels"].values.astype(np.uint8)
    majority = Majority.fit(labels)
    result = scores(confusion(labels, majority.predict(labels.shape), 14))
    assert (round(result.oa, 3), round(result.macro_f1, 3)) == (0.622, 0.085)
    memory = MemorisePlace.fit(labels)
    result = scores(confusion(labels, memory.predict(labels.shape), 14))
    assert (result.oa, result.macro_f1) == (1.0, 1.0)
