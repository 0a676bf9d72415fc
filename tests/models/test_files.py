from __future__ import annotations

import zipfile

import numpy as np
import pytest

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def trained(keras):
    from models.losses import CLASS_WEIGHTS, weighted_crossentropy
    from models.unet import UNetSettings, build_unet

    settings = UNetSettings(filters=2, depth=1, encoder_dropout=(0.0,), bottleneck_dropout=0.0)
    model = build_unet(settings, 2, 14, 8, [300.0, 0.95], [12.0, 0.02])
    model.compile("adam", weighted_crossentropy(CLASS_WEIGHTS["puertollano"], 2.0))
    model.fit(_imagery(), np.ones((4, 8, 8), np.uint8), verbose=0)
    return model


def _imagery() -> np.ndarray:
    imagery = np.random.default_rng(0).normal([300.0, 0.95], [12.0, 0.02], (4, 8, 8, 2))
    imagery[0, :2] = np.nan
    return imagery.astype(np.float32)


def test_a_network_predicts_the_same_after_a_round_trip(trained, tmp_path):
    from models.files import load, save

    save(trained, tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.predict_on_batch(_imagery()), trained.predict_on_batch(_imagery())
    )
    assert again.get_layer("standardise").mean == (300.0, 0.95)


def test_a_network_trains_on_with_its_own_loss_after_a_round_trip(trained, tmp_path):
    from models.files import load, save

    save(trained, tmp_path / "model.keras")
    again = load(tmp_path / "model.keras", compiled=True)
    assert again.loss.get_config() == trained.loss.get_config()
    labels = np.full((4, 8, 8), 7, np.uint8)
    assert again.train_on_batch(_imagery(), labels) == pytest.approx(
        trained.train_on_batch(_imagery(), labels)
    )
    # The optimiser went on from where it was: the same second step gives the same network.
    np.testing.assert_allclose(
        again.predict_on_batch(_imagery()), trained.predict_on_batch(_imagery()), rtol=1e-4
    )


def test_weights_can_be_kept_and_put_back(trained):
    from models.files import variables_as_arrays

    with variables_as_arrays():
        weights = trained.get_weights()
        trained.set_weights(weights)
        again = trained.get_weights()
    for before, after in zip(weights, again, strict=True):
        np.testing.assert_array_equal(before, after)


def test_what_is_no_network_is_refused(keras, tmp_path):
    from models.files import load

    with pytest.raises(ValueError, match=r"nothing\.keras is damaged, or no network"):
        load(tmp_path / "nothing.keras")
    page = tmp_path / "page.keras"
    page.write_bytes(b"<html>not a network</html>")
    with pytest.raises(ValueError, match=r"page\.keras"):
        load(page)


@pytest.mark.parametrize("lost", ["config.json", "model.weights.h5"])
def test_a_damaged_network_is_refused(trained, tmp_path, lost):
    from models.files import load, save

    save(trained, tmp_path / "model.keras")
    with (
        zipfile.ZipFile(tmp_path / "model.keras") as whole,
        zipfile.ZipFile(tmp_path / "damaged.keras", "w") as damaged,
    ):
        for name in whole.namelist():
            content = whole.read(name)
            damaged.writestr(name, content[: len(content) // 2] if name == lost else content)
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path / "damaged.keras")


def test_half_a_file_is_refused(trained, tmp_path):
    from models.files import load, save

    path = tmp_path / "model.keras"
    save(trained, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"model\.keras"):
        load(path)
