import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightcycle.models import TimmConfig, head_name, weights_stats
from lightcycle.models.surgery import replace_head
from lightcycle.transfer.cut import split_head

timm = pytest.importorskip("timm", reason="the extra lightcycle[timm] is not installed")

FAMILIES = {
    "resnet10t.c3_in1k": "fc",
    "convnext_atto": "head.fc",
    "efficientnet_lite0": "classifier",
    "mobilenetv3_small_050": "classifier",
    "vit_tiny_patch16_224": "head",
}


def built(name, **options):
    return TimmConfig(name=name, **options).build(channels=3, size=(64, 64), classes=5)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_take_grey_images_of_other_sizes_and_can_be_cut(name):
    torch.manual_seed(0)
    net = TimmConfig(name=name).build(channels=1, size=(64, 64), classes=5).eval()
    assert head_name(net) == FAMILIES[name]
    images = torch.randn(3, 1, 64, 64)
    with torch.no_grad():
        live = net(images)
        assert live.shape == (3, 5)
        body, head = split_head(net, head_name(net))
        torch.testing.assert_close(head(body(images)), live, rtol=0, atol=1e-5)


def test_dropout_goes_in_front_of_the_head():
    net = built("resnet10t", dropout=0.3)
    assert [type(layer) for layer in net.fc] == [nn.Dropout, nn.Linear]
    assert net.fc[0].p == 0.3


def test_weights_from_a_file(tmp_path):
    theirs = timm.create_model("resnet10t", num_classes=7)
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = built("resnet10t", weights=str(tmp_path / "weights.safetensors"))
    images = torch.randn(2, 3, 64, 64)
    assert ours.fc.out_features == 5
    assert torch.equal(ours.eval().forward_features(images), theirs.eval().forward_features(images))


def test_a_file_of_another_net_is_told_by_keys_and_shapes(tmp_path):
    theirs = timm.create_model("resnet10t")
    theirs.conv1 = nn.Conv2d(3, 8, 3)
    replace_head(theirs, 3)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    text = r"does not fit model\.name=resnet10t: 11 missing \(conv1\.0\.weight, .*\); 2 unknown \(conv1\.weight, conv1"
    with pytest.raises(ValueError, match=text):
        built("resnet10t", weights=str(tmp_path / "weights.pth"))


def test_statistics_are_timms():
    name = "vit_base_patch16_224.augreg_in21k"
    config = timm.data.resolve_data_config({}, model=timm.create_model("resnet10t", pretrained=False))
    assert weights_stats(TimmConfig(weights="DEFAULT")) == (config["mean"], config["std"])
    assert weights_stats(TimmConfig(name=name, weights="DEFAULT")) == ((0.5,) * 3, (0.5,) * 3)
    assert weights_stats(TimmConfig(name=name)) is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "resnt10t"}, "model.name must be a timm classifier (got resnt10t); did you mean resnet10t or"),
        (
            {"name": "resnet10t.c4"},
            "model.name must be a timm classifier (got resnet10t.c4); did you mean resnet10t.c3_in",
        ),
        ({"name": "@"}, "model.name must be a timm classifier (got @); did you mean resnet10t?"),
        ({"name": ""}, "model.name must be a timm classifier (got ''); resnet10t.c3_in1k is the default"),
        ({"name": "deit_tiny_distilled_patch16_224"}, "has not one linear layer as its head; take another net of timm"),
        (
            {"weights": "nope"},
            "model.weights must be DEFAULT, a .pth or .safetensors file, or null (got nope); there is",
        ),
        (
            {"name": "cspresnet50d", "weights": "DEFAULT"},
            "must be a file or null (got DEFAULT); timm has none of cspresnet50d",
        ),
    ],
)
def test_mistakes_are_told(options, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        built(options.pop("name", "resnet10t"), **options)


def test_weights_that_cannot_be_fetched(monkeypatch):
    def offline(name, pretrained=False, **options):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(timm, "create_model", offline)
    text = (
        r"model\.weights=DEFAULT of resnet10t could not be fetched \(no network\); fetch its model\.safetensors where"
    )
    with pytest.raises(OSError, match=text):
        built("resnet10t", weights="DEFAULT")


def test_without_timm_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    text = r"model=timm needs timm \(not installed\): pip install 'lightcycle\[timm\]'"
    with pytest.raises(ValueError, match=text):
        built("resnet10t")


def test_timm_is_not_imported_before_it_is_asked_for():
    script = "import sys, lightcycle.models, lightcycle.models.weights; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
