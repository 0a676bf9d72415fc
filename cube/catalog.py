"""A STAC catalogue of a cube: one Collection with the datacube extension, one Item a scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cube.conventions import cf_dataset
from cube.errors import SelectionError
from cube.export import to_cog
from cube.grid import grid_of, lonlat_bounds
from cube.publish import fresh, put

if TYPE_CHECKING:
    import pystac
    import xarray as xr
    from odc.geo.geobox import GeoBox

Progress = Callable[[int, int, str], None]


def to_stac(
    groups: Mapping[str, xr.Dataset],
    folder: str | Path,
    *,
    name: str,
    description: str,
    attrs: Mapping[str, Any] | None = None,
    store: str | None = None,
    cogs: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a static STAC catalogue that odc-stac, stackstac, QGIS and pystac-client's kin read.

    A Collection describes the cube as a whole (``cube:dimensions`` and ``cube:variables``, named
    as the arrays of a Zarr export are: ``thermal/lst``); each scene of each group is an Item with
    a Cloud-Optimised GeoTIFF for each band and flag layer; what has no time, such as the label
    map, is an asset of the Collection. All links are relative: the folder can be moved or served.

    Parameters
    ----------
    groups
        By name, groups of a cube or selections from them.
    folder
        To make; appears under its name only when it is complete.
    name, description
        Id and description of the Collection.
    attrs
        Further fields of the Collection, such as the snapshot it was made from.
    store
        Path or URL of a Zarr export of the same groups, linked as an asset.
    cogs
        Write the GeoTIFFs; without them the Items hold metadata only.
    overwrite
        Replace what is there.
    progress
        Told of scenes written.

    Returns
    -------
    Path
        ``collection.json``.

    Raises
    ------
    StoreError
        If the folder is there already and `overwrite` is not given.
    SelectionError
        If no group holds a scene.
    """
    ready = {key: cf_dataset(dataset, key) for key, dataset in groups.items()}
    total = sum(dataset.sizes.get("time", 0) for dataset in ready.values())
    if not total:
        raise SelectionError("there is no scene to make an Item of; choose a group with scenes")
    with fresh(folder, overwrite) as work:
        root = work / "catalog"
        collection = _collection(ready, name, description, dict(attrs or {}), store)
        done = 0
        for key, dataset in ready.items():
            if cogs:
                _static_assets(collection, key, dataset, root)
            for item in _items(key, dataset, name, root, cogs):
                collection.add_item(item)
                done += 1
                if progress:
                    progress(done, total, item.id)
        _save(collection, root)
        put(root, Path(folder))
    return Path(folder) / "collection.json"


def _save(collection: pystac.Collection, root: Path) -> None:
    import pystac

    collection.normalize_hrefs(str(root))
    collection.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)


def _collection(
    groups: Mapping[str, xr.Dataset],
    name: str,
    description: str,
    attrs: dict[str, Any],
    store: str | None,
) -> pystac.Collection:
    import pystac
    from pystac.extensions.datacube import DatacubeExtension, Dimension, Variable

    timed = [dataset for dataset in groups.values() if dataset.sizes.get("time")]
    boxes = [lonlat_bounds(grid_of(dataset)) for dataset in groups.values()]
    times = [_when(stamp) for dataset in timed for stamp in dataset["time"].values[[0, -1]]]
    west, south, east, north = zip(*boxes, strict=True)
    extent = pystac.Extent(
        pystac.SpatialExtent([[min(west), min(south), max(east), max(north)]]),
        pystac.TemporalExtent([[min(times), max(times)]]),
    )
    collection = pystac.Collection(
        name,
        description,
        extent,
        license="other",
        keywords=sorted({key.split("/")[0] for key in groups}),
        summaries=pystac.Summaries({"platform": _platforms(timed)}),
        extra_fields=attrs,
    )
    dimensions: dict[str, Dimension] = {}
    variables: dict[str, Variable] = {}
    for key, dataset in groups.items():
        axes = _dimensions(dataset, grid_of(dataset))
        dimensions |= {f"{key}/{axis}": Dimension.from_dict(axes[axis]) for axis in axes}
        layers = {str(layer): _variable(key, value) for layer, value in dataset.data_vars.items()}
        variables |= {f"{key}/{layer}": Variable(layers[layer]) for layer in layers}
    DatacubeExtension.ext(collection, add_if_missing=True).apply(dimensions, variables)
    if store is not None:
        media, title = pystac.MediaType.VND_ZARR, "All groups as one Zarr v3 store"
        collection.add_asset("zarr", pystac.Asset(store, title, None, media, ["data"]))
    return collection


def _platforms(timed: list[xr.Dataset]) -> list[str]:
    names = {
        str(name)
        for dataset in timed
        if "platform" in dataset.coords
        for name in dataset["platform"].values
    }
    return sorted(names)


def _dimensions(dataset: xr.Dataset, grid: GeoBox) -> dict[str, dict[str, Any]]:
    """The axes of a group as the datacube extension describes them."""
    epsg = grid.crs.to_epsg() if grid.crs else None
    axes: dict[str, dict[str, Any]] = {}
    for axis, step in (("x", grid.affine.a), ("y", grid.affine.e)):
        centres = dataset[axis].values
        axes[axis] = {
            "type": "spatial",
            "axis": axis,
            "extent": [float(centres.min()), float(centres.max())],
            "step": float(step),
            "unit": "m",
            "reference_system": epsg or str(grid.crs),
        }
    if dataset.sizes.get("time"):
        values = [_text(stamp) for stamp in dataset["time"].values]
        axes["time"] = {"type": "temporal", "extent": [values[0], values[-1]], "values": values}
    if "class" in dataset.dims:
        codes = [int(code) for code in dataset["class"].values]
        axes["class"] = {"type": "other", "values": codes, "description": "class of rock or soil"}
    return axes


def _variable(group: str, layer: xr.DataArray) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": "data",
        "dimensions": [f"{group}/{dim}" for dim in layer.dims],
        "description": str(layer.attrs.get("long_name", layer.name)),
        "data_type": layer.dtype.name,
    }
    return {**fields, "unit": layer.attrs["units"]} if "units" in layer.attrs else fields


def _items(
    group: str, dataset: xr.Dataset, name: str, root: Path, cogs: bool
) -> Iterator[pystac.Item]:
    if "time" not in dataset.dims:
        return
    described = _Group(group, name, grid_of(dataset), cogs)
    layers = [key for key, layer in dataset.data_vars.items() if "time" in layer.dims]
    for index in range(dataset.sizes["time"]):
        yield described.item(dataset[layers].isel(time=index), root)


@dataclass(frozen=True)
class _Group:
    """What all Items of one group share."""

    group: str
    name: str
    grid: GeoBox
    cogs: bool

    def item(self, scene: xr.Dataset, root: Path) -> pystac.Item:
        import pystac

        time = _when(scene["time"].values.reshape(1)[0])
        stem = f"{self.name}-{self.group.replace('/', '-')}"
        stamp = f"{time:%Y%m%dT%H%M%S}{time.microsecond // 1000:03d}Z"
        item = pystac.Item(
            f"{stem}-{stamp}",
            _footprint(self.grid),
            list(lonlat_bounds(self.grid)),
            time,
            _properties(scene),
        )
        self._extensions(item, scene)
        if self.cogs:
            scene = scene.load()
            for layer in scene.data_vars:
                file = f"{layer}.tif"
                to_cog(scene[layer], root / item.id / file)
                item.add_asset(str(layer), _asset(scene[layer], file))
        return item

    def _extensions(self, item: pystac.Item, scene: xr.Dataset) -> None:
        from pystac.extensions.eo import EOExtension
        from pystac.extensions.projection import ProjectionExtension
        from pystac.extensions.view import ViewExtension

        epsg = self.grid.crs.to_epsg() if self.grid.crs else None
        ProjectionExtension.ext(item, add_if_missing=True).apply(
            code=f"EPSG:{epsg}" if epsg else None,
            wkt2=None if epsg else str(self.grid.crs),
            shape=list(self.grid.shape),
            transform=list(self.grid.affine)[:6],
        )
        if "cloud_fraction" in scene.coords:
            cover = round(100 * float(scene["cloud_fraction"]), 4)
            EOExtension.ext(item, add_if_missing=True).apply(cloud_cover=cover)
        if "sun_elevation" in scene.coords:
            elevation = round(float(scene["sun_elevation"]), 4)
            ViewExtension.ext(item, add_if_missing=True).apply(sun_elevation=elevation)


def _properties(scene: xr.Dataset) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "platform" in scene.coords:
        fields["platform"] = str(scene["platform"].values)
    if "granules" in scene.coords:
        fields["thermocube:granules"] = str(scene["granules"].values).split()
    for name in ("bad_fraction", "valid_fraction", "local_solar_time"):
        if name in scene.coords:
            fields[f"thermocube:{name}"] = round(float(scene[name]), 6)
    return fields


def _static_assets(
    collection: pystac.Collection, group: str, dataset: xr.Dataset, root: Path
) -> None:
    for name, layer in dataset.data_vars.items():
        if "time" not in layer.dims:
            file = f"{group.replace('/', '-')}-{name}.tif"
            to_cog(layer, root / file)
            collection.add_asset(f"{group}/{name}", _asset(layer, file))


def _asset(layer: xr.DataArray, file: str) -> pystac.Asset:
    import pystac
    from pystac.extensions.classification import Classification

    quality = "flag_masks" in layer.attrs or layer.name == "product_qc"
    fields: dict[str, Any] = {"data_type": layer.dtype.name}
    if "units" in layer.attrs:
        fields["unit"] = layer.attrs["units"]
    if layer.dtype.kind == "f":
        fields["nodata"] = "nan"
    if "flag_values" in layer.attrs:
        words = str(layer.attrs["flag_meanings"]).split()
        pairs = zip(layer.attrs["flag_values"], words, strict=True)
        fields["classification:classes"] = [
            Classification.create(value=int(code), description=word, name=word).to_dict()
            for code, word in pairs
        ]
    title = str(layer.attrs.get("long_name", layer.name))
    roles = ["metadata"] if quality else ["data"]
    return pystac.Asset(f"./{file}", title, None, pystac.MediaType.COG, roles, fields)


def _footprint(grid: GeoBox) -> dict[str, Any]:
    """The grid's outline in degrees, as GeoJSON."""
    from rasterio.warp import transform_geom

    left, bottom, right, top = grid.boundingbox.bbox
    ring = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    outline: dict[str, Any] = transform_geom(
        str(grid.crs), "EPSG:4326", {"type": "Polygon", "coordinates": [ring]}
    )
    return outline


def _when(stamp: np.datetime64) -> datetime:
    moment: datetime = stamp.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)


def _text(stamp: np.datetime64) -> str:
    return f"{stamp.astype('datetime64[ms]')}Z"
