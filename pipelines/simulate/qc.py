"""The QC word of ECOSTRESS Collection 2, bit by bit (ECOL2 User Guide V3, Table 6)."""

from __future__ import annotations

import numpy as np

NOT_PRODUCED = 0b0000_0000_0000_1111
"""What the product holds where there is no retrieval: mandatory 11, data missing 11."""
FILL = 65535
"""Outside the swath. The guide names no fill for this layer; its bits 1-0 read 11 as well."""

_MANDATORY, _DATA, _ITERATIONS, _OPACITY, _MMD, _EMISSIVITY, _LST = 0, 2, 6, 8, 10, 12, 14
_FAST = 0b11


def encode(
    retrieved: np.ndarray,
    filled_line: np.ndarray,
    emissivity: np.ndarray,
    lst_error: np.ndarray,
    opacity: int,
) -> np.ndarray:
    """Compose the QC word.

    The contrast MMD follows from the least emissivity by the TES relation
    ``e_min = 0.994 - 0.687 MMD^0.737`` (Gillespie et al. 1998, IEEE TGRS 36, 1113), the wide-band
    value standing for the least one; where the contrast is high, so is the accuracy of emissivity.

    Parameters
    ----------
    retrieved : ndarray of bool, (y, x)
    filled_line : ndarray of bool, (y, x)
        Interpolated over a missing detector line.
    emissivity, lst_error : ndarray, (y, x)
        Wide-band emissivity; uncertainty of LST in K.
    opacity
        Code of bits 9-8, 0 (opaque air) to 3 (clear).

    Returns
    -------
    ndarray of uint16, (y, x)
    """
    mmd = (np.clip(0.994 - emissivity, 1e-6, None) / 0.687) ** (1 / 0.737)
    fields = {
        _MANDATORY: np.where((emissivity < 0.95) | filled_line, 1, 0),
        _DATA: filled_line.astype(int),
        _ITERATIONS: np.full(emissivity.shape, _FAST),
        _OPACITY: np.full(emissivity.shape, opacity),
        # From the largest to the smallest contrast, as the table's codes run.
        _MMD: 3 - np.digitize(mmd, (0.03, 0.1, 0.15)),
        _EMISSIVITY: np.digitize(mmd, (0.004, 0.02, 0.06)),
        _LST: 3 - np.digitize(lst_error, (1.0, 1.5, 2.0)),
    }
    word = sum(code.astype(np.uint16) << np.uint16(bit) for bit, code in fields.items())
    return np.where(retrieved, word, NOT_PRODUCED).astype(np.uint16)
