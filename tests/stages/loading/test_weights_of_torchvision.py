"""torchvision_weights.json says what the installed torchvision says."""

from __future__ import annotations

import json

import pytest

from stages.loading import weights as weights_source


def test_the_table_is_what_the_installed_torchvision_publishes():
    models = pytest.importorskip("torchvision").models
    table = json.loads(weights_source.TORCHVISION_FILES.read_text())
    published = {}
    for name in models.list_models():
        weights = models.get_model_weights(name)
        if len(weights):
            published[name] = weights.DEFAULT.url.removeprefix(weights_source.TORCHVISION_URL)
    assert len(published) > 100
    assert table == published
