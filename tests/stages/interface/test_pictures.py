"""interface/pictures.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from stages.interface import pictures

EDGE = {"size": {"shortest_edge": 256}}


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({**EDGE, "crop_size": {"height": 224, "width": 192}, "do_center_crop": True}, (224, 192)),
        ({**EDGE, "crop_size": 96}, (96, 96)),
        ({**EDGE, "crop_size": {"height": 224, "width": 192}, "do_center_crop": False}, (256, 256)),
        ({"size": {"height": 48, "width": 320}}, (48, 320)),
        ({"size": {"longest_edge": 1024}, "do_pad": True, "pad_size": {"height": 1024, "width": 512}}, (1024, 512)),
        ({"size": {"shortest_edge": 3136, "longest_edge": 1003520}}, None),  # numbers of pixels, not edges
        ({"size": 224, "do_resize": False}, None),
        ({}, None),
    ],
)
def test_the_size_that_an_image_processor_makes(settings, size):
    assert pictures.of_processor(settings) == size


@pytest.mark.parametrize(
    ("config", "stated", "size", "says"),
    [
        ({"model_type": "vit", "image_size": 32}, [96, 64], (96, 64), ""),
        ({"model_type": "vit", "image_size": 32}, None, (32, 32), ""),
        ({"model_type": "layoutlmv3", "input_size": 32}, None, (32, 32), ""),
        ({"model_type": "clip", "vision_config": SimpleNamespace(image_size=[48, 64])}, None, (48, 64), ""),
        ({"model_type": "detr"}, None, (800, 800), "pictures of 800x800, which is usual"),
        ({"model_type": "nothing_known"}, None, (224, 224), "pictures of 224x224, which is usual"),
    ],
)
def test_the_folder_says_it_before_the_configuration_and_that_before_what_is_usual(config, stated, size, says):
    size_, assumed = pictures.size(SimpleNamespace(**config), stated)
    assert size_ == size
    assert assumed.startswith(says)
    assert bool(assumed) == bool(says)
