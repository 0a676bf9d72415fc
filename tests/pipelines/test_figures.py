"""Figures carry their titles, axes and units, and show what the arrays say."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
import xarray as xr

from cube.errors import SelectionError
from cube.grid import region_grid
from cube.ledger import Row, Status
from cube.lithology import Lithology
from cube.store import Cube
from models.metrics import confusion, scores
from pipelines import charts, figures, maps
from pipelines.evaluate import DateScores
from pipelines.model_folder import ModelFolder
from pipelines.predict import predict

matplotlib = pytest.importorskip("matplotlib")

GRID = region_grid((-4.10, 38.70, -4.04, 38.73), None, 100.0)
ROWS, COLUMNS = GRID.shape
DAYS = np.array(["2024-01-01", "2024-03-01", "2024-06-01", "2024-09-01"], "datetime64[ns]")


def scenes(sun: list[float], valid: list[float]) -> xr.Dataset:
    return xr.Dataset(
        coords={
            "time": DAYS[: len(sun)],
            "sun_elevation": ("time", sun),
            "valid_fraction": ("time", valid),
        }
    )


def left_out(status: Status, when: datetime | None) -> Row:
    return Row("g", "k", "1", "s", "thermal", "ISS", when, status)


def test_error_codes_tell_right_wrong_and_unscored_apart() -> None:
    truth = np.array([[7, 7, 0, 8, 7]], np.uint8)
    predicted = np.array([[7, 8, 7, 0, 7]], np.uint8)
    test = np.array([[True, True, True, True, False]])
    assert maps.error_codes(truth, predicted, test).tolist() == [[1, 2, 3, 3, 0]]


def test_part_codes_name_ground_that_several_parts_share() -> None:
    train, val, test = np.array(
        [[[1, 0, 0, 0, 1]], [[0, 1, 0, 0, 0]], [[0, 0, 1, 0, 1]]], dtype=bool
    )
    assert maps.part_codes(train, val, test).tolist() == [[1, 2, 3, 0, 4]]


def test_shares_are_of_the_labelled_pixels() -> None:
    assert maps.shares(np.array([[0, 0, 7, 7], [0, 0, 7, 9]], np.uint8)) == {7: 0.75, 9: 0.25}
    assert maps.shares(np.zeros((2, 2), np.uint8)) == {}


def test_thinning_keeps_small_layers_and_bounds_large_ones() -> None:
    small, large = np.ones((30, 20)), xr.DataArray(np.ones((1801, 40)), dims=("y", "x"))
    assert maps.thin(small).shape == (30, 20)
    thinned = maps.thin(large)
    assert thinned.shape == (600, 13) and thinned.dims == ("y", "x")


def test_class_map_has_axes_in_kilometres_and_the_classes_own_colours() -> None:
    codes = np.full((ROWS, COLUMNS), Lithology.VOLCANIC, np.uint8)
    codes[:5] = 0
    outline = np.zeros(codes.shape, bool)
    outline[10:20, 10:20] = True
    figure = figures.lithology(codes, GRID, "Label map", outline)
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "Label map"
    assert "easting, km (EPSG:32630)" in axes.get_xlabel() and "km" in axes.get_ylabel()
    box = GRID.boundingbox
    edges = [box.left, box.right, box.bottom, box.top]
    np.testing.assert_allclose([*axes.get_xlim(), *axes.get_ylim()], np.array(edges) / 1e3)
    (image,) = axes.images
    drawn = image.to_rgba(image.get_array())
    assert matplotlib.colors.to_hex(drawn[6, 0]) == Lithology.VOLCANIC.colour
    assert drawn[0, 0, 3] == 0, "pixels without a label show the hatching behind"
    assert axes.patch.get_hatch()


def test_axes_have_the_proportions_of_the_ground() -> None:
    figure = figures.confidence(np.ones((ROWS, COLUMNS)), GRID, "Confidence")
    figure.canvas.draw()
    box = figure.axes[0].get_window_extent()
    assert box.width / box.height == pytest.approx(COLUMNS / ROWS, rel=1e-3)


def test_temperature_map_names_its_unit_and_hides_invalid_pixels() -> None:
    values = np.linspace(280, 320, ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    values[:3] = np.nan
    figure = figures.temperature(values, GRID, "2024-01-01 11:00 UTC")
    axes, strip = figure.axes
    assert strip.get_title() == "LST, K"
    assert np.ma.getmaskarray(axes.images[0].get_array())[:3].all()
    low, high = axes.images[0].get_clim()
    assert 280 < low < high < 320.0


@pytest.mark.parametrize(
    "values", [np.full((ROWS, COLUMNS), np.nan), np.full((ROWS, COLUMNS), 300)]
)
def test_scene_without_values_or_contrast_is_drawn(values: np.ndarray) -> None:
    assert figures.png(figures.temperature(values, GRID, "flat")).startswith("data:image/png")


def test_timeline_marks_day_night_and_granules_left_out() -> None:
    rows = [
        left_out(Status.REJECTED, datetime(2024, 2, 1, tzinfo=UTC)),
        left_out(Status.FAILED, datetime(2024, 4, 1, tzinfo=UTC)),
        left_out(Status.FAILED, None),
    ]
    figure = charts.timeline(
        {"thermal": scenes([40.0, -10.0], [0.9, 0.4]), "sar": scenes([], [])}, rows
    )
    assert [axes.get_ylabel() for axes in figure.axes] == ["thermal", "sar"]
    texts = {text.get_text() for text in figure.legends[0].get_texts()}
    assert texts == {"scene by day", "scene by night", "rejected granule", "failed granule"}
    assert figures.svg(figure).startswith("data:image/svg+xml;base64,")


def test_curves_mark_the_epoch_whose_weights_were_kept() -> None:
    history = {"loss": [90.0, 2.0, 1.0], "val_loss": [3.0, 2.0, 2.5], "accuracy": [0.1, 0.5, 0.6]}
    figure = charts.curves(history, best=2)
    loss, accuracy = figure.axes
    assert (loss.get_title(loc="left"), accuracy.get_ylabel()) == ("Loss", "accuracy")
    assert "weights kept: epoch 2" in loss.get_legend_handles_labels()[1]
    assert loss.get_yscale() == "log" and accuracy.get_yscale() == "linear"
    assert len(charts.curves({"loss": [1.0]}, best=None).axes) == 1


def test_confusion_matrix_shows_present_classes_row_by_row() -> None:
    counts = np.zeros((14, 14), np.int64)
    counts[7, 7], counts[7, 9], counts[9, 9] = 3000, 1000, 12
    figure = charts.confusion_matrix(counts, [member.label for member in Lithology])
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Detritic", "Volcanic"]
    assert sorted(text.get_text() for text in axes.texts) == ["100%\n12", "25%\n1.0k", "75%\n3.0k"]
    assert axes.get_xlabel() == "predicted class" and axes.get_ylabel() == "true class"


def test_accuracy_by_date_is_that_of_the_evaluation() -> None:
    one = scores(confusion(np.array([7, 7, 9, 9]), np.array([7, 7, 9, 7]), 14))
    figure = charts.by_date([DateScores(day, one) for day in DAYS], one.oa, 0.5)
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.75] * 4


def test_scenes_shown_are_the_most_complete_of_each_span() -> None:
    day, night = figures.choose_scenes(scenes([5, 5, 5, -5], [0.5, 0.9, 0.7, 0.6]), 1)
    assert (day, night) == ([1], [3])
    day, night = figures.choose_scenes(scenes([5, 5, 5], [0.5, 0.9, 0.0]), 3)
    assert (day, night) == ([0, 1], [])


def test_overview_shows_labels_temperatures_and_the_run(
    tiny_cube: Cube, thermometer: Callable[..., ModelFolder]
) -> None:
    run = predict(tiny_cube, thermometer("overview").path)
    figure = figures.overview(tiny_cube, run)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    # The tiny cube's scenes all have the sun on the horizon, so none is by day.
    shown = [title for title in titles if title]
    assert shown == ["Label map", "LST by night", "Predicted map", "Confidence"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "Detritic", "Carbonate", "Volcanic",
    ]  # fmt: skip
    assert "km" in figure.axes[0].texts[0].get_text()
    assert figure.get_size_inches()[0] == pytest.approx(figures.OVERVIEW_WIDTH)
    with pytest.raises(SelectionError, match="nowhere"):
        figures.overview(tiny_cube, "nowhere")


def test_same_figure_gives_the_same_bytes_and_leaves_the_settings_alone() -> None:
    before = matplotlib.rcParams["font.size"]
    first, second = (figures.svg(charts.curves({"loss": [2.0, 1.0]}, best=1)) for _ in range(2))
    assert first == second and matplotlib.rcParams["font.size"] == before
    assert base64.b64decode(first.partition(",")[2]).startswith(b"<?xml")
