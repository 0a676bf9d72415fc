from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

pytestmark = pytest.mark.train

CLASSES = 14
SHAPE = (2, 4, 4)


@pytest.fixture(scope="module")
def losses(keras: ModuleType) -> ModuleType:
    import models.losses

    return models.losses


def _batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, SHAPE).astype(np.uint8)
    scores = np.exp(rng.normal(size=(*SHAPE, CLASSES)))
    probability = (scores / scores.sum(axis=-1, keepdims=True)).astype(np.float32)
    return labels, probability, rng.choice([0.0, 0.5, 1.0], SHAPE).astype(np.float32)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("region", [None, "puertollano", "santa_olalla", "villoslada"])
def test_loss_is_the_formula(losses, region, gamma):
    labels, probability, weight = _batch()
    table = None if region is None else losses.CLASS_WEIGHTS[region]
    value = float(losses.weighted_crossentropy(table, gamma)(labels, probability, weight))

    p = np.take_along_axis(probability, labels[..., np.newaxis].astype(int), axis=-1)[..., 0]
    per_class = np.array(table or [0.0] + [1.0] * (CLASSES - 1))
    total = per_class[labels] * weight
    expected = (total * (1 - p) ** gamma * -np.log(p)).sum() / total.sum()
    assert value == pytest.approx(expected, rel=1e-5)


def test_loss_is_that_of_keras_where_every_pixel_is_labelled(keras, losses):
    labels, probability, _ = _batch()
    labels = np.maximum(labels, 1)
    ours = losses.weighted_crossentropy()(labels, probability)
    theirs = keras.losses.SparseCategoricalCrossentropy()(labels, probability)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_loss_does_not_depend_on_how_much_nodata_is_in_the_batch(losses, gamma):
    labels, probability, weight = _batch()
    loss = losses.weighted_crossentropy(losses.CLASS_WEIGHTS["puertollano"], gamma)
    empty = np.zeros_like(labels)
    padded = loss(
        np.concatenate([labels, empty, empty]),
        np.concatenate([probability] * 3),
        np.concatenate([weight] * 3),
    )
    assert float(padded) == pytest.approx(float(loss(labels, probability, weight)), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_what_lies_under_weight_zero_does_not_count(losses, gamma):
    """Defect 13: nodata trained as a class."""
    labels, probability, weight = _batch(1)
    loss = losses.weighted_crossentropy(gamma=gamma)
    missing = (weight == 0) | (labels == 0)
    changed = probability.copy()
    changed[missing] = np.eye(CLASSES)[3]
    before = float(loss(labels, probability, weight))
    assert float(loss(labels, changed, weight)) == pytest.approx(before, rel=1e-6)
    for other in (0, 5, 255):
        relabelled = np.where(weight == 0, np.uint8(other), labels)
        assert float(loss(relabelled, probability, weight)) == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_batch_without_a_valid_pixel_has_no_loss_and_teaches_nothing(keras, losses, gamma):
    labels, probability, weight = _batch()
    loss = losses.weighted_crossentropy(gamma=gamma)
    assert float(loss(np.zeros_like(labels), probability)) == 0.0
    assert float(loss(labels, probability, np.zeros_like(weight))) == 0.0

    network = _pixelwise(keras)
    network.compile("sgd", loss)
    before = _kernel(keras, network)
    imagery = np.ones((*SHAPE, 2), np.float32)
    assert float(network.train_on_batch(imagery, np.zeros_like(labels))) == 0.0
    np.testing.assert_array_equal(_kernel(keras, network), before)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_invalid_pixels_have_no_gradient(keras, losses, gamma):
    labels, _, weight = _batch()
    imagery = np.random.default_rng(2).normal(size=(*SHAPE, 2)).astype(np.float32)
    changed = np.where(((weight == 0) | (labels == 0))[..., np.newaxis], 50.0, imagery)
    kernels = []
    for x in (imagery, changed):
        network = _pixelwise(keras)
        network.compile(keras.optimizers.SGD(0.5), losses.weighted_crossentropy(gamma=gamma))
        start = _kernel(keras, network)
        network.train_on_batch(x, labels, weight)
        kernels.append(_kernel(keras, network))
    np.testing.assert_allclose(kernels[0], kernels[1], rtol=1e-5, atol=1e-6)
    assert not np.allclose(kernels[0], start)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_perfect_and_hopeless_predictions_give_finite_losses(losses, gamma):
    labels = np.full(SHAPE, 2)
    right = np.broadcast_to(np.eye(CLASSES, dtype=np.float32)[2], (*SHAPE, CLASSES))
    wrong = np.broadcast_to(np.eye(CLASSES, dtype=np.float32)[3], (*SHAPE, CLASSES))
    loss = losses.weighted_crossentropy(gamma=gamma)
    assert float(loss(labels, right)) == pytest.approx(0.0, abs=1e-5)
    assert 10 < float(loss(labels, wrong)) < 20


def test_labels_and_weights_may_have_a_last_dimension_of_one(losses):
    labels, probability, weight = _batch()
    loss = losses.weighted_crossentropy()
    with_channel = loss(labels[..., np.newaxis], probability, weight[..., np.newaxis])
    assert float(with_channel) == pytest.approx(float(loss(labels, probability, weight)))


def test_loss_survives_serialisation(keras, losses):
    loss = losses.weighted_crossentropy(losses.CLASS_WEIGHTS["villoslada"], 2.0)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is losses.WeightedCrossentropy
    assert again.get_config() == loss.get_config()
    assert float(again(*_batch())) == float(loss(*_batch()))


def test_class_zero_has_no_weight_in_any_table(losses):
    for table in losses.CLASS_WEIGHTS.values():
        assert len(table) == CLASSES
        assert table[0] == 0
    assert losses.CLASS_WEIGHTS["puertollano"][11] == 15
    assert losses.WeightedCrossentropy([1.5, 10, 10]).class_weights == (0.0, 10.0, 10.0)


@pytest.mark.parametrize("weights", [[], [1.0], [1.0, 0.0, 0.0], [0, -1, 2], [0, float("nan"), 1]])
def test_senseless_class_weights_are_refused(losses, weights):
    with pytest.raises(ValueError, match="class weights"):
        losses.weighted_crossentropy(weights)


def test_a_loss_that_does_not_fit_is_refused(losses):
    with pytest.raises(ValueError, match="gamma"):
        losses.weighted_crossentropy(gamma=-1.0)
    labels, probability, _ = _batch()
    with pytest.raises(ValueError, match="14 classes, but there are 3"):
        losses.weighted_crossentropy([0, 1, 1])(labels, probability)


def _pixelwise(keras: ModuleType):
    """A network in which no pixel sees another."""
    return keras.Sequential(
        [
            keras.Input((*SHAPE[1:], 2)),
            keras.layers.Conv2D(
                CLASSES,
                1,
                activation="softmax",
                kernel_initializer=keras.initializers.GlorotUniform(seed=3),
            ),
        ]
    )


def _kernel(keras: ModuleType, network) -> np.ndarray:
    from models.files import variables_as_arrays

    with variables_as_arrays():
        return np.array(keras.ops.convert_to_numpy(network.layers[-1].kernel.value))


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_smoothing_spreads_a_share_of_each_label_over_the_other_classes(losses, gamma):
    labels, probability, _ = _batch(3)
    labels = np.maximum(labels, 1)
    value = float(losses.weighted_crossentropy(None, gamma, smoothing=0.1)(labels, probability))
    target = 0.9 * np.eye(CLASSES)[labels] + 0.1 * (np.arange(CLASSES) > 0) / (CLASSES - 1)
    p = np.take_along_axis(probability, labels[..., np.newaxis].astype(int), axis=-1)[..., 0]
    expected = ((1 - p) ** gamma * -(target * np.log(probability)).sum(axis=-1)).mean()
    assert value == pytest.approx(expected, rel=1e-5)


def test_the_dice_term_is_the_formula_over_valid_pixels(losses):
    labels, probability, weight = _batch(4)
    counted = (labels > 0) & (weight > 0)
    truth, shares = np.eye(CLASSES)[labels][counted], probability[counted]
    there = truth.any(axis=0)
    dice = 2 * (truth * shares).sum(axis=0) / (truth.sum(axis=0) + shares.sum(axis=0))
    plain = float(losses.weighted_crossentropy()(labels, probability, weight))
    mixed = float(losses.weighted_crossentropy(dice=0.3)(labels, probability, weight))
    assert mixed == pytest.approx(0.7 * plain + 0.3 * (1 - dice[there].mean()), rel=1e-5)


def test_the_dice_term_counts_a_rare_class_as_much_as_a_common_one(losses):
    labels = np.full((1, 10, 10), 1)
    labels[0, 0, :2] = 2
    sure = np.eye(3, dtype=np.float32)
    common, rare = sure[labels].copy(), sure[labels].copy()
    common[0, 9, :2] = sure[2]
    rare[0, 0, :2] = sure[1]
    loss = losses.weighted_crossentropy(dice=0.99)
    assert float(loss(labels, rare)) > 1.5 * float(loss(labels, common))


@pytest.mark.parametrize("options", [{"dice": 0.5}, {"smoothing": 0.1}])
def test_options_learn_nothing_from_invalid_pixels_either(keras, losses, options):
    labels, probability, weight = _batch(1)
    loss = losses.weighted_crossentropy(gamma=2.0, **options)
    changed = probability.copy()
    changed[(weight == 0) | (labels == 0)] = np.eye(CLASSES)[3]
    before = float(loss(labels, probability, weight))
    assert float(loss(labels, changed, weight)) == pytest.approx(before, rel=1e-5)
    assert float(loss(np.zeros_like(labels), probability)) == 0.0
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert float(again(labels, probability, weight)) == before
    network = _pixelwise(keras)
    network.compile("sgd", loss)
    kernel = _kernel(keras, network)
    network.train_on_batch(np.ones((*SHAPE, 2), np.float32), np.zeros_like(labels))
    np.testing.assert_array_equal(_kernel(keras, network), kernel)


@pytest.mark.parametrize("options", [{"dice": 1.0}, {"dice": -0.1}, {"smoothing": 1.0}])
def test_shares_out_of_range_are_refused(losses, options):
    with pytest.raises(ValueError, match=r"is in \[0, 1\)"):
        losses.weighted_crossentropy(**options)
