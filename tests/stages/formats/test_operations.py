"""formats/operations.py: what is computed of weights alone stands in what uses it; every format lists alike."""

import pytest
from delivered_run import written

from pipeline import formats
from stages.formats.operations import CONSTANT, INPUT, OUTPUT, Operation, short, typed, without_constants


def test_what_no_input_decides_becomes_an_attribute_of_what_takes_it():
    kept = without_constants(
        [
            Operation("x", INPUT, ()),
            Operation("w", CONSTANT, (), "float16[3, 3]"),
            Operation("wide", "Convert", ["w"], "float32[3, 3]"),
            Operation("y", "MatMul", ["x", "wide", "x"], "float32[?, 3]", {"transpose": "0"}),
            Operation("output y", OUTPUT, ["y"]),
            Operation("output w", OUTPUT, ["wide"]),  # an output stays, whatever it is made of
        ]
    )
    assert [(one.name, list(one.sources)) for one in kept] == [
        ("x", []),
        ("y", ["x"]),
        ("output y", ["y"]),
        ("output w", []),
    ]
    assert kept[1].attributes == {"transpose": "0", "operand 1": "wide: float32[3, 3], by Convert"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (typed("float32", [None, "batch", 3]), "float32[?, batch, 3]"),
        (typed("int64", []), "int64[]"),
        (typed("float32", None), "float32[…]"),
        (short(b"valid"), "valid"),
        (short("x" * 100), "x" * 80 + "…"),
    ],
)
def test_types_shapes_and_values_are_said_in_few_words(text, expected):
    assert text == expected


@pytest.mark.parametrize(("kind", "product"), [("onnx", "float32[b, 3]"), ("openvino", "float32[?, 3]")])
def test_a_graph_is_listed_from_its_inputs_to_its_outputs(tmp_path, kind, product):
    listed = formats.part(kind, "operations").operations(written(kind, tmp_path))
    place = {one.name: i for i, one in enumerate(listed)}
    assert all(place[source] < place[one.name] for one in listed for source in one.sources)
    assert [one.type for one in listed].count(INPUT) == 2
    (multiplied,) = (one for one in listed if one.type == "MatMul")
    assert (multiplied.sources, multiplied.gives) == (["image"], product)
    assert "float32[3, 3]" in multiplied.attributes["operand 1"]
    (last,) = (one for one in listed if one.type == OUTPUT)
    assert [one.type for one in listed if one.name in last.sources] == ["Concat"]
