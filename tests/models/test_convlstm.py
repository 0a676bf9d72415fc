from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from pydantic import ValidationError

pytestmark = pytest.mark.train

MEAN, STD = (300.0, 0.95), (12.0, 0.02)


@pytest.fixture(scope="module")
def convlstm(keras: ModuleType) -> ModuleType:
    import models.convlstm

    return models.convlstm


@pytest.fixture(scope="module")
def tiny(convlstm):
    return convlstm.ConvLSTMSettings(
        filters=3, depth=1, l2=0.0, encoder_dropout=(0.0,), bottleneck_dropout=0.0
    )


@pytest.fixture(scope="module")
def network(convlstm, tiny):
    return convlstm.build_convlstm(tiny, 2, 14, 6, 4, mean=MEAN, std=STD)


def _imagery(seed: int, *shape: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(*shape, 2))
    return (noise * STD + MEAN).astype(np.float32)


def test_study_network_has_the_published_size(convlstm):
    """27.5 million parameters with two bands, five dates and 14 classes, as published."""
    settings = convlstm.ConvLSTMSettings.study()
    model = convlstm.build_convlstm(settings, 2, 14, 64, mean=MEAN, std=STD)
    assert model.count_params() == 27_523_630
    assert model.input_shape == (None, 5, 64, 64, 2)
    assert model.output_shape == (None, 64, 64, 14)
    cells = [layer for layer in model.layers if layer.name.endswith("_lstm")]
    assert [cell.filters for cell in cells] == [16, 16, 32, 32, 64, 64, 128, 128, 256, 256, 512]
    dropped = {layer.name: layer.rate for layer in model.layers if "dropout" in layer.name}
    assert dropped == {
        "encoder_3_dropout": 0.10,
        "encoder_4_dropout": 0.15,
        "encoder_5_dropout": 0.20,
        "bottleneck_dropout": 0.3,
    }
    # Kernels of eleven cells, five decoder convolutions, head and softmax are penalised.
    assert len(model.losses) == 11 + 5 + 2


def test_small_network_is_small(convlstm):
    settings = convlstm.ConvLSTMSettings.preset("small")
    model = convlstm.build_convlstm(settings, 2, 14, 32, mean=MEAN, std=STD)
    assert model.count_params() == 428_382


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_cell_is_that_of_keras_where_nothing_is_missing(keras, convlstm, activation):
    theirs = keras.layers.ConvLSTM2D(
        4, 3, padding="same", activation=activation, return_sequences=True, return_state=True
    )
    ours = convlstm.ConvLSTM(4, activation)
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 7, 3)).astype(np.float32)
    expected = theirs(x)
    found = ours(x)
    np.testing.assert_array_equal(ours.get_weights()[2], theirs.get_weights()[2])
    ours.set_weights(theirs.get_weights())
    start = [np.full((2, 6, 7, 4), 0.5, np.float32)] * 2
    pairs = [(ours(x), expected), (ours(x, states=start), theirs(x, initial_state=start))]
    for mine, other in pairs:
        for value, wanted in zip(mine, other, strict=True):
            np.testing.assert_allclose(value, wanted, atol=1e-5)
    assert found[0].shape == ours.compute_output_shape(x.shape)[0]


def test_the_cell_keeps_its_state_over_what_is_missing(convlstm):
    cell = convlstm.ConvLSTM(3)
    x = np.random.default_rng(1).normal(size=(2, 4, 6, 6, 2)).astype(np.float32)
    present = np.ones((2, 4, 6, 6, 1), np.float32)
    present[0, 1:3] = 0  # two dates
    present[1, 2, 2, 3] = 0  # a pixel
    sequence, hidden, memory = (np.asarray(value) for value in cell(x, present))
    shorter = [np.asarray(value) for value in cell(x[:1, [0, 3]])]
    np.testing.assert_allclose(hidden[:1], shorter[1], atol=1e-6)
    np.testing.assert_allclose(memory[:1], shorter[2], atol=1e-6)
    np.testing.assert_array_equal(sequence[0, 1], sequence[0, 0])
    np.testing.assert_array_equal(sequence[1, 2, 2, 3], sequence[1, 1, 2, 3])
    assert not np.allclose(sequence[1, 2, 2, 4], sequence[1, 1, 2, 4])


def test_a_missing_date_is_as_if_it_were_not_there(convlstm, tiny, network):
    shorter = convlstm.build_convlstm(tiny, 2, 14, 6, 3, mean=MEAN, std=STD)
    shorter.set_weights(network.get_weights())
    imagery = _imagery(2, 3, 4, 6, 6)
    for date in range(4):
        gap = imagery.copy()
        gap[:, date] = np.nan
        expected = shorter.predict_on_batch(np.delete(imagery, date, axis=1))
        np.testing.assert_allclose(network.predict_on_batch(gap), expected, atol=1e-5)


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_missing_pixels_never_give_nan(network, missing, share):
    imagery = _imagery(1, 3, 4, 6, 6)
    imagery[np.random.default_rng(1).random(imagery.shape) < share] = missing
    output = network.predict_on_batch(imagery)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output.sum(axis=-1), 1.0, rtol=1e-5)


def test_the_order_of_dates_matters(network):
    imagery = _imagery(3, 2, 4, 6, 6)
    assert not np.allclose(
        network.predict_on_batch(imagery), network.predict_on_batch(imagery[:, ::-1]), atol=1e-4
    )


def test_images_of_any_size_and_patches_that_do_not_divide(convlstm, tiny, network):
    open_network = convlstm.build_convlstm(tiny, 2, 14, None, 4, mean=MEAN, std=STD)
    odd = convlstm.build_convlstm(tiny, 2, 14, 5, 4, mean=MEAN, std=STD)
    for other in (open_network, odd):
        other.set_weights(network.get_weights())
    imagery = _imagery(4, 2, 4, 6, 6)
    np.testing.assert_allclose(
        open_network.predict_on_batch(imagery), network.predict_on_batch(imagery), atol=1e-6
    )
    assert open_network.predict_on_batch(_imagery(4, 1, 4, 4, 10)).shape == (1, 4, 10, 14)
    imagery[:, :, 5:] = imagery[:, :, :, 5:] = np.nan
    output = odd.predict_on_batch(imagery[:, :, :5, :5])
    assert output.shape == (2, 5, 5, 14)
    np.testing.assert_allclose(output, network.predict_on_batch(imagery)[:, :5, :5], atol=1e-6)


def test_feedback_sends_the_first_map_and_the_states_round_again(convlstm, tiny):
    settings = tiny.model_copy(update={"feedback": True})
    model = convlstm.build_convlstm(settings, 2, 5, 4, 2, mean=MEAN, std=STD)
    plain = convlstm.build_convlstm(tiny, 2, 5, 4, 2, mean=MEAN, std=STD)
    # One set of weights for both rounds: only the first cell sees five more channels.
    assert model.count_params() == plain.count_params() + 3 * 3 * 5 * 4 * 3
    before = model.predict_on_batch(_imagery(5, 1, 2, 4, 4))
    np.testing.assert_allclose(before.sum(axis=-1), 1.0, rtol=1e-5)

    cell = model.get_layer("encoder_1_a_lstm")
    kernel, recurrent, bias = cell.get_weights()
    kernel[:, :, 2:] = 0  # deaf to the first map
    cell.set_weights([kernel, recurrent, bias])
    deaf = model.predict_on_batch(_imagery(5, 1, 2, 4, 4))
    assert not np.allclose(before, deaf, atol=1e-5)
    # With the map unheard, the second round goes on from where the first ended: twice the dates.
    twice = convlstm.build_convlstm(tiny, 2, 5, 4, 4, mean=MEAN, std=STD)
    for layer in twice.layers:
        weights = model.get_layer(layer.name).get_weights() if layer.weights else []
        layer.set_weights([w[:, :, :2] if w.shape == kernel.shape else w for w in weights])
    imagery = _imagery(5, 1, 2, 4, 4)
    both = np.concatenate([imagery] * 2, axis=1)
    np.testing.assert_allclose(deaf, twice.predict_on_batch(both), atol=1e-5)


def test_options_add_what_they_say(convlstm, tiny):
    options = {"residual": True, "missing_channels": True}
    settings = tiny.model_copy(update=options)
    model = convlstm.build_convlstm(settings, 2, 5, 4, 2, mean=MEAN, std=STD)
    names = {layer.name for layer in model.layers}
    assert {"encoder_1_add", "encoder_1_shortcut", "decoder_1_add", "present_bands"} <= names
    assert model.get_layer("encoder_1_a_lstm").kernel.shape == (3, 3, 4, 12)
    assert np.isfinite(model.predict_on_batch(_imagery(6, 1, 2, 4, 4))).all()


@pytest.mark.parametrize(("depth", "dates"), [(1, 1), (1, 3), (2, 2)])
def test_receptive_field_is_how_far_a_pixel_is_felt(keras, convlstm, depth, dates):
    """An impulse on any date through positive kernels reaches every pixel that depends on it."""
    settings = convlstm.ConvLSTMSettings(
        filters=1, depth=depth, l2=0, encoder_dropout=(0.0,) * depth, bottleneck_dropout=0.0
    )
    halo = convlstm.receptive_field(settings, dates) // 2
    step = 2**depth
    centre = -(-(halo + 1) // step) * step
    size = 2 * centre + step
    model = convlstm.build_convlstm(settings, 1, 2, size, dates, mean=[0.0], std=[1.0])
    for layer in model.layers:
        if layer.weights and "norm" not in layer.name and layer.name != "standardise":
            layer.set_weights([np.full_like(v, 0.1 * (v.ndim > 1)) for v in layer.get_weights()])
    features = keras.Model(model.inputs, model.get_layer("head_relu").output)

    images = np.zeros((step, dates, size, size, 1), np.float32)
    places = centre + np.arange(step)
    images[np.arange(step), 0, places, places] = 1e3
    felt = features.predict_on_batch(images)[..., 0] > 0
    furthest = 0
    for place, map_ in zip(places, felt, strict=True):
        rows, columns = np.nonzero(map_)
        furthest = max(furthest, *abs(rows - place), *abs(columns - place))
    assert furthest == halo


def test_receptive_fields_of_the_presets(convlstm):
    study, small = convlstm.ConvLSTMSettings.study(), convlstm.ConvLSTMSettings.small()
    assert convlstm.receptive_field(study) == 571
    assert convlstm.receptive_field(small) == 139
    again = small.model_copy(update={"feedback": True})
    assert convlstm.receptive_field(again) == 277


def test_settings_that_make_no_network_are_refused(convlstm, tiny):
    with pytest.raises(ValidationError):
        convlstm.ConvLSTMSettings(activation="softplus")
    with pytest.raises(ValidationError):
        convlstm.ConvLSTMSettings(depth=3)
    with pytest.raises(ValueError, match="1 pixel and 1 date or more"):
        convlstm.build_convlstm(tiny, 2, 14, 8, 0, mean=MEAN, std=STD)
    with pytest.raises(ValueError, match="3 bands, but there are 2 means"):
        convlstm.build_convlstm(tiny, 3, 14, 8, mean=MEAN, std=STD)


def test_training_learns_what_only_the_sequence_shows(keras, convlstm):
    """Two classes of the same mean temperature that differ in how it changes."""
    from models.losses import weighted_crossentropy

    keras.utils.set_random_seed(3)
    settings = convlstm.ConvLSTMSettings(
        filters=4, depth=1, l2=0.0, encoder_dropout=(0.0,), bottleneck_dropout=0.0,
        activation="tanh", norm_momentum=0.5,
    )  # fmt: skip
    model = convlstm.build_convlstm(settings, 1, 3, 8, 3, mean=[300.0], std=[5.0])
    model.compile(keras.optimizers.Adam(2e-2), weighted_crossentropy())
    rng = np.random.default_rng(0)
    for _ in range(40):
        labels = np.repeat(rng.integers(1, 3, (8, 1, 8)), 8, axis=1).astype(np.uint8)
        slope = np.where(labels == 1, 5.0, -5.0)
        imagery = 300 + np.stack([-slope, 0 * slope, slope], axis=1)[..., np.newaxis]
        imagery = (imagery + rng.normal(0, 1, imagery.shape)).astype(np.float32)
        imagery[:, 1, :3] = np.nan
        loss = float(model.train_on_batch(imagery, labels))
    assert loss < 0.3
