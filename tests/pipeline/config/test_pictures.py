"""pipeline/config/pictures.py: what the table says, and that it is what the libraries say."""

from __future__ import annotations

import math

import pytest

from pipeline.config import pictures


@pytest.mark.parametrize(
    ("library", "name", "size", "resize", "interpolation"),
    [
        ("torchvision", "resnet50", [3, 224, 224], 232, "bilinear"),
        ("torchvision", "inception_v3", [3, 299, 299], 342, "bilinear"),
        ("torchvision", "vit_h_14", [3, 518, 518], 518, "bicubic"),
        ("timm", "mobilevit_xxs", [3, 256, 256], 284, "bicubic"),
        ("timm", "mobilevit_xxs.cvnets_in1k", [3, 256, 256], 284, "bicubic"),
        ("timm", "not_there_yet", [3, 224, 224], 256, None),
    ],
)
def test_what_a_models_weights_take(library, name, size, resize, interpolation):
    assert pictures.shape(library, name) == ["batch", *size]
    fields = pictures.preprocessing(library, name)
    assert (fields["resize"], fields.get("interpolation")) == (resize, interpolation)


@pytest.mark.slow
def test_the_table_is_what_timm_says():
    import timm
    from timm.data import resolve_data_config

    for name in dict.fromkeys([*timm.list_models(), *timm.list_pretrained()]):
        published = timm.get_pretrained_cfg(name)
        data = resolve_data_config(pretrained_cfg=published.to_dict() if published else {}, use_test_size=False)
        fields = pictures.preprocessing("timm", name)
        assert pictures.shape("timm", name) == ["batch", *data["input_size"]], name
        assert fields["mean"] == pytest.approx(data["mean"], abs=1e-6), name
        assert fields["std"] == pytest.approx(data["std"], abs=1e-6), name
        assert fields["interpolation"] == data["interpolation"], name
        edge = math.floor(data["input_size"][1] / data["crop_pct"])
        assert edge in (fields["resize"], *(fields["resize"] if isinstance(fields["resize"], list) else [])), name


@pytest.mark.slow
def test_the_table_is_what_torchvision_says():
    from torchvision import models

    for name in models.list_models(module=models):
        preset = models.get_model_weights(name).DEFAULT.transforms()
        fields = pictures.preprocessing("torchvision", name)
        assert pictures.shape("torchvision", name)[2:] == preset.crop_size * 2, name
        assert [fields["resize"]] == preset.resize_size, name
        assert fields["interpolation"] == preset.interpolation.value, name
        assert (fields["mean"], fields["std"]) == (preset.mean, preset.std), name
