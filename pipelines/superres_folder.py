"""A trained sharpening method on disk: one network a fold, its recipe, and what each left out."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cube.errors import ModelError

if TYPE_CHECKING:
    import keras

    from models.sharpening import Response
    from models.superres.recipes import Recipe
    from pipelines.pairs import Array

FORMAT = 1
PATCH = 64
"""Side, in coarse pixels, of the windows that networks which do not move with the image take."""
SLOPE_HALO = 18
"""Coarse pixels around a tile by which ``slope`` is as in the whole scene: its features reach 8,
its layers 8 more."""
SETTINGS = "settings.json"


def network_file(fold: int) -> str:
    """Name of a fold's network."""
    return f"fold-{fold}.keras"


@dataclass(frozen=True, eq=False)
class Trained:
    """A complete folder."""

    path: Path
    settings: Mapping[str, Any]
    """Recipe, folds and how the training went."""

    @classmethod
    def load(cls, path: str | Path) -> Trained:
        """Open a folder; networks are read when they are first asked.

        Raises
        ------
        ModelError
            If the folder is not there, not such a folder, or a file in it is missing.
        """
        path = Path(path)
        file = path / SETTINGS
        if not file.is_file():
            raise ModelError(
                f"{path} holds no trained sharpening method (no {SETTINGS}); "
                "`thermocube sharpen train` makes one"
            )
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
            count = len(settings["folds"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ModelError(
                f"{file} cannot be read ({error!r}); train the method again"
            ) from error
        missing = [name for name in map(network_file, range(count)) if not (path / name).is_file()]
        if settings.get("format") != FORMAT or missing or not count:
            raise ModelError(
                f"{path} is not complete, or of another version: format {settings.get('format')}, "
                f"missing {', '.join(missing) or 'nothing'}; train the method again"
            )
        return cls(path, settings)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @cached_property
    def digest(self) -> str:
        """SHA-256 over settings and networks: names this method in rows and lineage."""
        total = hashlib.sha256()
        for name in (SETTINGS, *map(network_file, range(len(self.settings["folds"])))):
            content = (self.path / name).read_bytes()
            total.update(len(content).to_bytes(8, "big") + content)
        return total.hexdigest()

    @cached_property
    def recipe(self) -> Recipe:
        """How it was trained."""
        from models.superres.recipes import Recipe

        return Recipe(**self.settings["recipe"])

    @property
    def tiled(self) -> bool:
        """Whether its layers do not move with the image, so that maps depend on where tiles lie."""
        return self.recipe.network != "slope"

    @property
    def halo(self) -> int:
        """Coarse pixels around a tile by which a map that is not `tiled` is as in the whole."""
        return SLOPE_HALO

    @cached_property
    def _networks(self) -> dict[int, keras.Model]:
        return {}

    def network(self, fold: int) -> keras.Model:
        """The network of a fold.

        Raises
        ------
        ModelError
            If the file is damaged.
        """
        from models import files
        from models.superres import networks as networks  # registers the layers

        if fold not in self._networks:
            try:
                self._networks[fold] = files.load(self.path / network_file(fold))
            except ValueError as error:
                raise ModelError(f"{error}; copy the whole folder, or train again") from error
        return self._networks[fold]

    def folds_for(self, location: int | None) -> Sequence[int]:
        """Folds whose networks may be asked of a place: the one that left it out, or all."""
        folds = self.settings["folds"]
        kept = [number for number, fold in enumerate(folds) if location in fold["left_out"]]
        return kept or range(len(folds))

    def sharpen(
        self,
        lst: npt.ArrayLike,
        ndvi: npt.ArrayLike,
        *,
        location: int | None = None,
        damp: bool = True,
        response: Response | None = None,
        level: float | None = None,
    ) -> Array:
        """Sharpen an image: the mean map of the networks that may be asked.

        Parameters
        ----------
        lst
            Coarse LST (y, x), kelvin, NaN where missing.
        ndvi
            Fine NDVI (scale * y, scale * x), NaN where missing, registered to `lst`.
        location
            Of the scene: a network that has learnt from it is not asked if another has not.
        damp, response
            See `models.sharpening.features.features`.
        level
            Mean LST of the whole scene, kelvin, when this is a tile of it.

        Returns
        -------
        ndarray
            float64 (scale * y, scale * x), kelvin; missing exactly where LST or NDVI is.

        Raises
        ------
        ValueError
            If the grids do not nest, or no coarse pixel has both.
        """
        from models.sharpening.features import features, masked

        coarse = np.asarray(lst, np.float64)
        if self.recipe.level == "training":
            level = 0.0
        elif level is None:
            level = float(np.nanmean(coarse))
        inputs = features(self.recipe.network, coarse - level, ndvi, damp=damp, response=response)
        step = STEPS[self.recipe.network]
        maps = [apply(self.network(fold), inputs, step) for fold in self.folds_for(location)]
        return masked(np.mean(maps, axis=0) + level, coarse, ndvi)


def apply(
    network: keras.Model, inputs: npt.NDArray[np.float32], step: int
) -> npt.NDArray[np.float32]:
    """Run a network on one image (y, x, band) to (y, x), its sides made multiples of `step`."""
    rows, columns = (max(-size % step, 2 * step - size) for size in inputs.shape[:2])
    padded = np.pad(inputs, ((0, rows), (0, columns), (0, 0)), mode="edge")
    fine = np.asarray(network(padded[None], training=False))[0, :, :, 0]
    cut: npt.NDArray[np.float32] = fine[: inputs.shape[0], : inputs.shape[1]]
    return cut


STEPS = {"slope": 4, "sif": 8, "mr_unet": 16}
"""What image sides are multiples of, by network."""


def recipe_of(given: str) -> Recipe:
    """The recipe of a preset's name, or of a TOML file that may begin from one (``preset = ``).

    Raises
    ------
    ModelError
        If there is no such preset or file, or it holds what no recipe has.
    """
    from pydantic import ValidationError

    from models.superres.recipes import Recipe

    path = Path(given)
    try:
        if path.suffix != ".toml":
            return Recipe.preset(given)
        wanted = tomllib.loads(path.read_text(encoding="utf-8"))
        preset = wanted.pop("preset", None)
        base = Recipe.preset(preset).model_dump() if preset else {}
        return Recipe(**{**base, **wanted})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"recipe {given} cannot be read: {error}") from error
    except ValidationError as error:
        what = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        )
        raise ModelError(f"recipe {given}: {what}") from error
    except ValueError as error:
        raise ModelError(str(error)) from error
