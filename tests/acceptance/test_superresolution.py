"""Classical methods against the reference figures, on the study's real MODIS and ASTER pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from models.sharpening import (
    aatprk,
    atprk,
    bicubic,
    bilinear,
    displacement,
    dms,
    local_slope,
    nearest,
    tsharp,
)
from pipelines.pairs import problems, read_pairs
from pipelines.sharpen_choice import standings
from pipelines.sharpen_heldout import NOISY, held_out, makers, noise_of
from pipelines.sharpen_protocol import Method, Protocol, averages, evaluate, registered
from pipelines.sharpen_slopes import SLOPES
from pipelines.superres_scenes import scenes_of_pairs

PUBLISHED: Mapping[str, Method] = {
    "nearest": lambda inputs: nearest(inputs.lst),
    "bilinear": lambda inputs: bilinear(inputs.lst),
    "bicubic": lambda inputs: bicubic(inputs.lst),
    "tsharp": lambda inputs: tsharp(inputs.lst, inputs.ndvi, published=True),
    "atprk": lambda inputs: atprk(inputs.lst, inputs.ndvi, published=True),
    "aatprk": lambda inputs: aatprk(inputs.lst, inputs.ndvi, published=True),
    "dms": lambda inputs: dms(inputs.lst, inputs.ndvi, offset=inputs.offset),
}
REFERENCE = {
    Protocol.PAPER: {
        "nearest": (2.172, 1.808, 0.420, 20.14, 0.101, 0.170, 2.15),
        "bilinear": (2.082, 1.705, 0.439, 20.50, 0.132, 0.258, 5.41),
        "bicubic": (2.100, 1.722, 0.460, 20.50, 0.139, 0.262, 5.02),
        "tsharp": (2.199, 1.854, 0.566, 21.47, 0.285, 0.412, 2.95),
        "atprk": (2.262, 1.925, 0.544, 21.17, 0.276, 0.409, 2.65),
        "aatprk": (2.129, 1.779, 0.540, 21.23, 0.259, 0.395, 1.92),
        "dms": (2.100, 1.718, 0.595, 21.18, 0.317, 0.491, 2.62),
    },
    Protocol.REGISTERED: {
        "nearest": (1.978, 0.499),
        "bilinear": (1.913, 0.507),
        "bicubic": (1.889, 0.544),
        "tsharp": (1.958, 0.678),
        "atprk": (1.999, 0.663),
        "aatprk": (1.887, 0.677),
        "dms": (1.842, 0.698),
    },
}
"""Independent re-measurement over all public pairs: RMSE, ubRMSE, SSIM, PSNR, GSSIM, correlation
of fine detail, RMSE of attenuation; and RMSE, SSIM."""
PAPER_METRICS = {
    "rmse": 0.05,
    "ubrmse": 0.05,
    "ssim": 0.01,
    "psnr": 0.1,
    "gssim": 0.01,
    "hf_corr": 0.01,
    "rmse_att": 0.05,
}
"""Names and tolerances, in the order of the reference."""
SC_UNET = {Protocol.PAPER: (1.908, 0.655), Protocol.REGISTERED: (1.697, 0.740)}
"""RMSE and SSIM of the best published network."""


FEW = (0, 70, 147)
"""Pairs that every run of the tests scores; the whole table is for the slow ones."""
RECORDED = {
    Protocol.PAPER: {
        "nearest": (1.947, 0.479),
        "bilinear": (1.848, 0.501),
        "bicubic": (1.849, 0.526),
        "tsharp": (2.012, 0.558),
        "atprk": (2.090, 0.536),
        "aatprk": (1.963, 0.554),
        "dms": (2.054, 0.568),
        "local_slope": (1.763, 0.662),
    },
    Protocol.REGISTERED: {
        "nearest": (1.832, 0.526),
        "bilinear": (1.752, 0.540),
        "bicubic": (1.725, 0.573),
        "tsharp": (1.773, 0.667),
        "atprk": (1.848, 0.647),
        "aatprk": (1.743, 0.660),
        "dms": (1.734, 0.692),
        "local_slope": (1.504, 0.773),
    },
}
"""RMSE and SSIM over those few, recorded when the whole table agreed with the reference."""


@pytest.fixture(scope="module")
def pairs_file(real: Callable[[str], Path]) -> Path:
    return real("modis_aster_pairs.nc")


def test_the_public_pairs_are_as_described(pairs_file: Path) -> None:
    pairs = read_pairs(pairs_file)
    assert len(pairs) == 63
    assert sum(pair.paper_crop is not None for pair in pairs) == 60
    assert len({pair.location for pair in pairs}) == 36
    found = {pair.id: list(problems(pair)) for pair in pairs}
    # The studies' check of corners fails for all but one; a few summer scenes are hotter.
    assert sum(any("off the LST" in text for text in texts) for texts in found.values()) == 62
    hot = [number for number, texts in found.items() if any("260 and 320" in t for t in texts)]
    assert hot == [2, 126, 151, 176, 201]


def test_images_show_how_far_they_are_out_of_register(pairs_file: Path) -> None:
    far = []
    for pair in read_pairs(pairs_file):
        found = displacement(pair.lst, pair.ndvi)
        far.append(max(abs(found.rows - pair.offset[0]), abs(found.columns - pair.offset[1])))
    assert sum(distance == 0 for distance in far) >= 56
    assert sum(distance <= 1 for distance in far) >= 60


@pytest.mark.parametrize("protocol", Protocol)
def test_methods_score_as_recorded(pairs_file: Path, protocol: Protocol) -> None:
    slope = {"local_slope": registered(lambda inputs: local_slope(inputs.lst, inputs.ndvi))}
    few = read_pairs(pairs_file, FEW)
    found = averages(list(evaluate(few, {**PUBLISHED, **slope}, protocol)))
    for method, (rmse, ssim) in RECORDED[protocol].items():
        # Trees may split differently from one scikit-learn to the next.
        slack = 10 if method == "dms" else 1
        assert found[method]["rmse"] == pytest.approx(rmse, abs=0.005 * slack), method
        assert found[method]["ssim"] == pytest.approx(ssim, abs=0.002 * slack), method


@pytest.mark.slow
@pytest.mark.parametrize("protocol", Protocol)
def test_classical_methods_reproduce_the_reference_table(
    pairs_file: Path, protocol: Protocol
) -> None:
    found = averages(list(evaluate(read_pairs(pairs_file), PUBLISHED, protocol)))
    for method, reference in REFERENCE[protocol].items():
        paper = protocol is Protocol.PAPER
        tolerances = PAPER_METRICS if paper else {"rmse": 0.005, "ssim": 0.003}
        for (metric, tolerance), value in zip(tolerances.items(), reference, strict=True):
            assert found[method][metric] == pytest.approx(value, abs=tolerance), (method, metric)


def test_held_out_modis_tells_methods_apart_without_aster(pairs_file: Path) -> None:
    scenes = scenes_of_pairs(pairs_file, FEW)
    noise = noise_of(scenes)
    assert noise == pytest.approx(0.64, abs=0.25)
    known = makers()
    wanted = ("bicubic", "tsharp", "local_slope", "local_slope[cubic,spread,0.8]")
    rows = list(held_out(scenes, {name: known[name] for name in wanted}, noise))
    found = {one.method: one.rmse[NOISY] for one in standings(rows)}
    assert found["local_slope"] < found["tsharp"] < found["bicubic"] - 0.1


@pytest.mark.slow
def test_the_settings_of_local_slope_that_modis_chooses(pairs_file: Path) -> None:
    scenes = scenes_of_pairs(pairs_file)
    known = makers()
    slopes = {name: known[name] for name in (*SLOPES, "bicubic")}
    order = [one.method for one in standings(list(held_out(scenes, slopes, noise_of(scenes))))]
    assert order[0] in ("local_slope[cubic,spread,0.8]", "local_slope[cubic,spread,0.9]")
    assert order[-1] == "bicubic"


@pytest.mark.slow
@pytest.mark.parametrize("protocol", Protocol)
def test_the_local_slope_is_ahead_of_the_published_networks(
    pairs_file: Path, protocol: Protocol
) -> None:
    methods = {"slope": registered(lambda inputs: local_slope(inputs.lst, inputs.ndvi))}
    found = averages(list(evaluate(read_pairs(pairs_file), methods, protocol)))["slope"]
    assert found["rmse"] < SC_UNET[protocol][0] - 0.04
    assert found["ssim"] > SC_UNET[protocol][1] + 0.03
    assert found["rmse_att"] < 0.9
