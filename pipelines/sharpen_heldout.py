"""Held-out reconstruction: methods judged at 4 km to 1 km, where the answer is MODIS itself.

No ASTER is needed, nor looked at. Images are degraded once more and restored; once as they come
out of that, and once with the noise that the sensor would have added
(`models.sharpening.noise.sensor_noise`) and that averaging has taken away. The second is what
methods meet in use, and what they are chosen by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from cube.errors import ModelError
from models import image_metrics
from models.sharpening import METHODS, Degradation, local_slope, sensor_noise, unexplained
from models.sharpening.features import Known, taken_back
from pipelines.pairs import SCALE, Array
from pipelines.sharpen_slopes import SLOPES
from pipelines.superres_folder import Trained
from pipelines.superres_scenes import Scene

BORDER = 2
"""Coarse pixels at the rim that are not scored."""
CLEAN, NOISY = "clean", "noisy"
BLUR = Degradation.gaussian(SCALE / 2, SCALE)

Maker = Callable[[Known, int | None], Array]
"""Degraded images, and the scene's location, to the restored map."""


class Row(NamedTuple):
    """One method on one scene."""

    scene: str
    location: int | None
    condition: str
    """`CLEAN` or `NOISY`."""
    method: str
    rmse: float
    ssim: float
    hf_std_ratio: float
    """Of fine detail: the map's standard deviation over the truth's."""
    correlation: float
    """Of LST and NDVI over the scene, both degraded."""


def noise_of(scenes: Sequence[Scene]) -> float:
    """Standard deviation of the sensor's noise, kelvin: root mean square over scenes."""
    found = [
        sensor_noise(unexplained(scene.lst, scene.ndvi, BLUR), BLUR)
        for scene in scenes
        if scene.ndvi is not None
    ]
    return float(np.sqrt(np.mean(np.square(found)))) if found else 0.0


def makers(models: Sequence[Trained] = (), mixtures: Sequence[str] = ()) -> dict[str, Maker]:
    """Every candidate by its name.

    Parameters
    ----------
    models
        Trained methods; each scene is restored by networks that have not learnt from it.
    mixtures
        Equal-weight means of others, such as ``local_slope+sc_unet``.

    Raises
    ------
    ModelError
        If a mixture names what is not there.
    """
    known: dict[str, Maker] = {name: _classical(name) for name in METHODS}
    known["local_slope"] = _slope()
    known |= {name: _slope(**settings) for name, settings in SLOPES.items()}
    known |= {model.name: _trained(model) for model in models}
    for mixture in mixtures:
        parts = mixture.split("+")
        unknown = [part for part in parts if part not in known]
        if unknown:
            raise ModelError(f"mixture {mixture}: no method is called {', '.join(unknown)}")
        known[mixture] = partial(_mean, [known[part] for part in parts])
    return known


def held_out(
    scenes: Sequence[Scene], candidates: Mapping[str, Maker], noise: float, *, seed: int = 0
) -> Iterator[Row]:
    """Degrade scenes, restore them by every candidate, and score.

    Parameters
    ----------
    scenes
        Of which LST and NDVI at 1 km are used.
    candidates
        See `makers`.
    noise
        Of the second condition, kelvin.
    seed
        Of the noise.

    Yields
    ------
    Row
        Scene by scene. A scene with too little to learn from for one of the candidates has
        no row at all, lest methods be compared on different scenes.
    """
    for number, scene in enumerate(scenes):
        for condition, amount in ((CLEAN, 0.0), (NOISY, noise)):
            rng = np.random.default_rng([seed, number])
            known = taken_back(scene.lst, scene.coarse_ndvi, scale=SCALE, noise=amount, seed=rng)
            try:
                maps = {name: make(known, scene.location) for name, make in candidates.items()}
            except ValueError:
                break
            together = _together(known)
            for name, fine in maps.items():
                found = _scores(known, fine)
                yield Row(scene.name, scene.location, condition, name, *found, together)


def _scores(known: Known, fine: Array) -> tuple[float, float, float]:
    edge = BORDER * SCALE
    inner = (slice(edge, -edge), slice(edge, -edge))
    truth, image = known.truth[inner], fine[inner]
    gaps = np.isnan(image)
    # Where water has no NDVI no method makes a map; all are scored on the same pixels.
    filled = np.where(gaps, truth, image)
    share = np.sqrt(gaps.size / max(gaps.size - gaps.sum(), 1))
    return (
        image_metrics.rmse(truth, filled) * float(share),
        image_metrics.ssim(truth, filled),
        image_metrics.detail_ratio(truth, filled),
    )


def _together(known: Known) -> float:
    ndvi = BLUR(known.ndvi)
    there = np.isfinite(ndvi)
    return image_metrics.correlation(known.lst[there][None], ndvi[there][None])


def _slope(**settings: Any) -> Maker:
    # NDVI taken back has the resolution of the map wanted: nothing is to be damped.
    return lambda known, _: local_slope(known.lst, known.ndvi, mtf=None, **settings)


def _classical(name: str) -> Maker:
    return lambda known, _: METHODS[name](known.lst, known.ndvi)


def _trained(model: Trained) -> Maker:
    return lambda known, place: model.sharpen(known.lst, known.ndvi, location=place, damp=False)


def _mean(parts: Sequence[Maker], known: Known, location: int | None) -> Array:
    mean: Array = np.mean([part(known, location) for part in parts], axis=0)
    return mean
