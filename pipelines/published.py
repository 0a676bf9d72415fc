"""What the rock-and-soil study printed in its Tables 3 to 10, to be set beside what is measured.

Source: Javier Martínez, *Rock and soil classification using thermal and SAR data in deep learning
models*, MSc thesis in Geomatics, Delft University of Technology, October 2025, sections 5.6 and
5.7.2. Its scores are of a split by date, under which every place of the static map stands in
training too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

REGIONS = ("Puertollano", "Santa Olalla", "Villoslada")
NETWORKS = ("CNN", "ConvLSTM")

CLASS_WEIGHTS_OF = {
    "Puertollano": "puertollano",
    "Santa Olalla": "santa_olalla",
    "Villoslada": "villoslada",
}
"""Region to its column of Table 12 in `models.class_weights.CLASS_WEIGHTS`."""


@dataclass(frozen=True)
class PublishedTable:
    """One table of the study."""

    number: int
    title: str
    data_set: str
    """One of `cube.joint.DATA_SETS`."""
    rows: Mapping[tuple[str, str], tuple[float, float]]
    """Region and network to accuracy and F1."""


def _table(number: int, title: str, data_set: str, *rows: tuple[float, float]) -> PublishedTable:
    keys = [(region, network) for region in REGIONS for network in NETWORKS]
    return PublishedTable(
        number, title, data_set, MappingProxyType(dict(zip(keys, rows, strict=True)))
    )


_INITIAL = (
    (0.7128, 0.6739), (0.7090, 0.7299),
    (0.7443, 0.6694), (0.8106, 0.7881),
    (0.7576, 0.5156), (0.7759, 0.6952),
)  # fmt: skip
TABLES = (
    _table(3, "Thermal", "thermal", *_INITIAL),
    _table(
        4, "Day", "day",
        (0.6532, 0.4580), (0.5804, 0.5811),
        (0.5793, 0.3915), (0.7691, 0.7607),
        (0.7280, 0.4102), (0.7424, 0.6871),
    ),
    _table(
        5, "Night", "night",
        (0.6587, 0.5510), (0.6255, 0.4029),
        (0.5918, 0.2396), (0.5548, 0.3538),
        (0.7206, 0.5943), (0.7185, 0.4064),
    ),
    _table(
        6, "Winter", "winter",
        (0.6820, 0.6004), (0.6786, 0.3512),
        (0.6203, 0.4504), (0.5748, 0.3054),
        (0.7417, 0.6159), (0.7347, 0.6021),
    ),
    _table(
        7, "Summer", "summer",
        (0.6873, 0.5709), (0.7337, 0.5652),
        (0.6400, 0.5945), (0.8016, 0.7761),
        (0.7407, 0.5975), (0.7130, 0.6886),
    ),
    _table(
        8, "SAR", "thermal+sar",
        (0.6472, 0.4429), (0.5814, 0.4699),
        (0.5701, 0.4668), (0.5072, 0.3455),
        (0.7010, 0.5901), (0.6319, 0.4355),
    ),
    _table(
        9, "SAR (only thermal)", "thermal on sar dates",
        (0.4320, 0.2011), (0.5570, 0.4512),
        (0.6478, 0.4678), (0.6179, 0.3442),
        (0.7310, 0.6302), (0.5793, 0.5839),
    ),
)  # fmt: skip
"""Tables 3 to 9."""

FINAL = _table(
    10, "Thermal, final configuration", "thermal",
    (0.8220, 0.7148), (0.9632, 0.8499),
    (0.8673, 0.6093), (0.9577, 0.8018),
    (0.9252, 0.7522), (0.9210, 0.7926),
)  # fmt: skip
"""The second half of Table 10; its first half is Table 3."""


def study_region(name: str) -> str | None:
    """The study's region that a cube's name speaks of; None if it is none of them."""
    plain = name.lower().replace("_", " ").replace("-", " ")
    return next((region for region in REGIONS if region.lower().split()[0] in plain), None)


def study_network(network: str) -> str:
    """Which of the study's networks one of ours stands beside, by its setting."""
    return "ConvLSTM" if network.startswith("convlstm") else "CNN"
