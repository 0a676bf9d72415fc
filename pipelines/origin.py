"""The model that a training begins with, in place of random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cube.errors import ModelError
from pipelines.model_folder import ModelFolder

if TYPE_CHECKING:
    import keras

    from models.networks import Settings
    from pipelines.recipe import Normalisation


@dataclass(frozen=True)
class Origin:
    """A model whose weights are handed on."""

    folder: ModelFolder

    @classmethod
    def of(cls, start: str | Path, size: Settings, bands: tuple[str, ...]) -> Origin:
        """Open the model folder.

        Raises
        ------
        ModelError
            If it is another network, or takes other bands.
        """
        folder = ModelFolder.load(start)
        recipe = folder.recipe
        if recipe.network != size.model_dump(mode="json"):
            raise ModelError(
                f"the weights of {folder.path} are of a network of other size or options; train "
                f"with the settings of its recipe: network = {recipe.training.network!r}, and the "
                "same filters, depth, l2, dropout, norm_momentum, residual, feedback and "
                "missing_channels"
            )
        if recipe.bands != bands:
            raise ModelError(
                f"the model {folder.path} takes bands {', '.join(recipe.bands)}, this training "
                f"has {', '.join(bands)}; select the same bands in the same order"
            )
        return cls(folder)

    @property
    def normalisation(self) -> Normalisation:
        """The statistics that the weights were made for."""
        return self.folder.recipe.normalisation

    @property
    def digest(self) -> str:
        """Of the model."""
        return self.folder.digest

    @property
    def taught(self) -> tuple[int, ...]:
        """Classes that it knows."""
        recipe = self.folder.recipe
        shares = self.folder.facts["parts"]["train"]["class_shares"]
        return tuple(sorted({*recipe.taught, *map(int, shares)}))

    def give(self, network: keras.Model) -> None:
        """Put the weights into a network of the same size."""
        from models.files import variables_as_arrays

        with variables_as_arrays():
            network.set_weights(self.folder.network().get_weights())
