"""Everything that can go wrong, as one tree.

::

    ThermocubeError
    ├── RegionError          (ValueError)    the region file
    ├── GridError            (ValueError)    a layer does not lie on the grid it must lie on
    ├── SourceError          (OSError)       a source as a whole cannot be searched
    │   └── GranuleError                     one granule cannot be read or must not be trusted
    ├── StoreError           (OSError)       the cube on disk or object store
    │   ├── CubeNotFoundError (FileNotFoundError)
    │   └── CubeLockedError
    ├── SelectionError       (ValueError)    a selection asks for what is not there
    │   └── PairsError                       a file of image pairs or patches to sharpen
    ├── LabelError           (ValueError)    the label map
    ├── PlanError            (ValueError)    a sample plan that must not exist
    └── ModelError           (ValueError)    a model folder or a network that does not fit
"""

from __future__ import annotations


class ThermocubeError(Exception):
    """Base of all errors that are the user's or the data's, never the program's.

    Parameters
    ----------
    message
        What happened, where, why, and what to do next.
    kind
        Stable, machine-readable name; ends up in the ledger and in ``--json``.
    """

    kind: str = "error"

    def __init__(self, message: str, *, kind: str | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind

    def __str__(self) -> str:
        # Some subclasses are OSError, whose __str__ would render an errno tuple.
        return str(self.args[0]) if self.args else self.kind


class RegionError(ThermocubeError, ValueError):
    """The region file is missing, malformed or contradicts itself."""

    kind = "region"


class GridError(ThermocubeError, ValueError):
    """Two grids that must be the same are not; the message names both."""

    kind = "grid"


class SourceError(ThermocubeError, OSError):
    """A source as a whole cannot be searched (folder not there, service down)."""

    kind = "source"


class GranuleError(SourceError):
    """One granule cannot be read, or what it holds must not be trusted.

    ``kind`` says what is wrong with the file (``not_a_raster``, ``truncated``, ``wrong_layer``,
    ``bad_quality_word``, ``missing_layer``, ``unreadable``) or with its delivery (``login_page``,
    ``unauthorised``, ``forbidden``, ``not_found``, ``refused``, ``unavailable``, ``timeout``,
    ``wrong_length``, ``checksum``, ``disk_full``).
    """

    kind = "unreadable"


class StoreError(ThermocubeError, OSError):
    """The cube's store cannot be read or written."""

    kind = "store"


class CubeNotFoundError(StoreError, FileNotFoundError):
    """There is no cube where one was expected."""

    kind = "no_cube"


class CubeLockedError(StoreError):
    """Another job holds the cube's commit lock."""

    kind = "locked"


class SelectionError(ThermocubeError, ValueError):
    """A selection names a modality, band, season or date that is not there."""

    kind = "selection"


class PairsError(SelectionError):
    """A file of image pairs or patches cannot be read, or lacks what is asked of it."""

    kind = "pairs"


class LabelError(ThermocubeError, ValueError):
    """The label map cannot be turned into classes on the region's grid."""

    kind = "labels"


class PlanError(ThermocubeError, ValueError):
    """A sample plan whose parts touch, or that would be empty."""

    kind = "sample_plan"


class ModelError(ThermocubeError, ValueError):
    """A model folder that is incomplete, or a network that does not fit the input."""

    kind = "model"
