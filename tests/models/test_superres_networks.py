"""Networks of the super-resolution studies: size, shape, training, saving."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytestmark = pytest.mark.train
pytest.importorskip("keras", reason="needs Keras and a backend: install thermocube[train]")

from models import files  # noqa: E402
from models.superres import (  # noqa: E402
    MrUNetSettings,
    Recipe,
    SifSettings,
    build_mr_unet,
    build_sif,
)
from models.superres.layers import DoubleBilinear, Pad  # noqa: E402

STATISTICS = {"mean": (303.436, 0.6442), "std": (8.155, 0.1667)}


def trainable(model: object) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)  # type: ignore[attr-defined]


def scene(n: int = 2, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, y, x, 2) and targets (n, y, x, 2) of warm bare and cool green ground."""
    rng = np.random.default_rng(3)
    ndvi = np.clip(0.5 + 0.2 * rng.standard_normal((n, size, size)), -1, 1)
    lst = 310 - 12 * ndvi
    coarse = lst.reshape(n, size // 4, 4, size // 4, 4).mean(axis=(2, 4))
    blocks = coarse.repeat(4, axis=1).repeat(4, axis=2)
    images = np.stack([blocks, ndvi], axis=-1).astype("float32")
    return images, images


def test_sif_has_the_published_number_of_parameters(keras: ModuleType) -> None:
    assert trainable(build_sif(SifSettings(), **STATISTICS)) == 282_705


@pytest.mark.parametrize("size", [None, 64])
def test_sif_maps_two_images_to_one_in_kelvin(keras: ModuleType, size: int | None) -> None:
    model = build_sif(SifSettings(), size=size, **STATISTICS)
    inputs, _ = scene(size=64)
    fine = model.predict(inputs, verbose=0)
    assert fine.shape == (2, 64, 64, 1) and fine.dtype == np.float32
    # Fresh weights: within a few standard deviations of the mean.
    assert abs(float(fine.mean()) - 303.4) < 25


def test_missing_input_pixels_do_not_make_the_map_missing(keras: ModuleType) -> None:
    model = build_sif(SifSettings(channels=(4, 4, 4)), **STATISTICS)
    inputs, _ = scene()
    inputs[:, :5, :5] = np.nan
    assert np.isfinite(model.predict(inputs, verbose=0)).all()


@pytest.mark.parametrize("size", [20, 8])
def test_sizes_that_do_not_fit_the_poolings_are_refused(keras: ModuleType, size: int) -> None:
    with pytest.raises(ValueError, match=f"not {size}"):
        build_sif(SifSettings(), size=size, **STATISTICS)


@pytest.mark.parametrize(
    "settings",
    [
        MrUNetSettings(channels=(4, 8, 8)),
        MrUNetSettings(channels=(4, 8), down="max_pool", up="bilinear"),
    ],
)
def test_mr_unet_starts_as_its_input(keras: ModuleType, settings: MrUNetSettings) -> None:
    model = build_mr_unet(settings)
    inputs = scene()[0][..., :1]
    np.testing.assert_allclose(model.predict(inputs, verbose=0), inputs, atol=1e-3)


def test_mr_unet_of_the_paper_has_the_widths_of_the_paper(keras: ModuleType) -> None:
    model = build_mr_unet(MrUNetSettings(), size=64)
    assert model.get_layer("bridge_add").output.shape == (None, 4, 4, 1024)
    assert model.output_shape == (None, 64, 64, 1)


def test_doubling_aligns_corner_pixels(keras: ModuleType) -> None:
    image = np.random.default_rng(0).random((1, 5, 7, 2)).astype("float32")
    doubled = np.array(DoubleBilinear()(image))
    rows, columns = np.linspace(0, 4, 10), np.linspace(0, 6, 14)
    for channel in range(2):
        along = np.stack([np.interp(columns, range(7), row) for row in image[0, :, :, channel]])
        expected = np.stack([np.interp(rows, range(5), column) for column in along.T], axis=1)
        np.testing.assert_allclose(doubled[0, :, :, channel], expected, atol=1e-5)
    np.testing.assert_array_equal(
        doubled[:, [0, 0, -1], [0, -1, -1]], image[:, [0, 0, -1], [0, -1, -1]]
    )


@pytest.mark.parametrize("mode", ["edge", "reflect"])
def test_padding_is_numpys(keras: ModuleType, mode: str) -> None:
    image = np.arange(24, dtype="float32").reshape(1, 4, 3, 2)
    expected = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode)  # type: ignore[call-overload]
    np.testing.assert_array_equal(np.array(Pad(mode)(image)), expected)


@pytest.mark.parametrize("name", ["sif_sr1", "sif_sr2"])
def test_a_few_steps_of_self_supervised_training_lower_the_loss(
    keras: ModuleType, name: str
) -> None:
    keras.utils.set_random_seed(5)
    model = build_sif(SifSettings(channels=(8, 8)), **STATISTICS)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-2), loss=Recipe.preset(name).loss(8.155, 0.1667)
    )
    inputs, targets = scene()
    history = model.fit(inputs, targets, epochs=15, batch_size=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < 0.6 * history[0]


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)
def test_a_trained_network_is_saved_and_loaded_with_its_loss(tmp_path: Path) -> None:
    model = build_sif(SifSettings(channels=(4, 4)), **STATISTICS)
    model.compile(loss=Recipe.preset("sif_sr2").loss(8.0, 0.2))
    inputs, targets = scene()
    model.train_on_batch(inputs, targets)
    files.save(model, tmp_path / "sif.keras")
    again = files.load(tmp_path / "sif.keras", compiled=True)
    np.testing.assert_allclose(
        again.predict(inputs, verbose=0), model.predict(inputs, verbose=0), rtol=1e-6
    )
    assert again.evaluate(inputs, targets, verbose=0) == pytest.approx(
        model.evaluate(inputs, targets, verbose=0)
    )


def test_published_recipes() -> None:
    first, second, third = (Recipe.preset(name) for name in ("sif_sr1", "sif_sr2", "sc_unet"))
    assert (first.alpha, first.gamma, first.learning_rate) == (0.99, -0.5, 1e-3)
    assert (second.alpha, second.gamma, second.learning_rate) == (0.5, -0.25, 1e-4)
    assert third.scale_invariant and not first.scale_invariant
    assert third.coarsening == "norm4" and third.guide == "decimated" and third.noise == 0
    # Gamma is told in the study's own deviations.
    assert first.std == second.std == (8.155, 0.1667)
    assert Recipe.preset("mr_unet").patience is None
    with pytest.raises(ValueError, match="sif_sr1"):
        Recipe.preset("sif_sr3")
    with pytest.raises(ValueError, match="level 'scene' is of sif networks"):
        Recipe.model_validate(Recipe.preset("slope_net").model_dump() | {"level": "scene"})
