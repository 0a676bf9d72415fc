"""A sharpened run before it is begun: what is to be made, from what, and what it will be called."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cube.errors import ModelError
from cube.version import code_version
from pipelines.lattice import Window
from pipelines.sharpen_engine import Part
from pipelines.sharpen_layout import chunks_of, layout_of, template_of, tiles
from pipelines.sharpen_scenery import Scenery
from pipelines.sharpen_task import Task

if TYPE_CHECKING:
    import xarray as xr

    from cube.store import Cube
    from pipelines.superres_folder import Trained

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class SharpenPlan:
    """A run before it is begun."""

    run: str
    task: Task
    template: xr.Dataset
    lineage: dict[str, str]

    @classmethod
    def of(
        cls,
        cube: Cube,
        method: str,
        models: Sequence[Trained],
        *,
        run: str | None,
        consistent: bool,
        days: float,
        wanted: Mapping[str, Any],
    ) -> SharpenPlan:
        """Look up what a method needs of the scenes of a cube; reads no pixel.

        Parameters and errors as of `pipelines.sharpen_run.sharpen_cube`.
        """
        known = {model.name: model for model in models}
        parts = tuple(Part.of(name, known) for name in method.split("+"))
        run = _require_name(run or re.sub(r"[^A-Za-z0-9._-]+", "-", method).strip("-"))
        scenery = Scenery.of(cube, wanted, days)
        _require_scale(scenery, parts)
        digests = [known[name].digest for name in method.split("+") if name in known]
        lineage = {
            "job": "sharpen",
            "run": run,
            "method": method,
            "model_digests": " ".join(digests),
            "consistent": str(consistent).lower(),
            "selection": json.dumps(dict(scenery.wanted), default=str),
            "ndvi_within_days": f"{days:g}",
            "input_snapshot": cube.snapshot,
            "code": code_version(),
        }
        template = template_of(scenery, lineage)
        layout = layout_of(template, scenery.scale)
        return cls(run, Task(scenery, parts, consistent, layout), template, lineage)

    @property
    def group(self) -> str:
        """Where the maps are, in the cube."""
        return f"sharpened/{self.run}"

    @property
    def chunks(self) -> dict[str, int]:
        """Chunk lengths by dimension."""
        return chunks_of(self.task.scenery.scale)

    @cached_property
    def tiles(self) -> list[Window]:
        """Of each scene, in coarse pixels."""
        return list(tiles(self.task.scenery.shape))

    @cached_property
    def scenes(self) -> list[int]:
        """Numbers of the scenes that have an NDVI; the others have no map."""
        partners = self.task.scenery.partners
        return [scene for scene, found in enumerate(partners) if found]

    def time(self, scene: int) -> str:
        """When a scene was taken, UTC."""
        return str(self.task.scenery.lst["time"].values[scene].astype("datetime64[s]"))

    @property
    def digest(self) -> str:
        """SHA-256 over everything that the maps depend on."""
        scenery = self.task.scenery
        known: dict[str, Any] = {
            **self.lineage,
            "parts": [
                repr((part.method, sorted(part.settings.items()))) for part in self.task.parts
            ],
            "partners": scenery.partners,
            "grids": [scenery.scale, scenery.shape, scenery.fine_shape],
            "tiles": repr(self.tiles),
            "layout": {name: text.decode() for name, text in self.task.layout.documents.items()},
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _require_name(run: str) -> str:
    if not _RUN_NAME.fullmatch(run):
        raise ModelError(
            f"a run cannot be called {run!r}: letters, digits, '.', '_' and '-' only; "
            "give it a name with `run`"
        )
    return run


def _require_scale(scenery: Scenery, parts: Sequence[Part]) -> None:
    if scenery.scale != 4 and any(part.folder is not None for part in parts):
        raise ModelError(
            f"networks are trained for 4 NDVI pixels a side of an LST pixel, and these grids have "
            f"{scenery.scale}; take a classical method"
        )
