"""The calibration error is the one other libraries find, and the picture shows the bins."""

import io

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torchmetrics.classification import MulticlassCalibrationError

from lightcycle.report.reliability import calibration, reliability_figure, reliability_png


def predictions(n=2000, classes=5, sharpness=2.0):
    numbers = torch.Generator().manual_seed(0)
    p = (sharpness * torch.randn(n, classes, generator=numbers, dtype=torch.float64)).softmax(1)
    return p, torch.randint(0, classes, (n,), generator=numbers)


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("sharpness", [0.5, 2.0, 6.0])
def test_the_error_is_torchmetrics(bins, sharpness):
    p, labels = predictions(sharpness=sharpness)
    sure, taken = p.max(1)
    theirs = MulticlassCalibrationError(num_classes=5, n_bins=bins, norm="l1")(p, labels)
    assert calibration(sure, taken == labels, bins).ece == pytest.approx(theirs.item(), abs=1e-6)


def test_the_bins_are_those_of_the_formula():
    p, labels = predictions()
    sure, right = p.max(1).values.numpy(), (p.argmax(1) == labels).numpy()
    seen = calibration(sure, right, bins=10)
    for i, (low, high) in enumerate(zip(seen.edges, seen.edges[1:], strict=False)):
        inside = (sure > low) & (sure <= high)
        assert seen.counts[i] == inside.sum()
        if inside.any():
            assert seen.confidence[i] == pytest.approx(sure[inside].mean())
            assert seen.accuracy[i] == pytest.approx(right[inside].mean())
    assert seen.counts.sum() == len(sure)


def test_certainty_is_in_the_last_bin_and_no_image_gives_no_error():
    assert calibration([1.0, 1.0], [True, False]).counts.tolist()[-1] == 2
    assert calibration([1.0, 1.0], [True, False]).ece == 0.5
    assert calibration([], []).ece == 0


def test_the_picture_shows_the_filled_bins():
    seen = calibration([0.95, 0.9, 0.3], [True, False, False], bins=5)
    upper, lower = reliability_figure(seen).axes
    (line,) = [each for each in upper.get_lines() if each.get_gid() == "model"]
    assert line.get_xdata().tolist() == [0.3, pytest.approx(0.925)]
    assert line.get_ydata().tolist() == [0.0, 0.5]
    assert line.get_label() == f"model, ECE {seen.ece:.4f}"
    assert [bar.get_height() for bar in lower.patches] == seen.counts.tolist()


def test_the_picture_of_nothing_is_a_picture():
    assert imread(io.BytesIO(reliability_png(calibration(np.array([]), np.array([]))))).shape[1] > 400
