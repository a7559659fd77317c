"""EfficientNet-Lite0 answers as a trained ImageNet classifier should: weights, order and preprocessing are right."""

import torch

import gazeshift as gs


def test_top_1_on_700_images_of_imagenet(data_folder):
    model = gs.load("efficientnet_lite0", device="cpu")
    source = gs.open_source(data_folder / "imagenet700", class_names=model.class_names, wnids=model.wnids)
    right = 0
    with torch.no_grad():
        for batch in source.batches(32, model.preprocessing):
            right += int((model(batch.images).argmax(1) == batch.labels).sum())
    print(f"top-1 {right / len(source):.3f} on {len(source)} images")  # noqa: T201
    assert len(source) == 700
    assert right / len(source) >= 0.85


def test_each_lite_recognises_the_demo_images():
    for number in range(3):
        model = gs.load(f"efficientnet_lite{number}", device="cpu")
        batch = gs.demo_images().read(preprocessing=model.preprocessing)
        with torch.no_grad():
            assert (model(batch.images).argmax(1) == batch.labels).sum() >= 16
