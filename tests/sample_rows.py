"""The rows of a source of samples, for models of a few interfaces, and the source's identity."""

from __future__ import annotations

from harness import world

from pipeline.machine.world import code_identity
from pipeline.store import key
from stages.data import sources
from stages.interface.images import Preprocessing
from stages.interface.interface import Dim, Input, Interface
from stages.samples.draw_samples import DrawSamples

PLAIN = Preprocessing(8, [0.0], [1.0])
PICTURE = Interface({"image": Input(["batch", 3, 8, 8])}, {"batch": Dim(1, 2, 4)})
VECTOR = Interface({"x": Input(["batch", 2])}, {"batch": Dim(1, 2, 4)})
PAIR = Interface({"a": Input(["batch", 2]), "b": Input(["batch"], "int32")}, {"batch": Dim(1, 2, 4)})
LENGTHS = {"batch": Dim(1, 2, 4), "length": Dim(4, 4, 12, 4)}
WORDS = Interface({n: Input(["batch", "length"], "int64") for n in ("input_ids", "attention_mask")}, LENGTHS)


def opened(spec, interface=VECTOR, *, how=None, seed=0):
    rows = sources.build(spec, how).open(interface, seed)
    return [rows[i] for i in range(len(rows))]


def identity(spec, folder, *, how=None):
    code_identity.cache_clear()
    return key.canonical(DrawSamples(spec, 1, how, 0).identity(world(folder)))
