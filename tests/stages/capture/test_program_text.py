"""capture/program_text.py: plain forms of what stands in a program's JSON, told from what Python would run."""

from __future__ import annotations

import pytest

from stages.capture import program_text

CALL = "__import__('os').system('x')"
SYMBOL = "Symbol('s77', positive=True, integer=True)"
FINE = {
    "expr_str": [
        SYMBOL,
        f"Mul(Integer(2), {SYMBOL})",
        f"StrictGreaterThan({SYMBOL}, Integer(3))",
        f"FloorDiv(Add({SYMBOL}, Integer(-1)), Integer(2))",
        f"Max(Integer(1), Pow({SYMBOL}, Rational(1, 2)), Float('0.5', precision=53))",
        "true",
        "s0 + 2*u1",
        "-1",
    ],
    "guards_code": [
        "L['x'].size()[0] <= 8",
        "((1 + L['x'].size()[0]) // 2) != 1 and L['args'][0]['k'].stride()[1] >= 2",
        "not max(L['x'].size()[0], 2) % 2 == 0",
    ],
    "target": [
        "torch.ops.aten.add.Tensor",
        "torch.ops.aten.__and__.Tensor",
        "torch.ops.higher_order.cond",
        "torch.ops.my_ops.fused",
        "torch.sym_max",
        "_operator.getitem",
        "math.ceil",
    ],
    "name": ["x", "p_l_weight", "", "_"],
    "in_spec": [
        '[1, {"type": "builtins.tuple", "context": "null", "children_spec": []}]',
        '[1, {"type": "builtins.dict", "context": "[\\"a\\", 1]", "children_spec": [{"type": null, "context": null,'
        ' "children_spec": []}]}]',
    ],
    "stack_trace": ['File "net.py", line 6, in forward\n    y = (1)'],
    "fqn": ["layers.0.weight", ""],
}
EVIL = {
    "expr_str": [
        CALL,
        f"Integer({CALL})",
        f"Symbol({CALL})",
        "Symbol('x); import os')",
        f"Max('{CALL.replace(chr(39), chr(34))}', 1)",
        "exec('x')",
        "eval(Symbol('x'))",
        "().__class__",
        "[x for x in (1,)]",
        "(lambda: 0)()",
        "Integer(1).__class__",
        "f'{1}'",
        "s0 if 1 else 2",
        "breakpoint()",
        "(x := 1)",
        "Symbol(*s0)",
        "(" * 5000,
        "",
        "1\n2",
    ],
    "guards_code": [
        f"{CALL} == 0",
        f"L[{CALL}] == 0",
        "L['x'].__class__ == 0",
        "L['x'].size(exec('x'))[0] == 1",
        "L['\"+x+\"'].size()[0] == 1",
        "L['x'].numpy() == 1",
        "L() == 1",
        "args[0] == 1",
    ],
    "target": [
        "torch.os.system",
        "torch.ops.load_library",
        "torch.ops.load_library.x",
        "torch.ops.aten.add.__class__",
        "torch.ops.__class__.x",
        "torch._functorch.predispatch.torch.os.system",
        "torch.hub.load",
        "torch.load",
        "torch.ops.aten",
        "_operator.attrgetter",
        "_operator.methodcaller",
        "_operator.call",
        "math.os.system",
        "os.system",
        "#kernel:x",
        "torch.ops.aten.add.Tensor\n",
    ],
    "name": ["x = 1; y", "x):\n  pass", "x y", "1x", "x\n"],
    "in_spec": [
        "x",
        "[1]",
        '[1, {"type": "builtins.dict", "context": "[{\\"__enum__\\": true}]", "children_spec": []}]',
        '[1, {"type": "builtins.dict", "context": "{\\"__\\\\u0065num__\\": true}", "children_spec": []}]',
        '[1, {"type": "collections.defaultdict", "context": {"default_factory_module": "x"}, "children_spec": []}]',
        '[1, {"type": "builtins.dict", "context": "[\\"a\'+x\\"]", "children_spec": []}]',
        '[1, {"type": "builtins.tuple", "context": "null", "children_spec": [{"type": "a;b", "context": null,'
        ' "children_spec": []}]}]',
    ],
    "fqn": ['a", x, "', "a;b", "a\nb"],
    "as_string": ["' or x or '", 'a"b', "a\nb"],
}
EVIL["out_spec"], EVIL["as_operator"], EVIL["as_name"] = EVIL["in_spec"], EVIL["target"], EVIL["name"]


def cases(texts):
    return [pytest.param(key, text, id=f"{key} {text[:40]!r}") for key, all_of in texts.items() for text in all_of]


@pytest.mark.parametrize(("key", "text"), cases(FINE))
def test_what_torch_writes_is_plain(key, text):
    assert [*program_text.problems({"graph": [{key: text}]})] == []


@pytest.mark.parametrize(("key", "text"), cases(EVIL))
def test_what_would_be_run_is_none(key, text):
    (problem,) = program_text.problems({"graph": [{key: text}]})
    assert problem.endswith(f"as its graph.0.{key}")


def test_what_a_call_is_given_is_written_down_and_what_a_graph_is_given_becomes_code():
    arguments = {"as_string": "failed on node 'ge'"}
    assert [*program_text.problems({"inputs": [{"name": "msg", "arg": arguments}]})] == []
    assert [*program_text.problems({"inputs": [arguments]})] != []
    assert [*program_text.problems({"constant_input": {"value": arguments}})] != []


def test_a_key_is_plain_too():
    assert [*program_text.problems({"tensor_values": {"x = 1; y": {}}})] == ["the key 'x = 1; y' in tensor_values"]
    assert [*program_text.problems({"range_constraints": {"2*s0 + 1": {}, "x = 1; y": {}}})] == [
        "the key 'x = 1; y' in range_constraints"
    ]
