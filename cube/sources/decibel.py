"""Decibels and the linear power they stand for: means are taken of power, never of decibels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


def to_decibel(power: np.ndarray) -> np.ndarray:
    """10 log10 of linear power, float32; NaN where the power is not above zero."""
    decibel = np.full(power.shape, np.nan, np.float32)
    np.log10(power, out=decibel, where=power > 0)
    return decibel * np.float32(10)


def to_power(decibel: np.ndarray) -> np.ndarray:
    """Linear power of decibels, float32."""
    power: np.ndarray = np.power(np.float32(10), np.asarray(decibel, np.float32) / np.float32(10))
    return power


@contextmanager
def power_view(href: str | Path, src: Any, nodata: float | None) -> Iterator[str]:
    """Offer a single-band raster in decibels as one in linear power, NaN where it has none.

    GDAL converts block by block as it is read (pixel function ``dB2pow``), so that a scene of
    gigabytes is never in memory as a whole.

    Parameters
    ----------
    href, src
        The raster's path, and the same opened with rasterio.
    nodata
        Its fill value in decibels.

    Yields
    ------
    str
        Path of the view; without georeference.
    """
    from rasterio.io import MemoryFile

    fill = "" if nodata is None or np.isnan(nodata) else f"<NODATA>{nodata!r}</NODATA>"
    view = (
        f'<VRTDataset rasterXSize="{src.width}" rasterYSize="{src.height}">'
        '<VRTRasterBand dataType="Float32" band="1" subClass="VRTDerivedRasterBand">'
        "<PixelFunctionType>dB2pow</PixelFunctionType>"
        "<SourceTransferType>Float32</SourceTransferType><NoDataValue>nan</NoDataValue>"
        f'<ComplexSource><SourceFilename relativeToVRT="0">{escape(str(href))}</SourceFilename>'
        f"<SourceBand>1</SourceBand>{fill}</ComplexSource></VRTRasterBand></VRTDataset>"
    )
    with MemoryFile(view.encode(), ext=".vrt") as memory:
        yield memory.name
