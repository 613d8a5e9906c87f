"""stages/torchvision_weights.json says what the installed torchvision says."""

from __future__ import annotations

import json

import pytest

from stages import _weights


def test_the_table_is_what_the_installed_torchvision_publishes():
    models = pytest.importorskip("torchvision").models
    table = json.loads(_weights.TORCHVISION_FILES.read_text())
    published = {}
    for name in models.list_models():
        weights = models.get_model_weights(name)
        if len(weights):
            published[name] = weights.DEFAULT.url.removeprefix(_weights.TORCHVISION_URL)
    assert len(published) > 100
    assert table == published
