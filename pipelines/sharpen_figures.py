"""Figures of sharpened maps: one pair with every method, and where NDVI helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.image_metrics import attenuation, correlation, rmse
from models.sharpening import Degradation, nearest
from models.sharpening.blocks import Array, expand
from models.sharpening.regression import window_sum
from pipelines.figures import styled
from pipelines.sharpen_protocol import Frame, Protocol, inputs_of
from pipelines.sharpen_variants import Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pipelines.pairs import Pair

PER_ROW = 7
ERROR_SPAN = 5.0
"""Kelvin at the ends of the colours of error maps."""
WINDOW = 3
"""Radius in coarse pixels of the windows that local correlations are taken in."""
EDGES = (-1.0, -0.9, -0.8, -0.7, -0.6, -0.5, -0.4, -0.3, -0.2, -0.1, 0.0, 0.2, 1.0)
"""Bins of the correlation of NDVI and LST."""


@styled
def pair_page(frame: Frame, variants: Mapping[str, Variant]) -> Figure:
    """Draw one pair: input, NDVI, ASTER, spectra, each method's map and its error.

    Parameters
    ----------
    frame
        With a rectangle to score.
    variants
        By name; one that finds too little to learn from is not drawn.
    """
    from matplotlib.figure import Figure

    given, truth = inputs_of(frame.pair, frame.protocol), frame.truth()
    images = {"ASTER": truth}
    for name, variant in variants.items():
        try:
            images[name] = frame.image(variant.make(given))
        except ValueError:
            # Said in the table's failures; there is no map to draw.
            continue
    methods = [name for name in images if name != "ASTER"]
    blocks = -(-len(methods) // PER_ROW)
    width = min(PER_ROW, max(len(methods), 4))
    figure = Figure((1.75 * width + 0.9, 2.1 + 3.55 * blocks), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.0, 3.5 * blocks])
    heads, bodies = parts
    low, high = np.percentile(truth, (1, 99))
    _draw_inputs(heads, frame, images, (float(low), float(high)))
    _draw_maps(bodies, images, methods, (float(low), float(high)), (2 * blocks, width))
    figure.suptitle(
        f"Pair {frame.pair.id}, {frame.protocol} protocol, "
        f"{truth.shape[0]} x {truth.shape[1]} pixels of 223 m",
        fontsize=10,
        fontweight="bold",
    )
    return figure


def _draw_inputs(
    figure: Any, frame: Frame, images: Mapping[str, Array], limits: tuple[float, float]
) -> None:
    given = inputs_of(frame.pair, frame.protocol)
    axes = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.7])
    coarse = frame.image(nearest(given.lst))
    shown = axes[0].imshow(coarse, cmap="inferno", vmin=limits[0], vmax=limits[1])
    axes[0].set_title("MODIS LST, 1 km")
    green = axes[1].imshow(frame.image(given.ndvi), cmap="YlGn", vmin=0, vmax=1)
    axes[1].set_title("NDVI, 250 m")
    axes[2].imshow(images["ASTER"], cmap="inferno", vmin=limits[0], vmax=limits[1])
    axes[2].set_title("ASTER LST")
    for panel in axes[:3]:
        _bare(panel)
    figure.colorbar(green, ax=axes[1], shrink=0.8, label="NDVI")
    figure.colorbar(shown, ax=axes[2], shrink=0.8, label="LST, K")
    _draw_spectra(axes[3], images)


def _draw_spectra(axes: Axes, images: Mapping[str, Array]) -> None:
    """Attenuation from the third ring on; before it, all are alike."""
    colours = _colours(len(images))
    for (name, image), colour in zip(images.items(), colours, strict=True):
        levels = attenuation(image)[3:]
        wave = np.arange(3, 3 + len(levels)) / min(image.shape)
        strong = name in ("ASTER", "slope_net")
        axes.plot(
            wave,
            levels,
            color="black" if name == "ASTER" else colour,
            linewidth=1.8 if strong else 0.8,
            label=name,
            zorder=3 if strong else 2,
        )
    axes.set(xlabel="cycles a pixel", ylabel="dB below the mean")
    axes.set_title("Spectra", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_maps(
    figure: Any,
    images: Mapping[str, Array],
    methods: Sequence[str],
    limits: tuple[float, float],
    shape: tuple[int, int],
) -> None:
    panels = figure.subplots(*shape, squeeze=False)
    for panel in panels.ravel():
        panel.set_axis_off()
    error = None
    for number, name in enumerate(methods):
        row, column = divmod(number, PER_ROW)
        above, below = panels[2 * row, column], panels[2 * row + 1, column]
        above.imshow(images[name], cmap="inferno", vmin=limits[0], vmax=limits[1])
        above.set_title(name, fontsize=7)
        difference = images[name] - images["ASTER"]
        error = below.imshow(difference, cmap="RdBu_r", vmin=-ERROR_SPAN, vmax=ERROR_SPAN)
        below.set_title(f"RMSE {rmse(images['ASTER'], images[name]):.2f} K", fontsize=7,
                        fontweight="normal")  # fmt: skip
        for panel in (above, below):
            panel.set_axis_on()
            _bare(panel)
    if error is not None:
        figure.colorbar(error, ax=panels, shrink=0.5, label="map less ASTER, K", extend="both")


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])


def _colours(number: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["tab20"](index % 20) for index in range(number)]


@dataclass(frozen=True, slots=True, eq=False)
class Usefulness:
    """Where a method with NDVI beats one without, and what NDVI and LST had in common there."""

    method: str
    reference: str
    by_pair: Array
    """(pair, 2): correlation of NDVI and LST at 1 km over the scene, and gain in RMSE, kelvin."""
    pixels: Array
    """Fine pixels scored in each bin of `EDGES`."""
    squares: Array
    """(2, bin): sums of squared errors, bias of each map off, of reference and method."""

    @classmethod
    def measure(
        cls, pairs: Sequence[Pair], protocol: Protocol, method: Variant, reference: Variant
    ) -> Usefulness:
        """Compare two methods pair by pair, and pixel by pixel by the local correlation."""
        by_pair = []
        pixels, squares = np.zeros(len(EDGES) - 1), np.zeros((2, len(EDGES) - 1))
        for pair in pairs:
            frame = Frame.of(pair, protocol)
            if frame.crop is None:
                continue
            given, truth = inputs_of(pair, protocol), frame.truth()
            coarse = Degradation.gaussian()(given.ndvi)
            errors = [frame.image(one.make(given)) - truth for one in (reference, method)]
            first, second = (float(np.sqrt(np.mean(error**2))) for error in errors)
            by_pair.append((correlation(given.lst, coarse), first - second))
            local = frame.image(expand(local_correlation(given.lst, coarse), 4))
            index = np.clip(np.digitize(local, EDGES) - 1, 0, len(EDGES) - 2).ravel()
            pixels += np.bincount(index, minlength=len(pixels))
            for row, error in enumerate(errors):
                squared = ((error - error.mean()) ** 2).ravel()
                squares[row] += np.bincount(index, weights=squared, minlength=len(pixels))
        return cls(method.name, reference.name, np.array(by_pair), pixels, squares)

    @property
    def errors(self) -> Array:
        """Unbiased RMSE by bin, kelvin (2, bin); NaN in bins with fewer than 100 pixels."""
        enough = self.pixels >= 100
        mean = np.divide(
            self.squares, self.pixels, out=np.full_like(self.squares, np.nan), where=enough
        )
        return np.sqrt(mean)

    def to_dict(self) -> dict[str, Any]:
        """What the figure shows. JSON-able; null where there are too few pixels."""
        shares = self.pixels / max(self.pixels.sum(), 1)
        bins = zip(EDGES[:-1], EDGES[1:], shares.tolist(), *self.errors.tolist(), strict=True)
        names = ("from", "to", "share", "reference", "method")
        return {
            "method": self.method,
            "reference": self.reference,
            "by_pair": self.by_pair.tolist(),
            "bins": [
                dict(zip(names, (None if np.isnan(one) else one for one in row), strict=True))
                for row in bins
            ],
        }


def local_correlation(lst: Array, ndvi: Array) -> Array:
    """Correlation of two coarse images (y, x) in the window around each pixel; 0 if constant."""
    x, y = ndvi - ndvi.mean(), lst - lst.mean()
    count = window_sum(np.ones_like(x), WINDOW)
    mean_x, mean_y = window_sum(x, WINDOW) / count, window_sum(y, WINDOW) / count
    var_x = window_sum(x * x, WINDOW) / count - mean_x**2
    var_y = window_sum(y * y, WINDOW) / count - mean_y**2
    both = window_sum(x * y, WINDOW) / count - mean_x * mean_y
    scale = np.sqrt(np.maximum(var_x * var_y, 0))
    local: Array = np.divide(both, scale, out=np.zeros_like(both), where=scale > 1e-9)
    return local


@styled
def usefulness(measured: Usefulness) -> Figure:
    """Draw the gain by scene, and the error by local correlation of NDVI and LST."""
    from matplotlib.figure import Figure

    figure = Figure((9.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.axhline(0, color="#555555", linewidth=0.8)
    left.plot(*measured.by_pair.T, "o", color="#33418c", markersize=4)
    left.set(
        xlabel="correlation of NDVI and LST at 1 km, whole scene",
        ylabel=f"RMSE of {measured.reference} less that of {measured.method}, K",
    )
    left.set_title("Gain by scene", loc="left")
    centres = (np.array(EDGES[:-1]) + np.array(EDGES[1:])) / 2
    shares = measured.pixels / max(measured.pixels.sum(), 1)
    for errors, name, colour in zip(
        measured.errors, (measured.reference, measured.method), ("#e08a00", "#33418c"), strict=True
    ):
        right.plot(centres, errors, "o-", color=colour, markersize=3.5, label=name)
    right.set(xlabel="correlation in 7 x 7 km around the pixel", ylabel="ubRMSE, K")
    right.set_ylim(bottom=0)
    right.set_title("Error by local correlation", loc="left")
    behind = right.twinx()
    behind.bar(centres, shares, np.diff(EDGES), color="#cccccc", alpha=0.5, edgecolor="white")
    behind.set_ylabel("share of the pixels (bars)")
    behind.set_ylim(0, 1)
    right.legend(loc="upper left")
    for axes in (left, right):
        axes.spines[["top"]].set_visible(False)
    return figure
