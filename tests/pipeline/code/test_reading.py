"""code/reading.py: what of a file counts, and what it refers to."""

import pytest

from pipeline.code.reading import read

BEFORE = '''
"""What it is for."""
import stages.onnx.file
from stages.onnx import runtime as onnx_runtime

def f(x):
    """What it does."""
    return [x, 1]  # why
'''


@pytest.fixture
def source(tmp_path):
    def write(text, name="a.py"):
        (tmp_path / name).write_text(text)
        return read(tmp_path / name)

    return write


SAME = {
    "a comment": BEFORE.replace("# why", "# for another reason"),
    "a docstring": BEFORE.replace("What it does.", "Says what it does."),
    "no docstring": BEFORE.replace('    """What it does."""\n', ""),
    "the module's docstring": BEFORE.replace("What it is for.", "Something else."),
    "formatting": BEFORE.replace("[x, 1]", "[\n        x,\n        1,\n    ]"),
    "a type checker's import": f"{BEFORE}\nif TYPE_CHECKING:\n    from stages.openvino import library\n",
    "another place of what it imports": BEFORE.replace("stages.onnx import runtime", "stages.other import run"),
}
OTHER = {
    "a number": BEFORE.replace("1]", "2]"),
    "1 is not 1.0": BEFORE.replace("1]", "1.0]"),
    "1 is not True": BEFORE.replace("1]", "True]"),
    "a text that is no docstring": f"{BEFORE}\nX = 'said'\n",
    "an annotation": BEFORE.replace("f(x)", "f(x: int)"),
    "a name that an import binds": BEFORE.replace("as onnx_runtime", "as other"),
    "one more import": f"{BEFORE}\nimport os\n",
}


@pytest.mark.parametrize("after", SAME.values(), ids=SAME)
def test_what_does_the_same_has_the_same_digest(source, after):
    assert source(BEFORE).digest == source(after).digest


@pytest.mark.parametrize("after", OTHER.values(), ids=OTHER)
def test_what_does_something_else_has_another_digest(source, after):
    assert source(BEFORE).digest != source(after).digest


def test_references_are_imports_and_texts_that_name_a_module(source):
    imports = "from stages.a import b, c\nimport stages.d\ndef f():\n    from stages.e import g\n"
    types = "if TYPE_CHECKING:\n    from stages.for_types import t\n"
    assert source(f'{imports}{types}X = "stages.h.i"\n').references == (
        ("stages.a", "b"),
        ("stages.a", "c"),
        ("stages.d", ""),
        ("stages.e", "g"),
        ("stages.h.i", ""),
    )


def test_a_text_that_speaks_of_a_module_is_no_reference(source):
    assert source('X = "see stages.a.b for more"\n').references == ()


def test_data_is_what_lies_beside_the_file(source, tmp_path):
    (tmp_path / "table.json").write_text("{}")
    assert source('A = "table.json"\nB = "absent.json"\nC = "a.py"\n').data == ("table.json",)


def test_a_format_tells_its_kinds_and_a_file_the_parts_it_asks_for(source):
    read = source('FORMATS = {"tea": Format(runtime="brew", types=None)}\n')
    assert read.formats == {"tea": {"runtime": "brew"}}
    assert source('formats.part(kind, "runtime").open()\npart(kind, name)\n').parts == ("runtime",)


def test_classes_are_those_of_the_module_itself(source):
    assert source("class A:\n    class B: ...\n").classes == ("A",)
