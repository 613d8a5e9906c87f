"""From a captured program to a Core ML package: conversion by coremltools, held to what was asked for.

Source: https://apple.github.io/coremltools/docs-guides/source/convert-pytorch-workflow.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact
from pipeline.errors import DrydockError, StageError, listed
from stages.capture import decompositions, programs, unsupported
from stages.capture.format import EXPORTED, TORCHSCRIPT
from stages.coreml import classifier, translations, unconverted
from stages.coreml import library as coreml_library
from stages.coreml import package as package_files
from stages.coreml import ports as coreml_ports
from stages.coreml.format import COREML
from stages.coreml.package import Metadata
from stages.coreml.ports import Sizes
from stages.coreml.rewrites import bounds, denominators, distinct, ranks, writes
from stages.coreml.rewrites import images as coreml_images
from stages.coreml.rewrites.denominators import Wide
from stages.formats import ignored as ignored_operations
from stages.formats.denominators import FACT
from stages.formats.ignored import Ignored
from stages.interface.edits import Edits
from stages.interface.images import Preprocessing
from stages.interface.interface import Interface
from stages.portable import native_output
from stages.portable.said import first_line

CAPTURED = (EXPORTED, TORCHSCRIPT)
COMPUTE = ("float32", "float16")


@dataclass(frozen=True)
class Wanted:
    """What a package is to be; see compile_coreml, whose settings these are."""

    deployment_target: str
    compute: str
    ignored: Ignored
    compute_units: str
    sizes: Sizes
    edits: Edits
    preprocessing: Preprocessing | None
    labels: Sequence[str] | None
    metadata: Metadata


def made(source: Artifact, wanted: Wanted, folder: Path) -> Artifact:
    """model.mlpackage of a program.

    Raises:
        ConfigError: When a setting does not go with the model.
        StageError: When operators have no translation, or coremltools cannot convert it otherwise.
        CheckFailed: When what the package says of itself, read back, is not what was asked for.
    """
    interface = Interface.read(source)
    singly = wanted.labels is not None
    edits = coreml_ports.edits_for(interface, wanted.edits, wanted.deployment_target, singly=singly)
    if wanted.labels is not None:
        edits = classifier.edits_for(interface, edits, wanted.labels)
    edited = coreml_images.edited(interface, edits, wanted.preprocessing)
    translations.register()
    program = _program(source)
    unconverted.refuse(program)
    operations: dict[str, str] = {}  # those that coremltools has asked about: name to type
    wide = Wide()
    model = _converted(program, interface, edits, edited, wanted, operations, wide)
    wanted.ignored.hold_to(operations, "program")
    facts = {
        **edited.facts,
        **edits.facts,
        **coreml_images.facts(edits, wanted.preprocessing),
        **classifier.facts(wanted.labels),
        **coreml_ports.enumerated(edited, wanted.sizes),
        "deployment_target": wanted.deployment_target,
        "compute": wanted.compute,
        "compute_units": wanted.compute_units,
        **({ignored_operations.FACT: asdict(wanted.ignored)} if wanted.compute == "float16" else {}),
        **({FACT: sorted(wide.weighted)} if wide.weighted else {}),
    }
    spec = model.get_spec()
    wanted.metadata.put(spec, {**source.facts, **facts})
    package = folder / COREML.file
    weights = Path(model.weights_dir) if model.weights_dir else None
    package_files.write(spec, weights, package)
    says = coreml_ports.hold_to(package_files.spec_of(package), edited, wanted.sizes)
    if wide.names:
        says += f"; for their small constants, in float32: {listed(sorted(wide.names), 4)}"
    return Artifact(COREML, folder, facts=facts, notes={"says": says})


def _program(source: Artifact) -> Any:
    """What coremltools takes: a ScriptModule, or an ExportedProgram in the dialect ATEN."""
    program = programs.load(source)
    if source.kind == TORCHSCRIPT:
        writes.spelled(program.forward.graph)
        distinct.script(program.forward.graph)
        return program
    with native_output.to_log():
        decomposed = _decomposed(program)
    distinct.exported(decomposed)
    return decomposed


def _decomposed(program: Any) -> Any:
    """The program in ATEN's operators; in simpler ones, where coremltools lacks some and those serve."""
    table = decompositions.composite()  # coremltools inverts constants alone
    plain = made = program.run_decompositions(table)
    while lacking := unconverted.untranslated(made):
        more = decompositions.by_name(lacking)
        if not more.keys() - table.keys():
            return plain  # whose operators are the model's own
        table |= more
        made = program.run_decompositions(table)
    return made


def _converted(
    program: Any,
    interface: Interface,
    edits: Edits,
    edited: Interface,
    wanted: Wanted,
    operations: dict[str, str],
    wide: Wide,
) -> Any:
    def may_be_cast(op: Any) -> bool:
        """What coremltools asks of each operation: whether it may compute in float16."""
        operations[op.name] = op.op_type
        return op.name not in wide.names and not wanted.ignored.means(op.name, op.op_type)

    ct = coreml_library.quiet()
    ranks.register()
    distinct.register()
    passes = ct.PassPipeline()
    passes.insert_pass(0, distinct.NAME)
    passes.insert_pass(passes.passes.index(ranks.BEFORE), ranks.NAME)
    precision = ct.precision.FLOAT32
    if wanted.compute == "float16":
        precision = ct.transform.FP16ComputePrecision(op_selector=may_be_cast)
        bounds.register(lambda op: precision.is_valid_op(op) and may_be_cast(op))
        passes.insert_pass(passes.passes.index(bounds.BEFORE), bounds.NAME)
        denominators.register(wide)
        passes.insert_pass(passes.passes.index(bounds.NAME), denominators.NAME)
    if edits.images is not None and wanted.preprocessing is not None:
        coreml_images.register(edits, wanted.preprocessing)
        passes.insert_pass(0, coreml_images.NAME)
    with native_output.to_log():
        try:
            return ct.convert(
                program,
                source="pytorch",
                convert_to="mlprogram",
                inputs=coreml_ports.inputs(interface, edits, edited, wanted.sizes, wanted.deployment_target),
                outputs=coreml_ports.outputs(edited),
                classifier_config=classifier.config(wanted.labels),
                minimum_deployment_target=getattr(ct.target, wanted.deployment_target),
                compute_precision=precision,
                pass_pipeline=passes,
                skip_model_load=True,
            )
        except DrydockError:
            raise
        except Exception as e:  # its front end raises anything
            at = unconverted.failed(program, e) or unsupported.source_of(e)
            raise StageError(
                f"coremltools cannot convert this program: {type(e).__name__}: {first_line(e)}"
                + (f"\n    {at}" if at else ""),
                command="another capture, other operators in the model, or another stages.compile.deployment_target; "
                "the log has the whole traceback",
            ) from e
