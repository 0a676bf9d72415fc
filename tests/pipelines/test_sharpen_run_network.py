"""A network from training to a sharpened cube, through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.train
pytest.importorskip("keras", reason="needs Keras and a backend: install thermocube[train]")

from typer.testing import CliRunner  # noqa: E402

from cube.errors import ModelError  # noqa: E402
from cube.store import Cube  # noqa: E402
from models.sharpening import Degradation, Response  # noqa: E402
from models.sharpening.blocks import block_mean, expand  # noqa: E402
from modis_scenes import write_scenes  # noqa: E402
from pipelines import sharpen_layout  # noqa: E402
from pipelines.cli import app  # noqa: E402
from pipelines.sharpen_engine import Facts, Part  # noqa: E402
from pipelines.superres_folder import PATCH, SETTINGS, SLOPE_HALO, Trained  # noqa: E402
from sharpen_cubes import DAY, Gaps, landscape, make_cube  # noqa: E402

RECIPE = """
preset = "{preset}"
channels = [4, 4, 4]
epochs = 1
batch = 4
draws = 1
"""
WINDOWED = """
level = "scene"
crop = 64
symmetries = "all"
"""


TILES = {"slope_net": 40, "sif_sr2": 64}
"""Sides of tiles; windows are asked again for each tile that they touch."""
SIDE = 72
"""More than the 64 of a fixed window, so that some overlap."""
DEEP: Gaps = {
    "modis_lst": (slice(10, 34), slice(10, 40)),
    "modis_ndvi": (slice(160, 250), slice(160, 260)),
}
"""Clouds so wide that their middle is bridged from no neighbour, across the borders of tiles."""


def said_by(*command: str | Path) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*map(str, command), "--json"])
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="module")
def scenes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "scenes.nc", count=3, places=3)


@pytest.fixture(scope="module", params=["slope_net", "sif_sr2"])
def folder(
    request: pytest.FixtureRequest, scenes_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Of a network that moves with the image, and of one that works in fixed windows."""
    home = tmp_path_factory.mktemp("networks")
    recipe, out = home / "tiny.toml", home / request.param
    more = WINDOWED if request.param == "sif_sr2" else ""
    recipe.write_text(RECIPE.format(preset=request.param) + more, encoding="utf-8")
    assert said_by("sharpen", "train", recipe, scenes_file, "--out", out, "--folds", "1")[
        "complete"
    ]
    return out


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cube")
    make_cube(home, SIDE, DEEP)
    return home / "region.toml"


def sharpened(region: Path, folder: Path, name: str, *more: str) -> tuple[dict[str, Any], Any]:
    """What the command says, and the map it makes by day."""
    command = ["--model", folder, "--method", folder.name, "--time-of-day", "day", "--run", name]
    said = said_by("sharpen", "run", region, *command, *more)
    return said, Cube.open(region).dataset(f"sharpened/{name}")


def test_a_trained_network_sharpens_a_cloudy_cube(
    region: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = folder.name
    said, whole = sharpened(region, folder, f"{name}-whole")
    monkeypatch.setattr(sharpen_layout, "TILE", TILES[name])
    more, tiled = sharpened(region, folder, f"{name}-tiled")
    assert (said["scenes"], said["tiles"], more["tiles"]) == (1, 1, 4)
    fine = whole["lst"][0].values
    np.testing.assert_allclose(tiled["lst"][0].values, fine, atol=1e-4)
    cloud, gaps = np.zeros((SIDE, SIDE), bool), np.zeros((4 * SIDE, 4 * SIDE), bool)
    cloud[DEEP["modis_lst"]], gaps[DEEP["modis_ndvi"]] = True, True
    np.testing.assert_array_equal(np.isnan(fine), expand(cloud, 4) | gaps)
    misfit = (block_mean(fine, 4) - landscape(SIDE)[0])[~cloud]
    rmse = float(np.sqrt(np.nanmean(misfit**2)))
    assert said["consistency"] == {f"{DAY:%Y-%m-%dT%H:%M:%S}": pytest.approx(rmse, rel=1e-3)}
    assert float(whole["consistency"][0]) == pytest.approx(rmse, rel=1e-3)
    assert whole.attrs["model_digests"] == Trained.load(folder).digest


@pytest.mark.parametrize("folder", ["slope_net"], indirect=True)
def test_a_network_can_be_made_to_average_back(region: Path, folder: Path) -> None:
    said, exact = sharpened(region, folder, "exact", "--consistent")
    assert max(said["consistency"].values()) < 1e-4
    assert float(exact["consistency_largest"].max()) < 1e-3


@pytest.mark.parametrize("folder", ["slope_net"], indirect=True)
def test_a_network_that_was_replaced_meanwhile_is_not_mixed_in(
    folder: Path, tmp_path: Path
) -> None:
    trained = Trained.load(shutil.copytree(folder, tmp_path / folder.name))
    part = Part.of(trained.name, {trained.name: trained})
    settings = trained.path / SETTINGS
    settings.write_text(settings.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(ModelError, match="another trained method"):
        part.map(lambda window: landscape(8), (slice(0, 8), slice(0, 8)), (8, 8), Facts())


def test_clouds_change_no_pixel_beyond_the_reach_of_a_network(folder: Path) -> None:
    trained = Trained.load(folder)
    part = Part.of(trained.name, {trained.name: trained})
    clear, ndvi = landscape(SIDE)
    cloudy, hazy = clear.copy(), ndvi.copy()
    cloudy[:4, :4], hazy[:20, :20] = np.nan, np.nan
    response = Response.fit(clear, ndvi, Degradation.gaussian())
    known = {"response": response} if not trained.tiled else {"level": float(clear.mean())}
    everywhere = (slice(0, SIDE), slice(0, SIDE))

    def map_of(lst: np.ndarray, guide: np.ndarray) -> np.ndarray:
        def read(window: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
            return lst[window], guide[
                tuple(slice(4 * side.start, 4 * side.stop) for side in window)
            ]

        return part.map(read, everywhere, clear.shape, Facts(known))

    apart = np.abs(map_of(cloudy, hazy) - map_of(clear, ndvi))
    assert np.nanmax(apart) > 0.01
    # Of the clouds, or of the fixed window that they lie in.
    reach = 4 * (5 + SLOPE_HALO) if not trained.tiled else 4 * PATCH
    assert max(apart[reach:].max(), apart[:, reach:].max()) < 1e-4
