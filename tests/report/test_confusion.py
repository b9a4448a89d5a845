"""The confusion matrix holds the counts it was given, and its picture shows them."""

import io

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torchmetrics.classification import MulticlassConfusionMatrix

from lightcycle.report.confusion import confusion_figure, confusion_matrix, confusion_png, most_confused

MATRIX = np.array([[30, 0, 2], [1, 25, 0], [0, 7, 0]])
NAMES = ["cat", "dog", "$x_2$"]


def test_the_counts_are_torchmetrics():
    numbers = torch.Generator().manual_seed(0)
    labels, taken = torch.randint(0, 7, (2, 500), generator=numbers)
    theirs = MulticlassConfusionMatrix(num_classes=7)(taken, labels)
    assert confusion_matrix(labels.tolist(), taken.tolist(), 7).tolist() == theirs.tolist()


def test_a_class_that_never_comes_has_a_row_and_a_column():
    assert confusion_matrix([0], [0], classes=3).shape == (3, 3)


def test_the_mistakes_made_most_often_come_first_and_right_ones_never():
    assert most_confused(MATRIX, NAMES) == [("$x_2$", "dog", 7), ("cat", "$x_2$", 2), ("dog", "cat", 1)]
    assert most_confused(MATRIX, NAMES, most=1) == [("$x_2$", "dog", 7)]
    assert most_confused(np.diag([3, 4]), ["a", "b"]) == []


def test_the_picture_says_every_count_where_it_belongs():
    (axes,) = confusion_figure(MATRIX, NAMES, "digits").axes
    said = {text.get_position()[::-1]: int(text.get_text()) for text in axes.texts}
    assert said == {(row, column): n for (row, column), n in np.ndenumerate(MATRIX) if n}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == NAMES
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("taken for", "true class")


def test_colors_are_shares_of_the_true_class():
    (axes,) = confusion_figure(MATRIX, NAMES).axes
    right, wrong = (np.ma.filled(image.get_array(), np.nan) for image in axes.get_images())
    assert np.diag(right) == pytest.approx([30 / 32, 25 / 26, 0])
    assert wrong[2, 1] == 1
    assert np.isnan(np.diag(wrong)).all()


@pytest.mark.parametrize(("classes", "numbers", "names"), [(20, True, True), (40, False, True), (100, False, False)])
def test_what_would_be_too_small_to_read_is_left_out(classes, numbers, names):
    (axes,) = confusion_figure(np.eye(classes, dtype=int), [f"class {i}" for i in range(classes)]).axes
    assert bool(axes.texts) == numbers
    assert (axes.get_yticklabels()[-1].get_text() == f"class {classes - 1}") == names


def test_names_lie_where_they_fit_and_stand_where_they_do_not():
    def rotation(names):
        (axes,) = confusion_figure(np.eye(len(names), dtype=int), names).axes
        return axes.get_xticklabels()[0].get_rotation()

    assert rotation(["cats", "dogs"]) == 0
    assert rotation([f"a long name {i}" for i in range(12)]) == 90


@pytest.mark.parametrize("matrix", [np.zeros((2, 2), dtype=int), np.ones((1, 1), dtype=int)], ids=["empty", "one"])
def test_poor_matrices_are_drawn_too(matrix):
    picture = confusion_png(matrix, [str(i) for i in range(len(matrix))])
    assert imread(io.BytesIO(picture)).shape[1] > 400
