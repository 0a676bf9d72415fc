"""How a network is carried from one region to the next."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipelines.recipe import Table


class TransferSettings(Table):
    """Fine-tuning, and continual training over regions with replay."""

    networks: tuple[str, ...] = ()
    """Of the experiment's; empty means all."""
    replay: tuple[float, ...] = Field(default=(0.0, 0.2))
    """Shares of the samples of earlier regions that are shown again; one course each."""
    settings: dict[str, Any] = Field(default={})
    """Training settings, laid over those of the experiment."""
    fine_tune: dict[str, Any] = Field(default={"learning_rate": 3e-4})
    """Those of all regions after the first."""
