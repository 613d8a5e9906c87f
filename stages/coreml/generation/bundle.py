"""How to call the package of a language model, for the README of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.coreml import bundle
from stages.reference import artifact_cases

LOADING = """\
import coremltools
import numpy as np

model = coremltools.models.MLModel("{file}")  # macOS 15 or later
state = model.make_state()  # the cache of one text, empty
tokens, position = [1, 2, 3], 0  # of a prompt, by the tokenizer of this folder; {lengths} in one call
for _ in range(100):
    inputs = {{"input_ids": np.array([tokens], np.int32), "position": np.array([position], np.int32)}}
    logits = model.predict(inputs, state=state)["logits"]
    position += len(tokens)  # {length} at most
    tokens = [int(logits[0, -1].argmax())]
"""
SWIFT = """\
let model = try MLModel(contentsOf: MLModel.compileModel(at: url))  // macOS 15, iOS 18
let state = model.makeState()
let ids = MLShapedArray<Int32>(scalars: tokens, shape: [1, tokens.count])
let before = MLShapedArray<Int32>(scalars: [position], shape: [1])
let inputs = try MLDictionaryFeatureProvider(dictionary: [
    "input_ids": MLMultiArray(ids), "position": MLMultiArray(before),
])
let answer = try await model.prediction(from: inputs, using: state)
let logits = answer.featureValue(for: "logits")!.multiArrayValue!  // [1, tokens, vocabulary]
"""
ADVICE = (
    "`position` is how many tokens the state contains already: 0 for a new text; each call adds its own tokens. A "
    "token beyond the cache's length is the caller's error, and Core ML does not report it. Each text needs its own "
    "state. To go back in a text, use a smaller `position`: the model ignores what lies behind it."
)


class Bundle(bundle.Bundle):
    """See `stages.delivery.bundle.Bundle`."""

    ADVICE = f"{ADVICE}\n\n```swift\n{SWIFT}```"
    BY_CALLER = True  # see stages/delivery/generation_readme.py

    @staticmethod
    def loading(file: str, inputs: str, names: str, facts: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
        return LOADING.format(file=file, length=facts["generation"]["positions"], lengths=lengths(facts))


def lengths(facts: Mapping[str, Any]) -> str:
    """How many tokens a call may have, in words: "1 to 48", or "1 or 48" where they are enumerated."""
    if shapes := facts.get(artifact_cases.ENUMERATED, {}).get("input_ids"):
        return " or ".join(str(n) for n in sorted(shape[1] for shape in shapes))
    (sequence,) = (d for d in facts["interface"]["dims"] if d["name"] == "sequence")
    return f"{sequence['min']} to {sequence['max']}"


def readme(file: str, facts: Mapping[str, Any]) -> str:
    """The README: how to call the package."""
    decoder = facts["generation"]
    states = ", ".join(f"`{c['input']}`" for c in decoder["cache"][:2])
    return (
        f"# {decoder['model_type'] or 'A language model'} for Core ML\n\n"
        f"`{file}` takes `input_ids`, int32 [1, {lengths(facts)}], and `position`, int32 [1], and gives `logits` "
        f"[1, tokens, {decoder['vocabulary']}]. Its cache has room for {decoder['positions']} tokens and lies in "
        f"{len(decoder['cache'])} states in float16, {states} and so on, which it keeps from call to call. One text at "
        f"a time.\n\n{ADVICE}\n\n## Python\n\n"
        f"```python\n{LOADING.format(file=file, length=decoder['positions'], lengths=lengths(facts))}```\n\n"
        f"## Swift\n\n```swift\n{SWIFT}```\n"
    )
