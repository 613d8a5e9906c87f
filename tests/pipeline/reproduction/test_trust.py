"""What a record may run, and what needs a person's consent."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.reproduction import trust
from stages.loading.load_weights import LoadWeights


def record(stage="stages.load_weights.LoadWeights", **settings):
    return {"stages": [{"name": "load", "stage": stage, "settings": settings}]}


HARMLESS = [
    {"factory": "torchvision.models.get_model", "kwargs": {"name": "resnet50"}},
    {"factory": "torchvision.models.detection.fasterrcnn_resnet50_fpn"},
    {"factory": "timm.create_model"},
    {"kwargs": {"act": {"_target_": "torch.nn.GELU", "_partial_": True}}},
    {"factory": "transformers.AutoModelForSequenceClassification"},
    {"factory": "transformers.BertModel"},
    {"ignored": {"names": ["features.0.conv", "layer.attention"]}, "checkpoint_key": "state.model"},
]
REFUSED = [
    {"factory": "os.system", "kwargs": {"command": "true"}},
    {"factory": "torchvision.datasets.utils.download_url"},
    {"factory": "torchvision.models._api.find_model"},
    {"factory": "transformers.modeling_utils.load_state_dict"},
    {"translations": {"aten::x": "subprocess.run"}},
    {"kwargs": {"backbone": {"_target_": "torch.hub.load", "_args_": ["mine/net"]}}},
    {"deep": [{"inside": ["shutil.rmtree"]}]},
]


@pytest.mark.parametrize("settings", HARMLESS, ids=str)
def test_builders_of_known_libraries_and_plain_words_pass(settings):
    trust.demand(record(**settings), [])


@pytest.mark.parametrize("settings", REFUSED, ids=str)
def test_any_other_code_is_refused_by_name(settings):
    with pytest.raises(ConfigError, match="which the record names") as caught:
        trust.demand(record(**settings), [])
    assert all("DRYDOCK_TRUST=" in p.command for p in caught.value.problems)


def test_code_of_a_package_that_a_person_has_named_passes(monkeypatch):
    monkeypatch.setenv("DRYDOCK_TRUST", "mine:json.*")
    trust.demand(record(factory="json.loads"), [])
    with pytest.raises(ConfigError, match=r"os\.system"):
        trust.demand(record(factory="os.system"), [])


def test_a_file_that_runs_code_is_vouched_for_by_a_person_and_not_by_the_record():
    stolen = record("stages.open_module.OpenModule", weights="<file>", sha256="ab")
    with pytest.raises(ConfigError, match="can run any code"):
        trust.demand(stolen, ["stages.load.weights=net.pt"])
    trust.demand(stolen, ["stages.load.weights=net.pt", "stages.load.sha256=ab"])


def test_only_files_that_were_typed_are_read():
    settings = {"factory": "f", "kwargs": {}, "sha256": None, "pretrained": None}
    stage = LoadWeights(**settings, weights="secret.pth", checkpoint_key=None, prefixes=[], strict=True, seed=0)
    with pytest.raises(ConfigError, match=r"would read secret\.pth"):
        trust.demand_typed({"load": stage}, [])
    trust.demand_typed({"load": stage}, ["stages.load.weights=secret.pth"])
