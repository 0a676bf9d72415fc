"""Sharpening of LST by a finer companion image: plain functions on arrays, NaN where missing.

Every method takes coarse LST (y, x) and fine NDVI (scale * y, scale * x) and gives fine LST that
is missing exactly where one of them is. Needs NumPy and SciPy; `dms` scikit-learn.
"""

from models.sharpening.consistency import ConsistencyError, consistency, enforce
from models.sharpening.degradation import Degradation
from models.sharpening.interpolation import bicubic, bilinear, nearest
from models.sharpening.kriging import Variogram, aatprk, atprk
from models.sharpening.local_slope import Curve, Response, local_slope
from models.sharpening.methods import METHODS, Sharpened, sharpen
from models.sharpening.noise import neighbour_correlation, sensor_noise, unexplained
from models.sharpening.registration import Displacement, displacement, shifted
from models.sharpening.regression import Line, LocalLines, tsharp
from models.sharpening.trees import Forest, dms

__all__ = [
    "METHODS",
    "ConsistencyError",
    "Curve",
    "Degradation",
    "Displacement",
    "Forest",
    "Line",
    "LocalLines",
    "Response",
    "Sharpened",
    "Variogram",
    "aatprk",
    "atprk",
    "bicubic",
    "bilinear",
    "consistency",
    "displacement",
    "dms",
    "enforce",
    "local_slope",
    "nearest",
    "neighbour_correlation",
    "sensor_noise",
    "sharpen",
    "shifted",
    "tsharp",
    "unexplained",
]
