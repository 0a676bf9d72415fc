"""Finished tiles of a sharpened run, kept outside the cube until all can be committed.

As with maps of a network, see `pipelines.inference_work`: each tile is a file of encoded chunks,
in a folder that is found again by the digest of everything the run depends on.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.inference_layout import Encoded
from pipelines.inference_work import is_whole, remove_if_empty, run_folder, save, written
from pipelines.lattice import Window
from pipelines.sharpen_plan import SharpenPlan
from pipelines.sharpen_task import Mapped, Misfit

KIND = "sharpened"
"""Folder of these runs, beside those of inference: names of the two may be the same."""
MISFIT = "misfit.json"
REFUSED = "refused.zip"
REASON = "reason.txt"


class SharpenWork:
    """The folder of one run."""

    def __init__(self, folder: Path, plan: SharpenPlan) -> None:
        self._folder = folder
        self._plan = plan

    @classmethod
    @contextmanager
    def at(cls, place: Path, plan: SharpenPlan) -> Iterator[SharpenWork]:
        """Open the folder of a run, alone; those of other attempts at the same run are removed.

        Raises
        ------
        CubeLockedError
            If another process works on the very same run.
        StoreError
            If nothing can be written there.
        """
        with run_folder(place / KIND, plan.run, plan.digest) as folder:
            yield cls(folder, plan)
        remove_if_empty(place)

    def todo(self) -> dict[int, list[Window]]:
        """Tiles that are not done, by scene.

        A file that is not whole, as after a loss of power, is done again.
        """
        return {scene: self._missing(scene) for scene in self._plan.scenes}

    def _missing(self, scene: int) -> list[Window]:
        if is_whole(self._home(scene) / REFUSED):
            return []
        return [window for window in self._plan.tiles if not is_whole(self._file(scene, window))]

    def add(self, scene: int, window: Window, mapped: Mapped) -> None:
        """Keep a tile.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        misfit = json.dumps(dataclasses.asdict(mapped.misfit)).encode()
        self._save(self._file(scene, window), {MISFIT: misfit, **mapped.chunks})

    def refuse(self, scene: int, reason: str) -> None:
        """Note that a scene has no map, and why.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        self._save(self._home(scene) / REFUSED, {REASON: reason.encode()})

    def refused(self, scene: int) -> str | None:
        """Why a scene has no map, if it has none."""
        file = self._home(scene) / REFUSED
        return _read(file)[REASON].decode() if file.exists() else None

    def misfit(self, scene: int) -> Misfit:
        """Of all tiles of a finished scene."""
        found = (_read(file, MISFIT)[MISFIT] for file in self._files(scene))
        return sum((Misfit(**json.loads(text)) for text in found), Misfit())

    def chunks(self, scene: int) -> Iterator[Encoded]:
        """Chunks of a finished scene, tile by tile."""
        for file in self._files(scene):
            entries = _read(file)
            del entries[MISFIT]
            yield entries

    def clear(self) -> None:
        """Remove the folder; the run is in the cube."""
        shutil.rmtree(self._folder)

    def _save(self, file: Path, entries: Encoded) -> None:
        with written(file.parent):
            file.parent.mkdir(exist_ok=True)
            save(file, entries)

    def _home(self, scene: int) -> Path:
        return self._folder / str(scene)

    def _file(self, scene: int, window: Window) -> Path:
        return self._home(scene) / f"{window[0].start}-{window[1].start}.zip"

    def _files(self, scene: int) -> list[Path]:
        return [self._file(scene, window) for window in self._plan.tiles]


def _read(file: Path, *names: str) -> Encoded:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in names or archive.namelist()}
