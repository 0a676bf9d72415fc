"""What a Dask worker keeps of a run: the job, and the network once it was asked for.

Import it late: it needs `distributed`.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker

from pipelines.inference import Engine, Job, Part, Unit
from pipelines.model_folder import ModelContents

if TYPE_CHECKING:
    from distributed import Worker


class Inference(WorkerPlugin):
    """Job and network of one run on a worker; the network is read once, with the first unit.

    Parameters
    ----------
    name
        Under which tasks find it.
    job, contents
        The run and its network's files; workers need not see the model folder.
    beside
        Workers on the machine, which its processors are shared out to.
    """

    def __init__(self, name: str, job: Job, contents: ModelContents, beside: int) -> None:
        self.name = name
        self._job = job
        self._contents = contents
        self._beside = beside

    def setup(self, worker: Worker) -> None:
        """Run on the worker when it gets the plugin."""
        # TensorFlow would start a thread a processor in every worker of the machine. Read when
        # it is first imported, and no matter to other backends.
        share = max(1, (os.cpu_count() or 1) // self._beside)
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(share))
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        """The engine, made at its first use."""
        with self._lock:
            if self._engine is None:
                self._engine = Engine(self._job, self._network)
            return self._engine

    def _network(self) -> Any:
        with tempfile.TemporaryDirectory(prefix="thermocube-model-") as folder:
            return self._contents.unpack(Path(folder)).network()

    def __getstate__(self) -> dict[str, Any]:
        keep = ("name", "_job", "_contents", "_beside")
        return {key: self.__dict__[key] for key in keep}


def run_unit(plugin: str, unit: Unit) -> Part:
    """Run one unit; a task."""
    inference = get_worker().plugins[plugin]
    assert isinstance(inference, Inference)
    return inference.engine().run(unit)
