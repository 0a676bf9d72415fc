"""MODIS files as the product's software writes them, but small: the pixels around Puertollano."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from cube.sources.modis_grid import tile_box

H17 = "MOD11A1.A2020123.h17v05.061.2021008155123"
GQ = "MOD09GQ.A2020123.h17v05.061.2021008155123"

# 36 x 30 km around 4.0 W, 38.7 N, which is tile h17v05.
GRID = GeoBox((30, 36), Affine(1000, 0, 395_000, 0, -1000, 4_300_000), "EPSG:32630")
# Rows and columns of h17v05 around it; no more than that is written.
ROWS, COLUMNS = slice(120, 220), slice(770, 900)


def metadata(layers: list[str], box: GeoBox, **changes: str) -> str:
    """``StructMetadata.0`` of a grid with these layers."""
    edges = box.boundingbox
    values = {
        "XDim": box.shape[1],
        "YDim": box.shape[0],
        "UpperLeftPointMtrs": f"({edges.left:.6f},{edges.top:.6f})",
        "LowerRightMtrs": f"({edges.right:.6f},{edges.bottom:.6f})",
        "Projection": "GCTP_SNSOID",
        "ProjParams": "(6371007.181000,0,0,0,0,0,0,0,86400,0,0,0,0)",
        "GridOrigin": "HDFE_GD_UL",
    } | changes
    grid = "\n".join(f"\t\t{name}={value}" for name, value in values.items())
    fields = "\n".join(f'\t\t\t\tDataFieldName="{layer}"' for layer in layers)
    return (
        "GROUP=SwathStructure\nEND_GROUP=SwathStructure\nGROUP=GridStructure\n\tGROUP=GRID_1\n"
        f"{grid}\n\t\tGROUP=DataField\n{fields}\n\t\tEND_GROUP=DataField\n\tEND_GROUP=GRID_1\n"
        "END_GROUP=GridStructure\n"
    )


def write_hdf(
    path: Path,
    layers: Mapping[str, tuple[np.ndarray, Mapping[str, Any]]],
    struct: str,
    own_name: str = "",
) -> Path:
    from pyhdf.SD import SD, SDC

    kinds = {"uint8": "UINT8", "uint16": "UINT16", "int16": "INT16", "float64": "FLOAT64"}
    file = SD(str(path), SDC.WRITE | SDC.CREATE | SDC.TRUNC)
    for name, (values, attributes) in layers.items():
        sds = file.create(name, getattr(SDC, kinds[str(values.dtype)]), values.shape)
        sds.setcompress(SDC.COMP_DEFLATE, 4)
        for key, value in attributes.items():
            kind = getattr(SDC, kinds[str(values.dtype)]) if key == "_FillValue" else SDC.FLOAT64
            sds.attr(key).set(SDC.CHAR8 if isinstance(value, str) else kind, value)
        sds[:] = values
        sds.endaccess()
    if struct:
        file.attr("StructMetadata.0").set(SDC.CHAR8, struct)
    core = f'OBJECT = LOCALGRANULEID\n NUM_VAL = 1\n VALUE = "{own_name or path.name}"\nEND_OBJECT'
    file.attr("CoreMetadata.0").set(SDC.CHAR8, core)
    file.end()
    return path


def window(box: GeoBox, rows: slice, columns: slice) -> GeoBox:
    """A part of a grid. By hand: odc-geo multiplies affines in a way that affine 3 warns of."""
    step, left, top = box.affine.a, box.affine.c, box.affine.f
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    corner = Affine(step, 0, left + columns.start * step, 0, -step, top - rows.start * step)
    return GeoBox(shape, corner, box.crs)


def crop(tile: tuple[int, int] = (17, 5), pixels: int = 1200) -> GeoBox:
    """The pixels around Puertollano, of a tile."""
    rows, columns = (
        slice(part.start * pixels // 1200, part.stop * pixels // 1200) for part in (ROWS, COLUMNS)
    )
    return window(tile_box(*tile, pixels), rows, columns)


def field(box: GeoBox, base: float = 15_000, step: float = 40) -> np.ndarray:
    """Stored LST without symmetry, so that a swapped axis shows."""
    y, x = np.meshgrid(*map(np.arange, box.shape), indexing="ij")
    return (base + step * np.sin(y / 9) + 2.0 * x + 0.01 * y * x).astype(np.uint16)


LST_ATTRIBUTES = {"scale_factor": 0.02, "_FillValue": 0}
REFLECTANCE_ATTRIBUTES = {"scale_factor": 10000.0, "add_offset": 0.0, "_FillValue": -28672}


def lst_layers(
    box: GeoBox, day: np.ndarray | None = None, quality: np.ndarray | int = 0
) -> dict[str, tuple[np.ndarray, Mapping[str, Any]]]:
    day = field(box) if day is None else day
    word = np.broadcast_to(np.uint8(quality), box.shape).astype(np.uint8)
    hours = np.full(box.shape, 108, np.uint8)
    night = np.where(day > 0, day - 1000, 0).astype(np.uint16)
    return {
        "LST_Day_1km": (day, LST_ATTRIBUTES),
        "QC_Day": (word, {}),
        "Day_view_time": (np.where(day > 0, hours, 255).astype(np.uint8), {"scale_factor": 0.1}),
        "LST_Night_1km": (night, LST_ATTRIBUTES),
        "QC_Night": (word, {}),
        "Night_view_time": (hours + np.uint8(110), {"scale_factor": 0.1}),
    }


def write_lst(
    folder: Path,
    stem: str = H17,
    *,
    box: GeoBox | None = None,
    day: np.ndarray | None = None,
    quality: np.ndarray | int = 0,
) -> Path:
    box = box or crop()
    layers = lst_layers(box, day, quality)
    return write_hdf(folder / f"{stem}.hdf", layers, metadata(list(layers), box))


def write_reflectance(
    folder: Path,
    stem: str = GQ,
    quality: np.ndarray | int = 0,
    attributes: Mapping[str, Any] = REFLECTANCE_ATTRIBUTES,
) -> tuple[Path, np.ndarray, np.ndarray]:
    box = crop(pixels=4800)
    y, x = np.meshgrid(*map(np.arange, box.shape), indexing="ij")
    red = (800 + 2 * (y % 50) + x).astype(np.int16)
    nir = (2500 + 3 * y - x).astype(np.int16)
    word = np.broadcast_to(np.uint16(quality), box.shape).astype(np.uint16)
    layers: dict[str, tuple[np.ndarray, Mapping[str, Any]]] = {
        "sur_refl_b01_1": (red, attributes),
        "sur_refl_b02_1": (nir, attributes),
        "QC_250m_1": (word, {"_FillValue": 2995}),
    }
    return write_hdf(folder / f"{stem}.hdf", layers, metadata(list(layers), box)), red, nir


SWATH_STEPS = (70, 83)
"""Lines and pixels from one position of ASTER's TIR lattice to the next: 700 x 830 by 11 x 11."""


def write_swath(
    path: Path,
    values: np.ndarray,
    affine: Affine,
    crs: str,
    quality: np.ndarray | None = None,
    bend: float = 0.0,
    struct: str | None = None,
) -> Path:
    """AST_08 as an HDF-EOS swath.

    Fields, dimensions and lattice are those of the ASTER Higher-Level Product User Guide and of
    the HDF-EOS group's reader for AST_08 version 3: swath ``SurfaceKineticTemperature``, uint16
    ``KineticTemperature`` of 0.1 K, ``QA_DataPlane``, and geodetic ``Latitude`` and
    ``Longitude`` on 11 x 11 positions, the last of them just outside the image.

    Parameters
    ----------
    affine, crs
        Where the pixels lie.
    bend
        Metres by which the lattice's middle is out of line.
    struct
        In place of ``StructMetadata.0``.
    """
    from pyproj import Transformer

    steps = np.arange(11)
    row, column = np.meshgrid(steps * SWATH_STEPS[0], steps * SWATH_STEPS[1], indexing="ij")
    a, b, c, d, e, f = tuple(affine)[:6]
    x = a * (column + 0.5) + b * (row + 0.5) + c
    y = d * (column + 0.5) + e * (row + 0.5) + f + bend * np.sin(steps / 10 * np.pi)
    longitude, latitude = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    quality = np.zeros(values.shape, np.uint8) if quality is None else quality
    layers: dict[str, tuple[np.ndarray, Mapping[str, Any]]] = {
        "Latitude": (np.asarray(latitude), {}),
        "Longitude": (np.asarray(longitude), {}),
        "KineticTemperature": (values, {}),
        "QA_DataPlane": (quality, {}),
        "QA_DataPlane2": (np.zeros(values.shape, np.uint8), {}),
    }
    maps = "".join(
        f"\t\t\tOBJECT=DimensionMap_{number}\n"
        f'\t\t\t\tGeoDimension="{geo}"\n\t\t\t\tDataDimension="{image}"\n'
        f"\t\t\t\tOffset=0\n\t\t\t\tIncrement={step}\n"
        f"\t\t\tEND_OBJECT=DimensionMap_{number}\n"
        for number, geo, image, step in (
            (1, "GeoTrack", "ImageLine", SWATH_STEPS[0]),
            (2, "GeoXTrack", "ImagePixel", SWATH_STEPS[1]),
        )
    )
    own = (
        'GROUP=SwathStructure\n\tGROUP=SWATH_1\n\t\tSwathName="SurfaceKineticTemperature"\n'
        f"\t\tGROUP=DimensionMap\n{maps}\t\tEND_GROUP=DimensionMap\n\tEND_GROUP=SWATH_1\n"
        "END_GROUP=SwathStructure\n"
    )
    return write_hdf(path, layers, own if struct is None else struct)
