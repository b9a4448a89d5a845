import pytest
import torch

from lightcycle.data.chosen import Chosen
from lightcycle.data.config import DigitsConfig, ImageFolderConfig
from lightcycle.data.module import build


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_the_chosen_images_are_served_in_the_order_given(kind, folder):
    if kind == "memory":
        data = build(DigitsConfig())
    else:
        data = build(ImageFolderConfig(root=str(folder({"a": 20, "b": 20})), size=8, val_size=10, num_workers=0))
    data.setup("fit")
    samples = torch.tensor([3, 0, 2])
    loader = data.make_loader("val", Chosen(n=3, batch_size=2, samples=samples))
    batches = list(loader.load(0, 0))
    assert [len(y) for _, y in batches] == [2, 1]
    everything = torch.cat([x for x, _ in data.val_dataloader()])
    assert torch.equal(torch.cat([x for x, _ in batches]), everything[samples])
    assert torch.equal(torch.cat([y for _, y in batches]), data.labels("val")[samples])
