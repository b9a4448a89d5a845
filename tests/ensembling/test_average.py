"""Combining predictions, against other formulas and other libraries."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from lightcycle.ensembling import average_weights, averaged, choose_last, combine, disagreement, fit_weights
from lightcycle.ensembling.average import accuracy
from lightcycle.ensembling.table import ensemble_table


def random_probabilities(members=4, n=50, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(members, n, classes, generator=generator, dtype=torch.float64)
    return logits.softmax(-1), torch.randint(0, classes, (n,), generator=generator)


@pytest.mark.parametrize(("by", "voting"), [("softmax", "soft"), ("votes", "hard")])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.2]])
def test_like_scikit_learns_voting(by, voting, weights):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(200, 4)), generator.integers(0, 3, 200)
    models = [("a", LogisticRegression()), ("b", GaussianNB()), ("c", DecisionTreeClassifier(max_depth=3))]
    theirs = VotingClassifier(models, voting=voting, weights=weights).fit(x, y)
    p = torch.from_numpy(np.stack([model.predict_proba(x) for model in theirs.estimators_]))
    ours = combine(p, by, weights)
    if by == "softmax":
        np.testing.assert_allclose(ours.numpy(), theirs.predict_proba(x), rtol=1e-12)
    assert (ours.argmax(1).numpy() == theirs.predict(x)).all()


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.0, 5.0]])
def test_logits_are_the_softmax_of_the_mean_logit(weights):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 10, 3, generator=generator)
    w = torch.tensor(weights or [1.0] * 4)
    mean = (logits * (w / w.sum()).view(-1, 1, 1)).sum(0)
    torch.testing.assert_close(combine(logits.softmax(-1), "logits", weights), mean.softmax(-1))


@pytest.mark.parametrize("by", ["softmax", "logits", "votes"])
def test_a_prediction_adds_up_to_one_and_certainty_is_no_accident(by):
    p, _ = random_probabilities()
    torch.testing.assert_close(combine(p, by).sum(-1), torch.ones(50, dtype=p.dtype))
    sure = torch.eye(3).expand(2, 3, 3)  # zeros inside
    assert torch.equal(combine(sure, by).argmax(-1), torch.arange(3))
    assert combine(sure, by).isfinite().all()


@pytest.mark.parametrize("seed", range(3))
def test_fitted_weights_are_the_best_convex_ones(seed):
    """Against SLSQP on the same loss."""
    p, labels = random_probabilities(members=3, n=200, seed=seed)
    right = p[:, torch.arange(200), labels].numpy()
    found = minimize(
        lambda w: -np.log(w @ right).mean(),
        np.full(3, 1 / 3),
        bounds=[(1e-12, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14},
    )
    ours = fit_weights(p, labels).numpy()
    assert ours.sum() == pytest.approx(1)
    assert (ours >= 0).all()
    assert -np.log(ours @ right).mean() == pytest.approx(found.fun, abs=1e-7)
    np.testing.assert_allclose(ours, found.x, atol=2e-3)


def test_fitted_weights_where_one_is_always_wrong():
    p = torch.tensor([[[0.0, 1.0]] * 5, [[0.9, 0.1]] * 5])
    assert fit_weights(p, torch.zeros(5, dtype=torch.long)).tolist() == pytest.approx([0.0, 1.0])


@given(st.integers(1, 5), st.integers(0, 10))
@settings(deadline=None, max_examples=30)
def test_the_number_of_members_is_that_of_the_most_accurate(members, seed):
    p, labels = random_probabilities(members, 12, 3, seed)
    together = [p[members - m :].mean(0) for m in range(1, members + 1)]
    right = [int((q.argmax(1) == labels).sum()) for q in together]
    loss = [torch.nn.functional.nll_loss(q.log(), labels).item() for q in together]
    best = [i for i in range(members) if right[i] == max(right)]
    assert choose_last(p, labels) == 1 + min(best, key=lambda i: loss[i])


def test_equals_are_told_apart_by_their_loss_and_then_by_their_number():
    """All are always right, as on easy validation images."""
    sure, unsure = torch.tensor([[[0.9, 0.1]]]), torch.tensor([[[0.6, 0.4]]])
    label = torch.tensor([0])
    assert choose_last(torch.cat([sure, unsure]), label) == 2
    assert choose_last(torch.cat([unsure, sure]), label) == 1
    assert choose_last(torch.cat([sure, sure]), label) == 1


def test_disagreement_is_counted_pair_by_pair():
    p, _ = random_probabilities()
    named = p.argmax(-1).tolist()
    for i in range(4):
        for j in range(4):
            differ = sum(a != b for a, b in zip(named[i], named[j], strict=True)) / 50
            assert disagreement(p)[i, j].item() == pytest.approx(differ)


def test_the_table_chooses_on_validation_whatever_the_test_says():
    good, bad = torch.tensor([[[0.9, 0.1]]]), torch.tensor([[[0.2, 0.8]]])
    members = {"val": torch.cat([bad, good]), "test": torch.cat([good, bad])}
    labels = {"val": torch.tensor([0]), "test": torch.tensor([0])}
    rows = {row["name"]: row for row in ensemble_table(members, labels, [3, 6], {"EMA": {"val": good[0]}})}
    assert rows["ensemble"] == {"name": "ensemble", "kind": "chosen", "members": 1, "val": 1.0, "test": 0.0}
    assert rows["all, weights fitted"]["test"] == 0.0  # fitted to the member that is right on val
    assert rows["last 2"]["test"] == accuracy(members["test"].mean(0), labels["test"])
    assert rows["EMA"] == {"name": "EMA", "kind": "single", "members": 1, "val": 1.0}


def test_without_validation_all_members_count_alike():
    p, labels = random_probabilities(members=3)
    rows = {row["name"]: row for row in ensemble_table({"test": p}, {"test": labels}, [1, 2, 3], choose_on=None)}
    assert (rows["ensemble"]["members"], rows["ensemble"]["test"]) == (3, rows["last 3"]["test"])
    assert "all, weights fitted" not in rows


def test_the_mean_of_the_weights_is_ready_to_use():
    from torch import nn
    from torch.optim.swa_utils import update_bn

    nets = []
    for seed in range(2):
        torch.manual_seed(seed)
        nets.append(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)))
        nets[-1](torch.randn(8, 3))
    states = [net.state_dict() for net in nets]
    images = [torch.randn(8, 3), torch.randn(8, 3)]
    model, before = nets[0].train(), {k: v.clone() for k, v in states[0].items()}
    made = averaged(model, states, images)
    assert model[2].training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.load_state_dict(average_weights(states))
    update_bn(images, model)
    assert all(torch.equal(v, made[k]) for k, v in model.state_dict().items())


def test_averaged_weights_are_torchs_swa():
    from torch import nn
    from torch.optim.swa_utils import AveragedModel

    nets = []
    for seed in range(3):
        torch.manual_seed(seed)
        nets.append(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)))
    swa = AveragedModel(nets[0])
    for net in nets:
        swa.update_parameters(net)
    mean = average_weights([net.state_dict() for net in nets])
    for name, parameter in swa.module.named_parameters():
        torch.testing.assert_close(mean[name], parameter.detach())
    assert mean["1.num_batches_tracked"].dtype == torch.int64
    half = average_weights([{"w": torch.tensor([1.0]).half()}, {"w": torch.tensor([2.0]).half()}])
    assert half["w"].dtype == torch.float16
    assert half["w"].item() == 1.5


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda p: combine(p, "mean"), "by must be one of softmax, logits, votes (got 'mean'); softmax is usual"),
        (lambda p: combine(p, weights=[1.0]), "weights must be 4 numbers >= 0, one for each member, and one above 0"),
        (lambda p: combine(p, weights=[0.0] * 4), "one above 0 (got [0.0, 0.0, 0.0, 0.0]); None weighs all alike"),
        (lambda p: combine(p, weights=[1, 1, 1, -1.0]), "(got [1.0, 1.0, 1.0, -1.0])"),
        (lambda p: average_weights([]), "an average needs at least one state (got none)"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call(random_probabilities()[0])
    assert text in str(error.value)
