"""What there is to be learnt in simulated regions is learnt, and holds where no map was seen.

Margins are about half of what both seeds of docs/results.md have.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cube.store import Cube
from models.metrics import Scores
from pipelines.evaluation import MAJORITY, MEMORISE, NETWORK, Evaluation
from pipelines.recipe import Selection
from pipelines.study_learn import (
    HELD_OUT,
    PIXELS,
    TREES,
    make_regions,
    network_scores,
    pixel_scores,
    settings_of,
)

pytestmark = [pytest.mark.train, pytest.mark.slow, pytest.mark.timeout(3600)]

SEQUENCES = "ConvLSTM, 5 dates"


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cube]:
    pytest.importorskip("tensorflow", reason="needs TensorFlow: install thermocube[train]")
    return make_regions(tmp_path_factory.mktemp("regions"))


@pytest.fixture(scope="module")
def found(cubes: dict[str, Cube]) -> Callable[[str], Evaluation]:
    """The evaluation of a trial, which is trained once."""
    known: dict[str, Evaluation] = {}

    def evaluation(trial: str) -> Evaluation:
        if trial not in known:
            known[trial] = network_scores(cubes, settings_of(trial))
        return known[trial]

    return evaluation


@pytest.fixture(scope="module")
def pixels(cubes: dict[str, Cube]) -> dict[str, Scores]:
    """What single pixels say, by the bands that are looked at."""
    return {
        name: pixel_scores(cubes, Selection.model_validate(changes), trees=name in TREES)
        for name, changes in (PIXELS | TREES).items()
    }


def test_the_regions_share_no_map_and_have_all_modalities(cubes: dict[str, Cube]) -> None:
    maps = {
        name: cube.dataset("labels", chunks=None)["lithology"].values
        for name, cube in cubes.items()
    }
    here = maps.pop(HELD_OUT)
    for there in maps.values():
        assert (here == there).mean() < 0.35
    for name, cube in cubes.items():
        assert cube.name == name and {"thermal", "sar", "optical"} <= set(cube.groups())


def test_day_and_night_tell_classes_apart_that_one_date_does_not(pixels: dict[str, Scores]) -> None:
    one, five = (pixels[name] for name in TREES)
    assert five.macro_f1 > one.macro_f1 + 0.1 and five.oa > one.oa + 0.1


@pytest.mark.parametrize("trial", ["CNN", SEQUENCES])
def test_a_network_beats_single_pixels_and_remembered_places(
    found: Callable[[str], Evaluation], pixels: dict[str, Scores], trial: str
) -> None:
    evaluation, alone = found(trial), pixels["single pixels"]
    network = evaluation.scores[NETWORK]
    assert evaluation.leak_safe
    assert evaluation.scores[MEMORISE] == evaluation.scores[MAJORITY]
    assert network.macro_f1 > alone.macro_f1 + 0.05 and network.oa > alone.oa + 0.03
    lead = evaluation.blocks.lead[MEMORISE]
    assert lead["macro_f1"].low > 0.3 and lead["oa"].low > 0.1


@pytest.mark.parametrize("trial", ["CNN, with SAR", "CNN, with NDVI"])
def test_more_modalities_help(
    found: Callable[[str], Evaluation], pixels: dict[str, Scores], trial: str
) -> None:
    """Sand and volcanic rock lie 6.5 dB apart; leaves hide the ground from the thermal bands."""
    gain = {"CNN, with SAR": 0.1, "CNN, with NDVI": 0.02}[trial]
    without, beside = found("CNN").scores[NETWORK], found(trial).scores[NETWORK]
    assert beside.macro_f1 > without.macro_f1 + gain and beside.oa > without.oa + gain
    assert beside.macro_f1 > pixels[trial.replace("CNN", "single pixels")].macro_f1


def test_a_sequence_through_day_and_night_is_worth_more_than_a_date(
    found: Callable[[str], Evaluation],
) -> None:
    sequence, date = (found(trial).scores[NETWORK] for trial in (SEQUENCES, "CNN"))
    assert sequence.oa > date.oa + 0.02 and sequence.macro_f1 > date.macro_f1 + 0.02


def test_temperatures_relative_to_their_scene_hold_better_in_another_region(
    found: Callable[[str], Evaluation],
) -> None:
    plain, relative = (
        found(trial).scores[NETWORK] for trial in ("CNN, temperatures as they are", "CNN")
    )
    assert relative.oa > plain.oa + 0.03 and relative.macro_f1 > plain.macro_f1 + 0.03
