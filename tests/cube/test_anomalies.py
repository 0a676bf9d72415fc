"""Imagery less the level of its scene, whichever window of it is read."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import cube.anomalies
from cube.anomalies import anomalies
from cube.errors import SelectionError
from cube.joint import Join
from cube.quality import Flag, is_valid
from cube.region import Region
from cube.select import report
from cube.store import Cube
from pipelines.ingest import ingest
from pipelines.simulate import SimulationSettings, simulate

BANDS = ("lst", "emissivity", "ndvi")
SHAPE = (4, 3, 9, 7)


def scenes(seed: int = 0) -> xr.Dataset:
    """Four scenes at levels tens of kelvins apart; the last has no valid pixel."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(size=SHAPE) + np.array([280, 300, 320, 310])[:, None, None, None]
    qc = np.where(rng.random((4, 9, 7)) < 0.3, Flag.CLOUD, 0).astype(np.uint8)
    qc[3] = Flag.CLOUD
    # What is bad may hold values all the same: they must not count.
    pixels = np.where(qc[:, None] > 0, pixels - 90, pixels)
    pixels[0, 0, 0, 0] = np.nan
    return xr.Dataset(
        {
            "imagery": (("time", "band", "y", "x"), pixels.astype(np.float32)),
            "qc": (("time", "y", "x"), qc),
        },
        coords={"band": np.array(BANDS, object)},
    )


def expected(dataset: xr.Dataset, bands: tuple[str, ...]) -> np.ndarray:
    valid = dataset["imagery"].where(
        xr.DataArray(is_valid(dataset["qc"].values), dims=("time", "y", "x"))
    )
    levels = valid.median(("y", "x")).where(dataset["band"].isin(bands), 0.0)
    return (dataset["imagery"] - levels).transpose("time", "band", "y", "x").values


keys = st.one_of(
    st.integers(0, 2), st.slices(3), st.lists(st.integers(0, 2), min_size=1, max_size=4)
)


@settings(max_examples=80, deadline=None)
@given(
    picked=st.tuples(keys, keys, keys, keys),
    bands=st.lists(st.sampled_from(BANDS), unique=True).map(tuple),
)
def test_every_window_is_less_the_level_of_the_whole_scene(picked, bands):
    dataset = scenes()
    where = {
        name: np.array(key) if isinstance(key, list) else key
        for name, key in zip(("time", "band", "y", "x"), picked, strict=True)
        if not (isinstance(key, slice) and (key.step or 1) < 0)
    }
    late = anomalies(dataset, bands)["imagery"]
    whole = xr.Variable(late.dims, expected(dataset, bands))
    np.testing.assert_allclose(late.variable.isel(where), whole.isel(where), atol=1e-4)


def test_a_scene_without_a_valid_pixel_is_missing_in_these_bands_alone():
    found = anomalies(scenes(), ("lst",))["imagery"].isel(time=3)
    assert np.isnan(found.sel(band="lst")).all() and np.isfinite(found.sel(band="ndvi")).all()


def test_no_pixel_is_read_before_it_is_asked_for_and_each_level_is_worked_out_once(monkeypatch):
    asked = []
    level = cube.anomalies.Anomalies._level
    monkeypatch.setattr(
        cube.anomalies.Anomalies,
        "_level",
        lambda self, time: asked.append(time) or level(self, time),
    )
    late = anomalies(scenes(), ("lst",))
    assert not asked
    for _ in range(2):
        late["imagery"].isel(time=[2, 0], y=slice(2)).load()
    assert asked == [0, 2]


def test_the_level_of_a_great_scene_is_that_of_a_grid_of_its_pixels(monkeypatch):
    monkeypatch.setattr(cube.anomalies, "LEVEL_PIXELS", 2000)
    monkeypatch.setattr(cube.anomalies, "STRIP", 16)
    rng = np.random.default_rng(1)
    slope = np.linspace(0, 10, 200)[:, None] + rng.normal(size=(200, 150))
    dataset = xr.Dataset(
        {
            "imagery": (("time", "band", "y", "x"), slope[None, None].astype(np.float32)),
            "qc": (("time", "y", "x"), np.zeros((1, 200, 150), np.uint8)),
        },
        coords={"band": ["lst"]},
    )
    found = anomalies(dataset, ("lst",))["imagery"].values
    assert abs(np.median(found)) < 0.3


def test_what_cannot_be_done_is_refused():
    with pytest.raises(SelectionError, match="no band 'sst'; the bands are lst, emissivity, ndvi"):
        anomalies(scenes(), ("lst", "sst"))
    with pytest.raises(SelectionError, match=r"ask Cube\.select"):
        anomalies(scenes().chunk(time=1), ("lst",))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Cube:
    folder = tmp_path_factory.mktemp("simulated")
    simulate(folder, SimulationSettings(name="simulated", size=(48, 48), ecostress=6, sentinel1=4))
    ingest(Region.load(folder / "region.toml"))
    return Cube.open(folder / "region.toml")


def test_a_cube_gives_anomalies_of_joined_and_stacked_bands(simulated):
    wanted = {"join": Join(modality="sar", tolerance="60D"), "bands": ["lst", "vv"], "stack": 2}
    plain, less = (
        simulated.select("thermal", **wanted, anomalies=bands, chunks=None) for bands in ((), "lst")
    )
    assert report(less).asked["anomalies"] == ["lst"] and "anomalies" not in report(plain).asked
    gap = (plain["imagery"] - less["imagery"]).load()
    assert (gap.sel(band=["vv", "vv@-1"]).fillna(0) == 0).all()
    # One level a scene, the same wherever the scene comes up.
    levels = gap.sel(band=["lst@-1", "lst"])
    spread = levels.max(("y", "x")) - levels.min(("y", "x"))
    assert (spread < 1e-3).all() and (levels.median(("y", "x")) > 250).all()
    first, later = (levels.sel(band=name).median(("y", "x")).values for name in ("lst", "lst@-1"))
    np.testing.assert_allclose(later[1:], first[:-1], atol=1e-3)
    by_dask = simulated.select("thermal", **wanted, anomalies="lst")
    assert by_dask["imagery"].chunks is not None
    xr.testing.assert_allclose(by_dask.load(), less.load())
