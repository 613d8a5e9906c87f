"""How the package of a language model is called, for the README of its folder."""

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
    given = {{"input_ids": np.array([tokens], np.int32), "position": np.array([position], np.int32)}}
    logits = model.predict(given, state=state)["logits"]
    position += len(tokens)  # {length} at most
    tokens = [int(logits[0, -1].argmax())]
"""
SWIFT = """\
let model = try MLModel(contentsOf: MLModel.compileModel(at: url))  // macOS 15, iOS 18
let state = model.makeState()
let ids = MLShapedArray<Int32>(scalars: tokens, shape: [1, tokens.count])
let before = MLShapedArray<Int32>(scalars: [position], shape: [1])
let given = try MLDictionaryFeatureProvider(dictionary: [
    "input_ids": MLMultiArray(ids), "position": MLMultiArray(before),
])
let answer = try await model.prediction(from: given, using: state)
let logits = answer.featureValue(for: "logits")!.multiArrayValue!  // [1, tokens, vocabulary]
"""
ADVICE = (
    "`position` is how many tokens the state holds already: 0 for a new text, and after each call more by the tokens "
    "of that call. A token beyond the cache's length is an error of the caller's, which Core ML does not tell. Another "
    "text takes another state; going back in one is a smaller `position`, and what lies behind it is not seen."
)


class Bundle(bundle.Bundle):
    """See `stages.delivery.bundle.Bundle`."""

    ADVICE = f"{ADVICE}\n\n```swift\n{SWIFT}```"
    BY_CALLER = True  # see stages/delivery/generation_readme.py

    @staticmethod
    def loading(file: str, given: str, names: str, facts: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
        return LOADING.format(file=file, length=facts["generation"]["positions"], lengths=lengths(facts))


def lengths(facts: Mapping[str, Any]) -> str:
    """How many tokens a call may have, in words: "1 to 48", or "1 or 48" where they are enumerated."""
    if named := facts.get(artifact_cases.ENUMERATED, {}).get("input_ids"):
        return " or ".join(str(n) for n in sorted(shape[1] for shape in named))
    (sequence,) = (d for d in facts["interface"]["dims"] if d["name"] == "sequence")
    return f"{sequence['min']} to {sequence['max']}"


def calling(file: str, facts: Mapping[str, Any]) -> str:
    """How it is called, as a README says it."""
    told = facts["generation"]
    states = ", ".join(f"`{c['input']}`" for c in told["cache"][:2])
    return (
        f"# {told['model_type'] or 'A language model'} for Core ML\n\n"
        f"`{file}` takes `input_ids`, int32 [1, {lengths(facts)}], and `position`, int32 [1], and gives `logits` "
        f"[1, tokens, {told['vocabulary']}]. Its cache has room for {told['positions']} tokens and lies in "
        f"{len(told['cache'])} states in float16, {states} and so on, which it keeps from call to call. One text at a "
        f"time.\n\n{ADVICE}\n\n## Python\n\n"
        f"```python\n{LOADING.format(file=file, length=told['positions'], lengths=lengths(facts))}```\n\n"
        f"## Swift\n\n```swift\n{SWIFT}```\n"
    )
