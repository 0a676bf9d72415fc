"""Super-resolution networks, their losses and published settings. Needs Keras 3."""

from models.superres.losses import GuidedGradient, MixGL, ScaledHuber, ScaleInvarianceFree
from models.superres.networks import MrUNetSettings, SifSettings, build_mr_unet, build_sif
from models.superres.recipes import Recipe

__all__ = [
    "GuidedGradient",
    "MixGL",
    "MrUNetSettings",
    "Recipe",
    "ScaleInvarianceFree",
    "ScaledHuber",
    "SifSettings",
    "build_mr_unet",
    "build_sif",
]
