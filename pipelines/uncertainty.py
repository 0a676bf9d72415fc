"""How sure a network is: votes over the symmetries of the square and over dropout's networks."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from pipelines.blend import Network

SYMMETRIES = tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True))
"""Quarter turns, and whether mirrored before: the eight symmetries of the square."""


def taught_classes(network: Network, codes: Collection[int]) -> Network:
    """Leave in a network's softmax only classes that it was taught.

    What it says of class 0 (no data), and of classes that were not in its training part, is what
    its random start left over. These shares are dropped and the others are divided by their sum,
    patch by patch, before anything is averaged. The channels stay, with probability 0.

    Parameters
    ----------
    network
        Gives softmax shares (n, y, x, class).
    codes
        Classes in the training part; 0 is left out whether it is among them or not.
    """

    def renormalised(batch: np.ndarray) -> np.ndarray:
        answers = np.asarray(network(batch), dtype=np.float32)
        codes_known = (code != 0 and code in codes for code in range(answers.shape[-1]))
        known = np.fromiter(codes_known, np.float32, answers.shape[-1])
        total = np.maximum(answers @ known, np.finfo(np.float32).tiny)
        return answers * (known / total[..., None])

    return renormalised


def symmetrised(network: Network) -> Network:
    """Average a network's answers over the eight symmetries of the square.

    Each patch is turned and mirrored, mapped, and its map turned back. What comes of it does not
    depend on which way up a patch lies, at eight times the cost.

    Parameters
    ----------
    network
        Takes (n, patch, patch, band) or (n, sequence, patch, patch, band).
    """

    def averaged(batch: np.ndarray) -> np.ndarray:
        answers = (
            _back(network(_turned(batch, turns, mirrored)), turns, mirrored)
            for turns, mirrored in SYMMETRIES
        )
        total = np.array(next(answers), dtype=np.float64)
        for answer in answers:
            total += answer
        return (total / len(SYMMETRIES)).astype(np.float32)

    return averaged


def _turned(batch: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    batch = np.flip(batch, axis=-2) if mirrored else batch
    return np.ascontiguousarray(np.rot90(batch, turns, axes=(-3, -2)))


def _back(answer: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    answer = np.rot90(np.asarray(answer), -turns, axes=(-3, -2))
    return np.flip(answer, axis=-2) if mirrored else answer


def passes(network: Network, draw: Callable[[int], None], count: int) -> Network:
    """Run a network several times on each batch, another dropout mask each time.

    Parameters
    ----------
    network
        Gives (n, y, x, class).
    draw
        Sets the mask of a pass, by its number.
    count
        Number of passes.

    Returns
    -------
    Network
        Gives (n, y, x, count * class): the passes one after the other. As masks do not depend
        on the patch, each pass is one network over the whole region and can be blended.
    """

    def repeated(batch: np.ndarray) -> np.ndarray:
        answers = []
        for number in range(count):
            draw(number)
            answers.append(np.asarray(network(batch)))
        return np.concatenate(answers, axis=-1)

    return repeated


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Shannon entropy of class probabilities, in nats.

    Parameters
    ----------
    probabilities : ndarray of float, (..., class)

    Returns
    -------
    ndarray of float, (...)
        0 where one class is certain, ln(classes) where all are alike.
    """
    shares = np.clip(probabilities, np.finfo(np.float32).tiny, 1.0)
    return np.maximum(-(shares * np.log(shares)).sum(axis=-1), 0.0)


def mutual_information(samples: np.ndarray) -> np.ndarray:
    """What the passes disagree about: entropy of their mean less their mean entropy, in nats.

    The epistemic share of the uncertainty (Gal et al. 2017, arXiv 1703.02910, eq. 1, estimated
    from dropout's passes as in Gal and Ghahramani 2016, arXiv 1506.02142).

    Parameters
    ----------
    samples : ndarray of float, (..., pass, class)

    Returns
    -------
    ndarray of float, (...)
        0 where all passes agree.
    """
    return np.maximum(entropy(samples.mean(axis=-2)) - entropy(samples).mean(axis=-1), 0.0)


def variance(samples: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """Variance, over the passes, of the probability of one class a pixel.

    Parameters
    ----------
    samples : ndarray of float, (..., pass, class)
    channel : ndarray of int, (...)
        The class.

    Returns
    -------
    ndarray of float, (...)
    """
    chosen = np.take_along_axis(samples, channel[..., None, None].astype(np.intp), axis=-1)
    return chosen[..., 0].var(axis=-1)
