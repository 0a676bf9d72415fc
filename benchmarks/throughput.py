"""A whole ingest of Sentinel-2 scenes beside the least that must be done, and beside two loaders.

Every way ends in a Zarr store on disk with red, near infrared and the scene classes on the grid:
the floor warps with rasterio and writes arrays, the loaders write with ``to_zarr``, ours is
`pipelines.ingest.ingest` with everything that it checks. Each runs in a process of its own.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import loaders
import numpy as np

LAYERS = {"B04": "average", "B08": "average", "SCL": "nearest"}

Way = Callable[[Path, list[dict[str, Any]], int], None]
"""Given a folder, items and a number of workers, makes ``<folder>/out``."""


def floor(folder: Path, items: list[dict[str, Any]], workers: int) -> None:
    """Warp with rasterio, write NumPy arrays: the work that cannot be left out."""
    import rasterio
    from rasterio.warp import Resampling, reproject

    box = loaders.grid()
    (folder / "out").mkdir()

    def one(item: dict[str, Any]) -> None:
        out = np.full((len(LAYERS), *box.shape), np.nan, np.float32)
        for plane, (name, method) in zip(out, LAYERS.items(), strict=True):
            with rasterio.open(item["assets"][name]["href"]) as src:
                reproject(
                    rasterio.band(src, 1),
                    plane,
                    dst_transform=box.affine,
                    dst_crs=loaders.CRS,
                    dst_nodata=np.nan,
                    resampling=Resampling[method],
                )
        np.save(folder / "out" / f"{item['id']}.npy", out)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, items))


def thermocube(folder: Path, items: list[dict[str, Any]], workers: int) -> None:
    """Our ingest: search, plan, read, screen, encode with checksums, commit."""
    from cube.region import Region
    from pipelines.ingest import ingest

    (folder / "out").mkdir()
    (folder / "out" / "items.json").write_text(json.dumps(items))
    box = loaders.grid()
    tables = {
        "name": "bench",
        "area": {
            "crs": loaders.CRS,
            "bounds": list(box.boundingbox.bbox),
            "resolution": 70.0,
            "anchor": [box.affine.c, box.affine.f],
        },
        "period": {"start": "2014-01-01"},
        "modalities": {"optical": {"bands": ["red", "nir"], "max_bad": 1.0}},
        "sources": [{"kind": "sentinel2", "name": "s2", "path": "items.json"}],
    }
    report = ingest(Region.parse(tables, folder / "out"), workers=workers)
    assert report.scenes["written"] == len(items), report


def odc_stac(
    folder: Path, items: list[dict[str, Any]], workers: int, *, overviews: bool = False
) -> None:
    """odc-stac from full resolution, as the floor and ours."""
    import dask
    import odc.stac
    import pystac

    parsed = [pystac.Item.from_dict(item) for item in items]
    options = {
        "geobox": loaders.grid(),
        "chunks": {"time": 1, "y": -1, "x": -1},
        "use_overviews": overviews,
    }
    bands = odc.stac.load(
        parsed, ["B04", "B08"], resampling="average", dtype="float32", nodata=np.nan, **options
    )
    classes = odc.stac.load(parsed, ["SCL"], resampling="nearest", **options)
    with dask.config.set(scheduler="threads", num_workers=workers):
        bands.merge(classes).to_zarr(folder / "out", consolidated=False)


def odc_stac_overviews(folder: Path, items: list[dict[str, Any]], workers: int) -> None:
    """odc-stac as it comes: from the overviews, whose values are other ones."""
    odc_stac(folder, items, workers, overviews=True)


def stackstac(folder: Path, items: list[dict[str, Any]], workers: int) -> None:
    """stackstac, the classes apart as it has one resampling for all."""
    import dask
    import stackstac
    from rasterio.enums import Resampling

    options = {
        "epsg": int(loaders.CRS.split(":")[1]),
        "resolution": 70,
        "bounds": tuple(loaders.grid().boundingbox.bbox),
        "snap_bounds": False,
        "rescale": False,
        "chunksize": (1, 1, -1, -1),
    }
    with dask.config.set(scheduler="threads", num_workers=workers):
        for group, assets, method, kind in (
            ("bands", ["B04", "B08"], Resampling.average, np.float32("nan")),
            ("classes", ["SCL"], Resampling.nearest, np.uint8(0)),
        ):
            lazy = stackstac.stack(
                items, assets, resampling=method, dtype=kind.dtype, fill_value=kind, **options
            )
            bare = lazy.reset_coords(drop=True)
            bare.attrs.clear()
            bare.to_dataset(name="values").to_zarr(
                folder / "out", group=group, consolidated=False, mode="a"
            )


WAYS: dict[str, Way] = {
    "floor": floor,
    "thermocube": thermocube,
    "odc-stac": odc_stac,
    "odc-stac, overviews": odc_stac_overviews,
    "stackstac": stackstac,
}


def main() -> None:
    """Measure one way: name, folder, scenes, workers."""
    way, place, scenes, workers = sys.argv[1:]
    folder = Path(place)
    items = json.loads((folder / "items.json").read_text())[: int(scenes)]
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    for number, some in enumerate((items[:1], items)):  # first imports, PROJ's and GDAL's tables
        here = work / str(number)
        here.mkdir(parents=True)
        idle, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        WAYS[way](here, some, int(workers))
        wall, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    shutil.rmtree(work)
    cpu = used.ru_utime + used.ru_stime - idle.ru_utime - idle.ru_stime
    print(json.dumps({"wall": wall, "cpu": cpu}))


if __name__ == "__main__":
    main()
