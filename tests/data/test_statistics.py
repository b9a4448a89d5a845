"""Whose mean and deviation images are normalized by."""

import pytest
import torch

from lightcycle.data.config import DigitsConfig, ImageFolderConfig, SyntheticConfig
from lightcycle.data.module import build
from lightcycle.data.statistics import for_channels

WEIGHTS = ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def expected(images, mean, std):
    return (images / 255 - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)


@pytest.mark.parametrize(("stats", "mean"), [(WEIGHTS, (0.4, 0.5, 0.6)), (None, None)])
def test_weights_go_before_the_sets_own(stats, mean):
    data = build(SyntheticConfig(n_train=20, n_val=5, n_test=5, size=4, classes=3), stats=stats)
    data.setup()
    images = data.parts["val"][0]
    assert (data.mean == mean) == (stats is not None)
    torch.testing.assert_close(data.normalize(images), expected(images, data.mean, data.std))


def test_a_gray_set_gets_averages():
    data = build(DigitsConfig(limit=20), stats=WEIGHTS)
    data.setup()
    assert data.mean == pytest.approx((0.5,))
    assert data.std == pytest.approx((0.2,))
    assert for_channels(WEIGHTS, 3) == WEIGHTS


def test_photos_follow_the_weights_unless_the_user_has_spoken(folder):
    root = str(folder({"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1}))
    for config, stats, mean in [
        ({}, None, IMAGENET[0]),
        ({}, WEIGHTS, WEIGHTS[0]),
        ({"mean": [0.1, 0.1, 0.1]}, WEIGHTS, (0.1, 0.1, 0.1)),
        ({"std": [0.5, 0.5, 0.5]}, WEIGHTS, IMAGENET[0]),
    ]:
        data = build(ImageFolderConfig(root=root, num_workers=0, **config), stats=stats)
        data.setup()
        assert data.mean == mean
        assert (data.given is None) == (stats is None or bool(config))
