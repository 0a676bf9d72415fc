"""Keras for the tests that need it, imported only when one of them runs."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    module: ModuleType = pytest.importorskip(
        "keras", reason="needs Keras and a backend: install thermocube[train]"
    )
    module.utils.set_random_seed(7)
    return module
