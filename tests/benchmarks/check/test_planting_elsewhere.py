"""Mutants of OpenVINO models and of Core ML programs differ from the right ones in one thing, too."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from harness import backend

from benchmarks.check.models.subjects import Subject

X = {"x": {"shape": ["batch", 6, 4], "dtype": "float32", "fill": "normal"}}
SUBJECT = Subject("small", "", X, {"batch": (1, 2, 4)})


def inputs_at(batch):
    return {"x": np.random.default_rng(1).standard_normal((batch, 6, 4)).astype(np.float32)}


def ir(file):
    """A layer, a softmax, a sum over an axis, with outputs of one type."""
    import openvino
    from openvino import opset13 as op

    x = op.parameter([openvino.Dimension(1, 4), 6, 4], np.float32, name="x")
    weights = op.constant(np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32))
    act = op.relu(op.add(op.matmul(x, weights, False, False), op.constant(np.float32([0.1, 0.2, 0.3, 0.4]))))
    share = op.softmax(act, -1)
    total = op.add(op.reduce_mean(op.multiply(share, act), np.int64([1]), keep_dims=False), np.float32(1e-6))
    x.output(0).get_tensor().set_names({"x"})
    for name, node in (("one", share), ("other", total)):
        node.output(0).get_tensor().set_names({name})
    openvino.save_model(openvino.Model([share, total], [x]), file, compress_to_fp16=False)


def test_a_mutant_of_an_openvino_model_changes_one_thing(tmp_path):
    backend("openvino")
    from benchmarks.check.faults.openvino import planting

    ir(tmp_path / "model.xml")
    planted = list(planting.mutants(tmp_path / "model.xml", SUBJECT, (inputs_at(2), inputs_at(4))))
    right = _signature(planting.read(tmp_path / "model.xml"))
    wrong = {}
    for mutant in planted:
        model = planting.read(tmp_path / "model.xml")
        try:
            mutant.apply(model)
        except (RuntimeError, ValueError):  # OpenVINO knows no such model: stillborn
            continue
        if (touched := _touched(right, _signature(model))) > (2 if mutant.kind.endswith("swapped") else 1):
            wrong[mutant.name] = touched
    assert wrong == {}
    assert Counter(m.kind for m in planted).keys() >= {"weights", "axis", "narrowed type", "size relation", "clipped"}


def _signature(model):
    """By the name of an operation: what it is, and where its operands come from; of a constant its values."""
    return {
        o.get_friendly_name(): (
            o.get_type_name(),
            str(o.get_attributes()) + (str(np.array(o.data)) if o.get_type_name() == "Constant" else ""),
            [i.get_source_output().get_node().get_friendly_name() for i in o.inputs()],
        )
        for o in model.get_ordered_ops()
    }


def _touched(right, now):
    """How many operations changed by themselves, and how many sources others take the place of."""
    common = {name: both for name, own in right.items() if (both := (own, now.get(name)))[1] is not None}
    changed = sum(was[:2] != after[:2] for was, after in common.values())
    sources = {old for was, after in common.values() for old, new in zip(was[2], after[2], strict=True) if old != new}
    return changed + len(sources)


@pytest.mark.slow
def test_a_mutant_of_a_core_ml_program_changes_one_thing_and_can_be_saved(tmp_path):
    backend("coremltools")
    import mil_packages
    from torch import nn

    from benchmarks.check.faults.coreml import planting

    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.LayerNorm(4), nn.Softmax(-1))
    path = mil_packages.traced(net, tmp_path / "model.mlpackage", (2, 6, 4))
    subject = Subject("small", "", {"x0": {**X["x"], "shape": [2, 6, 4]}})
    arrays = {"x0": inputs_at(2)["x"]}
    planted = list(planting.mutants(path, subject, (arrays, arrays)))
    right = [o.SerializeToString(deterministic=True) for o in planting.read(path).block.operations]
    for number, mutant in enumerate(planted):
        package = planting.read(path)
        mutant.apply(package)
        now = [o.SerializeToString(deterministic=True) for o in package.block.operations]
        assert len(set(right) - set(now)) in (0, 1, 2), mutant.name
        assert now != right, mutant.name
        (tmp_path / str(number)).mkdir()
        planting.save(package, tmp_path / str(number))
        assert len(planting.read(tmp_path / str(number) / "model.mlpackage").block.operations) == len(now)
    assert {m.kind for m in planted} >= {"weights", "axis", "epsilon", "narrowed type", "operator dropped", "clipped"}
