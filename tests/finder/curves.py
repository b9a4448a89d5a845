"""Range tests with a known shape, for the tests of the finder."""

import numpy as np

from lightcycle.finder import Curve

LOG_LRS = np.linspace(-7, 1, 100)


def textbook(fall=-2.5, explosion=-0.4, noise=0.0, seed=0, sweeps=1, points=100):
    """Falls from 1.3 to 0.3 like a sigmoid, steepest at 10**fall, and explodes around 10**explosion."""
    x, rng = np.linspace(-7, 1, points), np.random.default_rng(seed)
    loss = 0.3 + 1 / (1 + np.exp((x - fall) / 0.25)) + np.exp(np.minimum(10 * (x - explosion), 25))
    return Curve((10**x).tolist(), [(loss + noise * rng.normal(size=points)).tolist() for _ in range(sweeps)])


def curve(*sweeps):
    """Any losses over 1e-7 to 10."""
    return Curve((10 ** np.linspace(-7, 1, max(len(sweep) for sweep in sweeps))).tolist(), [list(s) for s in sweeps])
