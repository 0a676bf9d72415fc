"""What reading labels by pixel index does to images of other grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.study_regions import SANTA, STEP


def grids_document(file: Path) -> dict[str, Any]:
    """Compare Santa's labels by georeference with those by pixel index, on each of its grids.

    Parameters
    ----------
    file
        ``thesis_santa.nc``.

    Returns
    -------
    dict
        Grid to ``dates``, ``pixels`` (that both ways give a label to), ``same`` (share of them
        with the same class) and ``kilometres`` (median distance between the two places).
    """
    import xarray as xr
    from odc.geo.geobox import GeoBox

    from cube.sources.netcdf import netcdf_labels
    from cube.sources.placement import Placement

    with xr.open_dataset(file, engine="h5netcdf") as dataset:
        numbers = dataset["grid_id"].to_numpy()
        by_index = dataset["labels"].fillna(0).transpose("y", "x").to_numpy().astype(np.uint8)
    boxes = {name: _box(corner, by_index.shape) for name, corner in SANTA.items()}
    crs, left, top = SANTA["grid-29n"]
    own = Placement(crs=crs, upper_left=(left, top), pixel_size=STEP)
    document = {}
    for number, (name, box) in enumerate(boxes.items()):
        assert isinstance(box, GeoBox)
        placed = netcdf_labels(file, "labels", box, placement=own)
        both = (placed > 0) & (by_index > 0)
        document[name] = {
            "dates": int((numbers == number).sum()),
            "pixels": int(both.sum()),
            "same": float((placed == by_index)[both].mean()),
            "kilometres": _apart(boxes["grid-29n"], box),
        }
    return document


def _box(corner: tuple[str, float, float], shape: tuple[int, int]) -> Any:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    crs, left, top = corner
    return GeoBox(shape, Affine(STEP, 0, left, 0, -STEP, top), crs)


def _apart(first: Any, second: Any) -> float:
    """Median distance on the ground between pixels of the same index, km."""
    from pyproj import Transformer

    rows, columns = (axis.ravel() for axis in np.mgrid[0:280:20, 0:280:20])
    places = [box.affine * (columns + 0.5, rows + 0.5) for box in (first, second)]
    there = Transformer.from_crs(str(second.crs), str(first.crs), always_xy=True)
    x, y = there.transform(*places[1])
    return float(np.median(np.hypot(x - places[0][0], y - places[0][1])) / 1000)
