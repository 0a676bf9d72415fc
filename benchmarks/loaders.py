"""Bring scenes of Sentinel-2 onto a region's grid: our reader beside other loaders.

Each way runs in a process of its own, the rounds interleaved, and each is set against the floor
of necessary work, rasterio's warp from file to array. Wall and CPU seconds count the loading
alone, memory is the growth of the peak over what the imports took::

    python benchmarks/loaders.py --scenes 40 --rounds 3

Needs ``odc-stac`` and ``stackstac`` beside thermocube; a way whose package is missing or fails is
reported and left out. stackstac needs pandas 2, thus an environment of its own
(``--stackstac-python``). Linux only, for the memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

CRS, TILE = "EPSG:32630", (399_960.0, 4_300_020.0)
BANDS = ("B04", "B08")
SIZE = 3600
"""Pixels of 10 m along the side of a file; a whole tile has 10980."""
FILES = 4
"""Different scenes on disk; the others are items that point to the same files."""


def grid() -> Any:
    """400 x 300 pixels of 70 m."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    left, top = TILE[0] + 70 * 40, TILE[1] - 70 * 60
    return GeoBox((300, 400), Affine(70, 0, left, 0, -70, top), CRS)


def make(folder: Path, scenes: int) -> None:
    """Write the files (COGs with overviews) and the items."""
    for number in range(FILES):
        for name in (*BANDS, "SCL"):
            file = folder / f"{number}_{name}.tif"
            if not file.exists():
                _write(file, name, np.random.default_rng((number, len(name))))
    items = [_item(index, folder / f"{index % FILES}") for index in range(scenes)]
    (folder / "items.json").write_text(json.dumps(items))


def _write(file: Path, name: str, random: np.random.Generator) -> None:
    import rasterio
    from affine import Affine
    from rasterio.shutil import copy

    step = 20 if name == "SCL" else 10
    side = SIZE * 10 // step
    if name == "SCL":
        values = np.full((side, side), 4, np.uint8)
    else:
        rows, columns = np.mgrid[:side, :side]
        smooth = 2500 + 900 * np.sin(rows / 310) * np.cos(columns / 170)
        values = (smooth + random.normal(0, 60, (side, side))).astype(np.uint16)
        values[:, : side // 12] = 0
    profile = {
        "driver": "GTiff",
        "height": side,
        "width": side,
        "count": 1,
        "dtype": values.dtype,
        "crs": CRS,
        "transform": Affine(step, 0, TILE[0], 0, -step, TILE[1]),
        "nodata": 0,
    }
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(values, 1)
        copy(memory.name, file, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=512)


def _item(index: int, prefix: Path) -> dict[str, Any]:
    from rasterio.warp import transform_bounds

    left, top = TILE
    west, south, east, north = transform_bounds(
        CRS, "EPSG:4326", left, top - 10 * SIZE, left + 10 * SIZE, top
    )
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    day = f"2023-{1 + index // 28:02d}-{1 + index % 28:02d}"
    assets = {}
    for name in (*BANDS, "SCL"):
        step = 20 if name == "SCL" else 10
        assets[name] = {
            "href": f"{prefix}_{name}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "proj:shape": [SIZE * 10 // step] * 2,
            "proj:transform": [step, 0, left, 0, -step, top],
            "raster:bands": [{"nodata": 0, "data_type": "uint8" if name == "SCL" else "uint16"}],
        }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": f"S2A_{index:03d}",
        "collection": "sentinel-2-l2a",
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": f"{day}T11:06:19Z",
            "platform": "sentinel-2a",
            "proj:epsg": int(CRS.split(":")[1]),
            "s2:processing_baseline": "05.09",
            "s2:mgrs_tile": "30SVH",
        },
        "links": [],
        "assets": assets,
    }


# --- the ways ---------------------------------------------------------------------------------

Load = Callable[[], np.ndarray]
"""Gives DN as float32 (scene, band, y, x), NaN where there is none."""


def floor(items: list[dict[str, Any]], workers: int) -> Load:
    import rasterio
    from rasterio.warp import Resampling, reproject

    box = grid()

    def one(href: str) -> np.ndarray:
        out = np.full(box.shape, np.nan, np.float32)
        with rasterio.open(href) as src:
            reproject(
                rasterio.band(src, 1),
                out,
                dst_transform=box.affine,
                dst_crs=CRS,
                dst_nodata=np.nan,
                resampling=Resampling.average,
            )
        return out

    hrefs = [item["assets"][name]["href"] for item in items for name in BANDS]
    return lambda: _pooled(one, hrefs, workers).reshape(len(items), len(BANDS), *box.shape)


def reader(items: list[dict[str, Any]], workers: int) -> Load:
    """Our `read_asset`: range check, coverage and all, one band at a time."""
    from cube.bands import OPTICAL
    from cube.sources.asset import read_asset

    box, work = grid(), [(one, name) for one in _granules(items) for name in ("red", "nir")]

    def one(job: tuple[Any, str]) -> np.ndarray:
        granule, name = job
        layer = read_asset(
            granule, name, box, resampling=OPTICAL.bands[name].resampling, valid=(0, 16_000)
        )
        return layer.values

    return lambda: _pooled(one, work, workers).reshape(-1, len(BANDS), *box.shape)


def source(items: list[dict[str, Any]], workers: int) -> Load:
    """Our `Sentinel2Source.read`: the same and the scene classes, flags and reflectance."""
    from cube.bands import OPTICAL

    box, bands = grid(), OPTICAL.require(("red", "nir"))
    ours = _source(items)

    def one(granule: Any) -> np.ndarray:
        reflectance: np.ndarray = ours.read(granule, box, bands).imagery
        return reflectance * 10_000 + 1000

    return lambda: _pooled(one, _granules(items), workers)


def odc_stac(items: list[dict[str, Any]], workers: int, *, overviews: bool = True) -> Load:
    import dask
    import odc.stac
    import pystac

    parsed = [pystac.Item.from_dict(item) for item in items]

    def load() -> np.ndarray:
        lazy = odc.stac.load(
            parsed,
            bands=BANDS,
            geobox=grid(),
            resampling="average",
            dtype="float32",
            nodata=np.nan,
            chunks={"time": 1},
            use_overviews=overviews,
        )
        with dask.config.set(scheduler="threads", num_workers=workers):
            return lazy.to_array("band").transpose("time", "band", "y", "x").values

    return load


def odc_stac_exact(items: list[dict[str, Any]], workers: int) -> Load:
    return odc_stac(items, workers, overviews=False)


def stackstac(items: list[dict[str, Any]], workers: int) -> Load:
    import dask
    import stackstac
    from rasterio.enums import Resampling

    bounds = tuple(grid().boundingbox.bbox)

    def load() -> np.ndarray:
        lazy = stackstac.stack(
            items,
            assets=list(BANDS),
            epsg=int(CRS.split(":")[1]),
            resolution=70,
            bounds=bounds,
            snap_bounds=False,
            resampling=Resampling.average,
            rescale=False,
            dtype=np.dtype("float32"),
            fill_value=np.float32("nan"),
            chunksize=(1, 1, -1, -1),
        )
        with dask.config.set(scheduler="threads", num_workers=workers):
            return lazy.transpose("time", "band", "y", "x").values

    return load


WAYS: dict[str, Callable[[list[dict[str, Any]], int], Load]] = {
    "rasterio warp (floor)": floor,
    "thermocube read_asset": reader,
    "thermocube Sentinel2Source": source,
    "odc-stac": odc_stac,
    "odc-stac, no overviews": odc_stac_exact,
    "stackstac": stackstac,
}


def _pooled(one: Callable[[Any], np.ndarray], work: list[Any], workers: int) -> np.ndarray:
    with ThreadPoolExecutor(workers) as pool:
        return np.stack(list(pool.map(one, work)))


def _source(items: list[dict[str, Any]]) -> Any:
    from cube.sources.sentinel import Sentinel2Source

    folder = Path(items[0]["assets"]["B04"]["href"]).parent
    return Sentinel2Source(kind="sentinel2", name="s2", path=folder / "items.json")


def _granules(items: list[dict[str, Any]]) -> list[Any]:
    from datetime import UTC, datetime

    from cube.sources.base import Period

    ever = Period(datetime(2014, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
    found = {granule.id: granule for granule in _source(items).search(grid(), ever)}
    return [found[item["id"]] for item in items]


# --- measuring ------------------------------------------------------------------------------


def measure(way: str, folder: Path, workers: int) -> dict[str, Any]:
    """Load everything once; called in a process of its own."""
    items = json.loads((folder / "items.json").read_text())
    load = WAYS[way](items, workers)
    WAYS[way](items[:1], workers)()  # imports, PROJ's and GDAL's tables
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status("VmRSS")
    idle = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    values = load()
    wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    np.save(folder / f"{list(WAYS).index(way)}.npy", values)
    return {
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime - idle.ru_utime - idle.ru_stime,
        "memory": (_status("VmHWM") - before) / 1024,
    }


def _status(field: str) -> int:
    """A figure of this process, kB (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise LookupError(field)


def _spawn(way: str, folder: Path, chosen: argparse.Namespace) -> dict[str, Any] | str:
    python = chosen.stackstac_python if way == "stackstac" else sys.executable
    command = [python, __file__, "--folder", folder, "--workers", str(chosen.workers)]
    done = subprocess.run([*command, "--measure", way], capture_output=True, text=True)
    if done.returncode:
        return done.stderr.strip().rsplit("\n", 1)[-1]
    result: dict[str, Any] = json.loads(done.stdout.rsplit("\n", 2)[-2])
    return result


def compare(folder: Path, chosen: argparse.Namespace) -> None:
    scenes, rounds, workers = chosen.scenes, chosen.rounds, chosen.workers
    make(folder, scenes)
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in WAYS:
            result = _spawn(way, folder, chosen)
            if isinstance(result, str):
                print(f"{way} failed in round {number + 1}: {result}")
            else:
                results[way].append(result)
    print(
        f"\n{scenes} scenes x {len(BANDS)} bands, 10 m to {grid().shape} of 70 m, {workers} threads"
    )
    print(f"medians of {rounds}; in brackets over the floor\n")
    print(f"{'':28}{'wall s':>16}{'CPU s':>16}{'memory MB':>18}{'off by, DN':>12}{'seen':>7}")
    middle = {
        way: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for way, runs in results.items()
        if runs
    }
    base = middle[next(iter(WAYS))]
    for way, found in middle.items():
        cells = [f"{found[key]:.1f} ({found[key] / base[key]:.2f})" for key in ("wall", "cpu")]
        memory = f"{found['memory']:.0f} ({found['memory'] / base['memory']:.2f})"
        off, seen = _against_floor(folder, way)
        print(f"{way:28}{cells[0]:>16}{cells[1]:>16}{memory:>18}{off:>12.3f}{seen:>7.3f}")


def _against_floor(folder: Path, way: str) -> tuple[float, float]:
    """Greatest difference to the floor, DN, and the share of pixels with a value."""
    expected = np.load(folder / "0.npy", mmap_mode="r")
    values = np.load(folder / f"{list(WAYS).index(way)}.npy", mmap_mode="r")
    if values.shape != expected.shape:
        return float("nan"), float("nan")
    return float(np.nanmax(np.abs(values - expected))), float(np.isfinite(values).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    parser.add_argument(
        "--stackstac-python", default=sys.executable, help="interpreter that has pandas < 3"
    )
    parser.add_argument("--measure", choices=list(WAYS), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(measure(chosen.measure, chosen.folder, chosen.workers)))
    elif chosen.folder:
        chosen.folder.mkdir(parents=True, exist_ok=True)
        compare(chosen.folder.resolve(), chosen)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), chosen)


if __name__ == "__main__":
    main()
