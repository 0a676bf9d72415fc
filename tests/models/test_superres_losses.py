"""Losses of the super-resolution studies against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.train
pytest.importorskip("keras", reason="needs Keras and a backend: install thermocube[train]")

from models.sharpening.degradation import Degradation  # noqa: E402
from models.sharpening.gradients import high_pass, low_pass, sobel  # noqa: E402
from models.superres import (  # noqa: E402
    GuidedGradient,
    MixGL,
    ScaledHuber,
    ScaleInvarianceFree,
    losses,
)

RNG = np.random.default_rng(11)
LST = 300 + 6 * RNG.standard_normal((2, 32, 32))
NDVI = np.clip(0.5 + 0.2 * RNG.standard_normal((2, 32, 32)), -1, 1)
COARSE = 300 + 5 * RNG.standard_normal((2, 8, 8))
TARGET = np.stack([COARSE.repeat(4, 1).repeat(4, 2), NDVI], axis=-1).astype("float32")
MAP = LST[..., None].astype("float32")


def huber(errors: np.ndarray) -> np.ndarray:
    size = np.abs(errors)
    return np.where(size <= 1, size**2 / 2, size - 0.5)


@pytest.mark.parametrize(
    "degradation", [Degradation.box(), Degradation.gaussian(), Degradation.published()]
)
def test_degradation_is_the_same_as_on_arrays(degradation: Degradation) -> None:
    fine = np.array(losses.degrade(MAP, degradation))[..., 0]
    expected = np.stack([degradation(image) for image in LST])
    np.testing.assert_allclose(fine, expected, atol=2e-4)


def test_operators_are_the_same_as_on_arrays() -> None:
    responses = np.array(losses.sobel_responses(MAP))
    np.testing.assert_allclose(responses[0], np.moveaxis(sobel(LST[0]), 0, -1), atol=2e-3)
    smooth = np.array(losses.smooth(MAP, 0.25))[0, ..., 0]
    np.testing.assert_allclose(smooth, low_pass(LST[0], 0.25), atol=2e-4)


@pytest.mark.parametrize("texture", ["sobel", "high_pass"])
@pytest.mark.parametrize("degradation", [Degradation.published(), Degradation.box()])
def test_scale_invariance_free_loss(texture: str, degradation: Degradation) -> None:
    alpha, gamma, lst_std, ndvi_std = 0.7, -0.4, 8.0, 0.2
    loss = ScaleInvarianceFree(alpha, gamma, texture, lst_std, ndvi_std, degradation)  # type: ignore[arg-type]
    expected = []
    for image, ndvi, coarse in zip(LST, NDVI, COARSE, strict=True):
        filtered = sobel if texture == "sobel" else lambda x: high_pass(x, losses.SECOND_MTF)
        rec = huber((degradation(image) - coarse) / lst_std).mean()
        tex = huber(filtered(image / lst_std) - gamma * filtered(ndvi / ndvi_std)).mean()
        expected.append(alpha * rec + (1 - alpha) * tex)
    assert float(loss(TARGET, MAP)) == pytest.approx(np.mean(expected), rel=1e-4)


def test_scaled_huber_is_that_of_standardised_lst() -> None:
    truth = MAP + 3 * RNG.standard_normal(MAP.shape).astype("float32")
    expected = huber((MAP - truth) / 2.0).mean()
    assert float(ScaledHuber(2.0)(truth, MAP)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_mixed_gradient_loss(alpha: float) -> None:
    truth = LST + RNG.standard_normal(LST.shape)
    gradient = np.mean(
        [
            (np.hypot(*sobel(a)[:2]) - np.hypot(*sobel(b)[:2])) ** 2
            for a, b in zip(LST, truth, strict=True)
        ]
    )
    expected = alpha * gradient + (1 - alpha) * np.mean((LST - truth) ** 2)
    assert float(MixGL(alpha)(truth[..., None], MAP)) == pytest.approx(expected, rel=1e-3)


def test_guided_gradient_loss() -> None:
    box, parts = Degradation.box(), []
    for image, ndvi, coarse in zip(LST, NDVI, COARSE, strict=True):
        first, second = (np.hypot(*sobel(part)[:2]) for part in (image, ndvi))
        gradients = np.mean((first / first.max() - second / second.max()) ** 2)
        parts.append(0.4 * gradients + 0.6 * np.mean((box(image) - coarse) ** 2))
    assert float(GuidedGradient(0.4)(TARGET, MAP)) == pytest.approx(np.mean(parts), rel=1e-4)


def test_gradients_of_a_flat_map_are_finite() -> None:
    """The root of a sum of squares has no derivative at 0."""
    import keras

    flat = np.full((1, 16, 16, 1), 300.0, dtype="float32")
    target = np.concatenate([flat, flat * 0], axis=-1)
    model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Conv2D(1, 1)])
    for loss, truth in ((MixGL(0.5), flat), (GuidedGradient(0.5), target)):
        model.compile(optimizer="sgd", loss=loss)
        model.get_layer(index=0).kernel.assign(np.ones((1, 1, 1, 1)))
        model.train_on_batch(flat, truth)
        assert all(bool(keras.ops.all(keras.ops.isfinite(weight))) for weight in model.weights)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: MixGL(1.5), "alpha"),
        (lambda: ScaledHuber(0.0), "positive"),
        (lambda: ScaleInvarianceFree(0.5, 0, "laplace", 1, 1), "sobel"),  # type: ignore[arg-type]
        (lambda: ScaleInvarianceFree(0.5, 0, "sobel", 1, float("nan")), "NDVI"),
        (lambda: Degradation("odd", (0.2,) * 5), "5 weights"),
    ],
)
def test_settings_that_make_no_loss_are_refused(make: object, reason: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=reason):
        make()
