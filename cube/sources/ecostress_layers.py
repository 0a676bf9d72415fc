"""The layers of one ECOSTRESS granule: encodings, fills, and their common flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cube.errors import GranuleError
from cube.quality import Flag, ecostress_flags
from cube.sources.base import NO_VALUE, Layer, read_header, read_layer

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from cube.bands import Band
    from cube.scene import Granule

BAND_LAYERS = {
    "lst": "LST",
    "emissivity": "EmisWB",
    "lst_err": "LST_err",
    "view_zenith": "view_zenith",
}

QC_FILL = -99999
MASK_FILL = 255
_LST_ERR_CEILING = 12.0


def read_image(granule: Granule, grid: GeoBox, band: Band) -> Layer:
    """Read the layer of a band onto the grid, in the band's units, its range checked.

    The encoding is the file's own: uint16 or int32 of 0.02 K (AppEEARS, Collection 1), float32 K
    (tiles), uint8 of 0.002 + 0.49 (emissivity) and of 0.04 K (LST_err), float32 degrees
    (view_zenith).

    Raises
    ------
    GranuleError
        ``missing_layer``, or as `read_layer`.

    References
    ----------
    ECOSTRESS Level-2 User Guide V3, Table 3.
    """
    layer = BAND_LAYERS[band.name]
    if layer not in granule.assets:
        raise GranuleError(
            f"granule {granule.id}: band {band.name!r} needs layer {layer}, which is not there; "
            f"there is only {', '.join(granule.assets)}",
            kind="missing_layer",
        )
    href = granule.assets[layer]
    header = read_header(href, layer)
    # Integer layers of LSTE are filled with 0, whether or not the header says so.
    integer = np.dtype(header.dtype).kind in "iu"
    return read_layer(
        href,
        grid,
        resampling=band.resampling,
        nodata=0.0 if integer and header.nodata is None else header.nodata,
        scale=header.scale,
        offset=header.offset,
        valid=(band.valid_min, band.valid_max),
        layer=layer,
    )


def read_flags(granule: Granule, grid: GeoBox, name: str) -> Layer | None:
    """Read QC or a mask onto the grid by nearest neighbour; None if the granule has none.

    Never scaled: the masks of AppEEARS carry a scale of 0.0001, yet hold 0, 1 and 255.

    Raises
    ------
    GranuleError
        ``bad_quality_word`` if a mask holds something else, or as `read_layer`.
    """
    if name not in granule.assets:
        return None
    fill = None if name == "QC" else float(MASK_FILL)
    layer = read_layer(granule.assets[name], grid, resampling="nearest", nodata=fill, layer=name)
    # A QC file that lost its nodata in a conversion still holds the fill.
    covered = layer.covered & (layer.values != QC_FILL)
    found = np.where(covered, layer.values, NO_VALUE)
    values = found.astype(np.int32)
    odd = found != values if name == "QC" else covered & (found != 0) & (found != 1)
    if odd.any():
        held = ", ".join(f"{value:g}" for value in np.unique(found[odd])[:5])
        expected = "whole numbers" if name == "QC" else f"0 and 1, and {MASK_FILL} for fill"
        raise GranuleError(
            f"granule {granule.id}: layer {name} holds {held}, but its values are {expected}; "
            "has it been scaled, or is it of another collection?",
            kind="bad_quality_word",
        )
    return Layer(values, covered, layer.out_of_range, layer.overlaps, layer.seen)


def require_plausible(image: Layer, band: Band, cloud: Layer | None, granule: Granule) -> None:
    """Refuse a layer that is not what its name says, by the values of its clear pixels.

    A few wrong retrievals are flagged pixel by pixel, not refused; and so are many under cloud.

    Raises
    ------
    GranuleError
        ``wrong_layer`` if the median of the layer and more than half of its clear pixels are out
        of the band's range.
    """
    low, median, high = image.seen
    clear = image.covered if cloud is None else image.covered & (cloud.values != 1)
    looked = clear if clear.any() else image.covered
    if not looked.any() or band.valid_min <= median <= band.valid_max:
        return
    share = float(image.out_of_range[looked].mean())
    if share <= 0.5:
        return
    layer = BAND_LAYERS[band.name]
    hint = (
        "LST_err has such values: was it renamed?"
        if band.name == "lst" and high < _LST_ERR_CEILING
        else "is it another layer, or has the file lost its scale factor?"
    )
    raise GranuleError(
        f"granule {granule.id}: layer {layer} ({granule.assets[layer]}) holds {low:g} to {high:g} "
        f"(median {median:g}) {band.units}, but {band.long_name} lies within {band.valid_min:g} to "
        f"{band.valid_max:g} {band.units}; {share:.0%} of its pixels are out of range. "
        f"This cannot be {layer}: {hint}",
        kind="wrong_layer",
    )


def screen(
    images: Sequence[Layer],
    word: Layer | None,
    cloud: Layer | None,
    water: Layer | None,
    max_lst_error: float | None,
    where: str,
) -> np.ndarray:
    """Make the common flags of a granule from its layers.

    Parameters
    ----------
    images
        One a band.
    word, cloud, water
        As `read_flags` gives them; None where the granule has no such layer.
    max_lst_error
        See `cube.quality.ecostress_flags`.
    where
        Granule, for messages.

    Returns
    -------
    ndarray of uint8, (y, x)
        `cube.quality.Flag` bits.

    Raises
    ------
    GranuleError
        ``bad_quality_word``.
    """
    measured = np.logical_and.reduce([image.covered for image in images])
    qc = np.zeros(measured.shape, np.uint8)
    if word is None:
        qc[~measured] = Flag.MISSING
    else:
        qc[~word.covered] = Flag.MISSING
        qc[word.covered] = ecostress_flags(
            word.values[word.covered], max_lst_error=max_lst_error, where=where
        )
        qc[word.covered & ~measured] |= np.uint8(Flag.POOR_QUALITY)
    for image in images:
        qc[image.out_of_range] |= np.uint8(Flag.OUT_OF_RANGE)
    if cloud is not None:
        qc[measured & ~cloud.covered] |= np.uint8(Flag.POOR_QUALITY)
        cloudy = cloud.values == 1
        qc[cloudy] = qc[cloudy] & ~np.uint8(Flag.MISSING) | np.uint8(Flag.CLOUD)
    if water is not None:
        qc[water.values == 1] |= np.uint8(Flag.WATER)
    if word is None or cloud is None:
        qc[(qc & np.uint8(Flag.MISSING)) == 0] |= np.uint8(Flag.UNSCREENED)
    return qc
