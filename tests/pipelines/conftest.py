"""A small real cube, and a model folder that needs no Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import xarray as xr

from cube import timeline
from cube.lithology import CLASS_COUNT, Lithology
from cube.quality import Flag
from cube.region import Region
from cube.sampling import SamplePlan, make_plan
from cube.scene import Coverage, Reading
from cube.store import Cube
from cube.timeline import Step
from deliveries import at_home, granules_of
from pipelines import model_folder
from pipelines.ingest import ingest
from pipelines.model_folder import ModelFolder, new_folder
from pipelines.recipe import Lineage, Normalisation, Recipe, TrainSettings
from pipelines.simulate import Simulation, SimulationSettings, deliver_late, simulate

CLASSES = (7, 8, 9)
PATCH = 8
DATES = 4


def tables_of(name: str) -> dict[str, Any]:
    """A region whose columns need two chunks: about 26 x 275 px."""
    return {
        "name": name,
        "area": {"bbox": [-4.10, 38.70, -3.88, 38.714], "resolution": 70.0},
        "period": {"start": "2024-01-01"},
        "modalities": {"thermal": {"bands": ["lst", "emissivity"]}},
        "sources": [
            {
                "kind": "netcdf",
                "name": "none",
                "path": "none.nc",
                "platform": "ISS",
                "bands": {"lst": "lst", "emissivity": "emissivity"},
            }
        ],
    }


def make_region(folder: Path, name: str = "tiny") -> Region:
    """The region of `tables_of`, at home in a folder."""
    return Region.parse(tables_of(name), folder)


def truth_of(shape: tuple[int, int]) -> np.ndarray:
    """Vertical stripes of three classes, eight pixels wide, with a strip without labels."""
    columns = np.array(CLASSES, np.uint8)[(np.arange(shape[1]) // PATCH) % len(CLASSES)]
    truth = np.broadcast_to(columns, shape).copy()
    truth[:2] = 0
    return truth


def _step(index: int, truth: np.ndarray) -> Step:
    """A scene in which 290 K + class is the temperature; a corner is outside the swath."""
    rng = np.random.default_rng(index)
    classes = np.where(truth == 0, CLASSES[0], truth)
    lst = 290.0 + classes + rng.normal(0, 0.05, truth.shape)
    emissivity = 0.95 + rng.normal(0, 0.005, truth.shape)
    qc = np.zeros(truth.shape, np.uint8)
    qc[:10, : 5 * (index + 1)] = int(Flag.MISSING)
    qc[14:18, 100:110] = int(Flag.CLOUD)
    reading = Reading.build([lst, emissivity], qc)
    time = datetime(2024, 1, 5, 12 * (index % 2), tzinfo=UTC) + timedelta(days=60 * index)
    coverage = Coverage.of(reading.qc)
    return Step(time, reading, (f"g{index}",), "ISS", coverage, 0.0, float(time.hour))


def make_cube(folder: Path, name: str = "tiny", dates: int = DATES) -> Cube:
    """Some scenes and a label map in a real store."""
    cube = Cube.create(make_region(folder, name))
    truth = truth_of(tuple(cube.grid.shape))
    template = cube.dataset("thermal", chunks=None)
    labels = xr.Dataset(
        {
            "lithology": (("y", "x"), truth),
            "weight": (("y", "x"), (truth > 0).astype(np.float32)),
        },
        {"y": template["y"], "x": template["x"]},
    )
    with cube.transaction("fill", {}) as change:
        timeline.apply(change.session, "thermal", [], [_step(i, truth) for i in range(dates)])
        change.write("labels", labels)
    return cube


_plans: dict[str, SamplePlan] = {}


def plan_of(cube: Cube, training: TrainSettings) -> SamplePlan:
    """The plan of a cube under some settings; made once, as it takes longest of all here."""
    key = f"{cube.location} {training.model_dump_json()}"
    if key not in _plans:
        _plans[key] = make_plan(
            training.of(cube),
            cube.dataset("labels", chunks=None).load(),
            patch=PATCH,
            stride=training.steps,
            split=training.split,
            min_valid=training.min_valid,
            snapshot=cube.snapshot,
        )
    return _plans[key]


def write_model(cube: Cube, target: Path, **settings: object) -> ModelFolder:
    """A complete model folder but for the network, whose file is a placeholder."""
    training = TrainSettings.model_validate({"patch": PATCH, **settings})
    plan = plan_of(cube, training)
    recipe = Recipe(
        classes=tuple(member.label for member in Lithology),
        patch=PATCH,
        stride=training.steps,
        selection=training.selection.model_copy(update={"bands": plan.bands}),
        normalisation=Normalisation(mean=(298.0, 0.95), std=(1.0, 0.01)),
        network={},
        training=training,
        lineage=Lineage(
            cube=cube.name,
            snapshot=plan.snapshot,
            plan_digest=plan.digest,
            code_version="test",
            libraries={},
        ),
    )
    with new_folder(target) as fresh:
        (fresh / model_folder.NETWORK).write_bytes(b"placeholder")
        recipe.save(fresh / model_folder.RECIPE)
        plan.save(fresh / model_folder.PLAN)
        model_folder.write_history(fresh / model_folder.HISTORY, [{"loss": 1.0, "val_loss": 2.0}])
        (fresh / model_folder.METRICS).write_text("{}", encoding="utf-8")
    return ModelFolder.load(target)


class Thermometer:
    """A network that reads the class off the temperature, as the tiny cube's truth has it.

    Class 0 gets the largest share of all: the maps must not care.
    """

    def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
        guess = np.clip(np.rint(np.nan_to_num(batch[..., 0], nan=298.0) - 290.0), 1, 13)
        hit = np.arange(CLASS_COUNT) == guess[..., None]
        shares = np.where(hit, 0.3, 0.1 / (CLASS_COUNT - 2)).astype(np.float32)
        shares[..., 0] = 0.6
        return shares


@pytest.fixture(scope="session")
def tiny_cube_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    make_cube(folder)
    return folder


@pytest.fixture(scope="session")
def cube_of() -> Callable[..., Cube]:
    """Make such a cube in a folder, with a name and a number of dates."""
    return make_cube


@pytest.fixture
def region_of(tmp_path: Path) -> Callable[[str], str]:
    """Make another such cube, and give the path of its region file."""

    def make(name: str) -> str:
        folder = tmp_path / "regions"
        cube, tables = make_cube(folder, name), tables_of(name) | {"store": f"{name}.icechunk"}
        file = folder / f"{name}.toml"
        file.write_text(tomli_w.dumps(tables), encoding="utf-8")
        assert Cube.open(file).location == cube.location
        return str(file)

    return make


@pytest.fixture
def tiny_cube(tiny_cube_folder: Path) -> Cube:
    """The tiny cube as it is after the tests before: do not rely on what runs it has."""
    return Cube.open(tiny_cube_folder / "tiny.icechunk")


@pytest.fixture
def thermometer(
    tiny_cube: Cube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ModelFolder]]:
    """Write a model folder whose network is `Thermometer`."""
    monkeypatch.setattr(ModelFolder, "network", lambda self: Thermometer())

    def write(name: str = "thermometer", **settings: object) -> ModelFolder:
        return write_model(tiny_cube, tmp_path / name, **settings)

    yield write


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """Every granule of a tiny region, the late and the reprocessed ones included."""
    folder = tmp_path_factory.mktemp("complete")
    settings = SimulationSettings.tiny(sentinel1=0, sentinel2=0)
    simulation = simulate(folder, settings)
    deliver_late(folder, settings)
    return simulation


@pytest.fixture(scope="session")
def reference(complete: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Cube:
    """The cube of everything, ingested at once and undisturbed."""
    region = at_home(complete, tmp_path_factory.mktemp("reference"), granules_of(complete))
    ingest(region)
    return Cube.open(region)
