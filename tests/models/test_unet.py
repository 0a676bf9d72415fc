from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from pydantic import ValidationError

pytestmark = pytest.mark.train

MEAN, STD = (300.0, 0.95), (12.0, 0.02)


@pytest.fixture(scope="module")
def unet(keras: ModuleType) -> ModuleType:
    import models.unet

    return models.unet


@pytest.fixture(scope="module")
def tiny(unet):
    return unet.UNetSettings(filters=4, depth=2, l2=0.0, encoder_dropout=(0.0, 0.1))


def _imagery(seed: int, *shape: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(*shape, 2))
    return (noise * STD + MEAN).astype(np.float32)


def test_study_network_has_the_published_size(unet):
    """8.66 million parameters with two bands and 14 classes, as published."""
    model = unet.build_unet(unet.UNetSettings.study(), 2, 14, 64, MEAN, STD)
    assert model.count_params() == 8_663_054
    names = {layer.name for layer in model.layers}
    assert {name for name in names if "dropout" in name} == {
        "encoder_4_dropout",
        "encoder_5_dropout",
        "bottleneck_dropout",
    }
    assert model.get_layer("bottleneck_b_conv").filters == 512
    assert model.get_layer("head_conv").filters == 16
    assert model.output_shape == (None, 64, 64, 14)
    # Every convolution but the five transposed ones is penalised.
    assert len(model.losses) == 5 * 2 + 2 + 5 * 2 + 1 + 1


def test_small_network_is_small(unet):
    model = unet.build_unet(unet.UNetSettings.small(), 2, 14, 32, MEAN, STD)
    assert model.count_params() == 541_070


def test_presets_by_name(unet):
    assert unet.UNetSettings.preset("study") == unet.UNetSettings()
    assert unet.UNetSettings.preset("small") == unet.UNetSettings.small()
    with pytest.raises(ValueError, match=r"'huge'.*'study' and 'small'"):
        unet.UNetSettings.preset("huge")


@pytest.mark.parametrize(
    "settings",
    [{"depth": 3}, {"filters": 0}, {"dropout": 0.1}, {"l2": -1}, {"bottleneck_dropout": 1.0}],
)
def test_settings_that_make_no_network_are_refused(unet, settings):
    with pytest.raises(ValidationError):
        unet.UNetSettings(**settings)


def test_settings_survive_a_round_trip_through_plain_tables(unet):
    settings = unet.UNetSettings.small()
    assert unet.UNetSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_output_is_a_probability_for_every_pixel_of_any_fitting_size(unet, tiny):
    model = unet.build_unet(tiny, 2, 14, None, MEAN, STD)
    for height, width in ((4, 4), (32, 20)):
        output = model.predict_on_batch(_imagery(0, 2, height, width))
        assert output.shape == (2, height, width, 14)
        assert output.dtype == np.float32
        np.testing.assert_allclose(output.sum(axis=-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_missing_pixels_never_give_nan(unet, tiny, missing, share):
    model = unet.build_unet(tiny, 2, 14, 16, MEAN, STD)
    imagery = _imagery(1, 3, 16, 16)
    where = np.random.default_rng(1).random(imagery.shape) < share
    holes, filled = imagery.copy(), imagery.copy()
    holes[where] = missing
    filled[where] = np.broadcast_to(np.float32(MEAN), imagery.shape)[where]
    output = model.predict_on_batch(holes)
    assert np.isfinite(output).all()
    np.testing.assert_allclose(output, model.predict_on_batch(filled), rtol=1e-5, atol=1e-6)


def test_standardise_is_per_band_and_puts_missing_values_at_the_mean(keras, unet):
    imagery = _imagery(2, 2, 5, 3)
    imagery[0, 0, 0] = np.nan
    output = keras.ops.convert_to_numpy(unet.Standardise(MEAN, STD)(imagery))
    expected = (imagery.astype(np.float64) - MEAN) / STD
    np.testing.assert_allclose(output, np.nan_to_num(expected), atol=1e-4)
    assert (output[0, 0, 0] == 0).all()


def test_kelvins_keep_their_precision_under_mixed_precision(keras, unet, tiny):
    with_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = unet.build_unet(tiny, 2, 14, 8, MEAN, STD)
    finally:
        keras.config.set_dtype_policy(with_policy)
    assert model.get_layer("encoder_1_a_conv").compute_dtype == "bfloat16"
    assert model.get_layer("standardise").compute_dtype == "float32"
    assert model.predict_on_batch(_imagery(0, 1, 8, 8)).dtype == np.float32


@pytest.mark.parametrize("std", [0.0, -1.0, np.nan, np.inf])
def test_statistics_of_a_constant_or_missing_band_are_refused(unet, std):
    with pytest.raises(ValueError, match="band 1"):
        unet.Standardise(MEAN, (12.0, std))


def test_a_network_that_does_not_fit_its_input_is_refused(unet, tiny):
    with pytest.raises(ValueError, match="1 pixel and 1 date or more"):
        unet.build_unet(tiny, 2, 14, 0, MEAN, STD)
    with pytest.raises(ValueError, match="1 pixel and 1 date or more"):
        unet.build_unet(tiny, 2, 14, 8, MEAN, STD, sequence=0)
    with pytest.raises(ValueError, match="3 bands, but there are 2 means"):
        unet.build_unet(tiny, 3, 14, 32, MEAN, STD)
    with pytest.raises(ValueError, match="2 classes or more"):
        unet.build_unet(tiny, 2, 1, 32, MEAN, STD)


@pytest.mark.parametrize("patch", [1, 5, 30])
def test_a_patch_of_any_size_is_padded_and_cropped(unet, tiny, patch):
    from models.parts import padding

    model = unet.build_unet(tiny, 2, 14, patch, MEAN, STD)
    imagery = _imagery(3, 2, patch, patch)
    output = model.predict_on_batch(imagery)
    assert output.shape == (2, patch, patch, 14)
    before, after = padding(patch, tiny.depth)
    whole = unet.build_unet(tiny, 2, 14, None, MEAN, STD)
    whole.set_weights(model.get_weights())
    sides = ((0, 0), (before, after), (before, after), (0, 0))
    padded = np.pad(imagery, sides, constant_values=np.nan)
    expected = whole.predict_on_batch(padded)[:, before : before + patch, before : before + patch]
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_stacked_dates_are_the_bands_of_one_image(unet, tiny):
    stacked = unet.build_unet(tiny, 2, 14, 8, MEAN, STD, sequence=3)
    single = unet.build_unet(tiny, 6, 14, 8, MEAN * 3, STD * 3)
    single.set_weights(stacked.get_weights())
    imagery = _imagery(4, 2, 3, 8, 8)
    imagery[0, 1] = np.nan
    image = np.concatenate(list(np.moveaxis(imagery, 1, 0)), axis=-1)
    np.testing.assert_allclose(
        stacked.predict_on_batch(imagery), single.predict_on_batch(image), atol=1e-6
    )


def test_a_residual_network_adds_the_input_of_each_stage(keras, unet, tiny):
    settings = tiny.model_copy(update={"residual": True})
    model = unet.build_unet(settings, 2, 14, 8, MEAN, STD)
    plain = unet.build_unet(tiny, 2, 14, 8, MEAN, STD)
    names = {layer.name for layer in model.layers} - {layer.name for layer in plain.layers}
    stages = ("encoder_1", "encoder_2", "bottleneck", "decoder_2", "decoder_1")
    assert names == {f"{stage}_{part}" for stage in stages for part in ("add", "shortcut")}
    for layer in model.layers:
        if layer.name.endswith(("_a_conv", "_b_conv", "head_conv")):
            layer.set_weights([0 * value for value in layer.get_weights()])
    imagery = _imagery(5, 1, 8, 8)
    varied = model.predict_on_batch(imagery)
    assert np.ptp(varied[0], axis=(0, 1)).max() == 0  # the head's own convolutions are zero
    head = model.get_layer("decoder_1_b_relu").output
    features = keras.Model(model.inputs, head).predict_on_batch(imagery)
    assert np.ptp(features[0], axis=(0, 1)).max() > 0


def test_a_network_can_be_told_what_is_missing(unet, tiny):
    """A pixel at the mean of its band and a missing one look alike without the extra channels."""
    imagery = np.broadcast_to(np.float32(MEAN), (1, 8, 8, 2)).copy()
    holes = imagery.copy()
    holes[:, 2:5, 2:5] = np.nan
    for told in (False, True):
        settings = tiny.model_copy(update={"missing_channels": told})
        model = unet.build_unet(settings, 2, 14, 8, MEAN, STD)
        same = np.allclose(model.predict_on_batch(imagery), model.predict_on_batch(holes))
        assert same is not told


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_receptive_field_is_how_far_a_pixel_is_felt(keras, unet, depth):
    """An impulse through all-ones kernels reaches every pixel that depends on it."""
    settings = unet.UNetSettings(filters=1, depth=depth, l2=0, encoder_dropout=(0.0,) * depth)
    halo = unet.receptive_field(settings) // 2
    step = 2**depth
    centre = -(-(halo + 1) // step) * step
    size = 2 * centre + step
    model = unet.build_unet(settings, 1, 2, size, [0.0], [1.0])
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(keras.ops.full(layer.kernel.shape, 0.1))
    features = keras.Model(model.inputs, model.get_layer("head_relu").output)

    images = np.zeros((step, size, size, 1), np.float32)
    places = centre + np.arange(step)
    images[np.arange(step), places, places] = 1e3
    felt = features.predict_on_batch(images)[..., 0] > 0
    furthest = 0
    for place, map_ in zip(places, felt, strict=True):
        rows, columns = np.nonzero(map_)
        furthest = max(furthest, *abs(rows - place), *abs(columns - place))
    assert furthest == halo


def test_receptive_fields_of_the_presets(unet):
    """That of the study's network is wider than any of its patches or regions is high."""
    assert unet.receptive_field(unet.UNetSettings.small()) == 119
    assert unet.receptive_field(unet.UNetSettings.study()) == 503


def test_training_learns_from_valid_pixels_and_ignores_the_rest(keras, unet, tiny):
    from models.losses import weighted_crossentropy

    keras.utils.set_random_seed(5)
    model = unet.build_unet(tiny, 2, 3, 16, MEAN, STD)
    model.compile(keras.optimizers.Adam(1e-2), weighted_crossentropy(gamma=2.0), run_eagerly=True)
    losses = []
    for step in range(20):
        imagery = _imagery(step, 4, 16, 16)
        labels = np.where(imagery[..., 0] > MEAN[0], 1, 2).astype(np.uint8)
        imagery[:, :4] = np.nan
        weight = np.isfinite(imagery).all(axis=-1).astype(np.float32)
        losses.append(float(model.train_on_batch(imagery, labels, weight)))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
