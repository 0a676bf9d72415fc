"""Metrics of sharpened maps, each with its source: arrays (y, x) in, numbers out.

LPIPS is left out: it needs the weights of a network trained on photographs, which are part of
no package that is installed here.
"""

from models.image_metrics.averages import grouped_mean
from models.image_metrics.pixels import (
    TextureErrors,
    bias,
    correlation,
    data_range,
    mae,
    psnr,
    rmse,
    rmse_by_texture,
    unbiased_rmse,
)
from models.image_metrics.spectra import SpectralErrors, attenuation, spectral_errors
from models.image_metrics.structure import (
    detail_correlation,
    detail_ratio,
    gradient_deviation,
    gradient_rmse,
    gradient_ssim,
    ssim,
)

__all__ = [
    "SpectralErrors",
    "TextureErrors",
    "attenuation",
    "bias",
    "correlation",
    "data_range",
    "detail_correlation",
    "detail_ratio",
    "gradient_deviation",
    "gradient_rmse",
    "gradient_ssim",
    "grouped_mean",
    "mae",
    "psnr",
    "rmse",
    "rmse_by_texture",
    "spectral_errors",
    "ssim",
    "unbiased_rmse",
]
