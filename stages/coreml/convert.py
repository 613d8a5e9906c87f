"""Converts a captured program to a Core ML package with coremltools, and verifies the result.

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
from stages.coreml.rewrites import bounds, denominators, distinct, ranks, scans, writes
from stages.coreml.rewrites import images as coreml_images
from stages.coreml.rewrites.denominators import Float32Operations
from stages.formats import ignored as ignored_operations
from stages.formats.denominators import FACT
from stages.formats.ignored import Ignored
from stages.interface.edits import Edits
from stages.interface.images import Preprocessing
from stages.interface.interface import Interface
from stages.portable import native_output
from stages.portable.vendor_errors import first_line

CAPTURED = (EXPORTED, TORCHSCRIPT)
COMPUTE = ("float32", "float16")


@dataclass(frozen=True)
class PackageOptions:
    """The options of a package: the settings of compile_coreml."""

    deployment_target: str
    compute: str
    ignored: Ignored
    compute_units: str
    sizes: Sizes
    edits: Edits
    preprocessing: Preprocessing | None
    labels: Sequence[str] | None
    metadata: Metadata


def convert(source: Artifact, options: PackageOptions, folder: Path) -> Artifact:
    """Converts a program to model.mlpackage.

    Raises:
        ConfigError: When a setting does not fit the model.
        StageError: When operators have no translation, or coremltools fails for another reason.
        CheckFailed: When the package's description, read back, is not the requested one.
    """
    interface = Interface.read(source)
    singly = options.labels is not None
    edits = coreml_ports.edits_for(interface, options.edits, options.deployment_target, singly=singly)
    if options.labels is not None:
        edits = classifier.edits_for(interface, edits, options.labels)
    edited = coreml_images.edited(interface, edits, options.preprocessing)
    translations.register()
    program = _program(source)
    unconverted.refuse(program)
    operations: dict[str, str] = {}  # those that coremltools may cast: name to type
    wide = Float32Operations()
    model = _converted(program, interface, edits, edited, options, operations, wide)
    options.ignored.require(operations, "program")
    facts = {
        **edited.facts,
        **edits.facts,
        **coreml_images.facts(edits, options.preprocessing),
        **classifier.facts(options.labels),
        **coreml_ports.enumerated(edited, options.sizes),
        "deployment_target": options.deployment_target,
        "compute": options.compute,
        "compute_units": options.compute_units,
        **({ignored_operations.FACT: asdict(options.ignored)} if options.compute == "float16" else {}),
        **({FACT: sorted(wide.weighted)} if wide.weighted else {}),
    }
    spec = model.get_spec()
    options.metadata.put(spec, {**source.facts, **facts})
    package = folder / COREML.file
    weights = Path(model.weights_dir) if model.weights_dir else None
    package_files.write(spec, weights, package)
    says = coreml_ports.verify(package_files.spec_of(package), edited, options.sizes)
    if wide.names:
        says += f"; for their small constants, in float32: {listed(sorted(wide.names), 4)}"
    return Artifact(COREML, folder, facts=facts, notes={"says": says})


def _program(source: Artifact) -> Any:
    """The program as coremltools takes it: a ScriptModule, or an ExportedProgram in the dialect ATEN."""
    program = programs.load(source)
    if source.kind == TORCHSCRIPT:
        writes.rewrite(program.forward.graph)
        distinct.copy_script_outputs(program.forward.graph)
        return program
    with native_output.to_log():
        decomposed = _decomposed(program)
    distinct.copy_program_outputs(decomposed)
    return decomposed


def _decomposed(program: Any) -> Any:
    """The program in ATEN's operators. Operators that coremltools lacks are decomposed, where that helps."""
    table = decompositions.composite()  # coremltools inverts only constant matrices
    plain = current = scans.rewrite(program.run_decompositions(table))
    while lacking := unconverted.untranslated(current):
        more = decompositions.by_name(lacking)
        if not more.keys() - table.keys():
            return plain  # its operators are the model's own
        table |= more
        current = scans.rewrite(program.run_decompositions(table))
    return current


def _converted(
    program: Any,
    interface: Interface,
    edits: Edits,
    edited: Interface,
    options: PackageOptions,
    operations: dict[str, str],
    wide: Float32Operations,
) -> Any:
    def may_be_cast(op: Any) -> bool:
        """Whether an operation may compute in float16; coremltools calls this for each."""
        operations[op.name] = op.op_type
        return op.name not in wide.names and not options.ignored.means(op.name, op.op_type)

    ct = coreml_library.load()
    ranks.register()
    distinct.register()
    passes = ct.PassPipeline()
    passes.insert_pass(0, distinct.NAME)
    passes.insert_pass(passes.passes.index(ranks.BEFORE), ranks.NAME)
    precision = ct.precision.FLOAT32
    if options.compute == "float16":
        precision = ct.transform.FP16ComputePrecision(op_selector=may_be_cast)
        bounds.register(lambda op: precision.is_valid_op(op) and may_be_cast(op))
        passes.insert_pass(passes.passes.index(bounds.BEFORE), bounds.NAME)
        denominators.register(wide)
        passes.insert_pass(passes.passes.index(bounds.NAME), denominators.NAME)
    if edits.images is not None and options.preprocessing is not None:
        coreml_images.register(edits, options.preprocessing)
        passes.insert_pass(0, coreml_images.NAME)
    with native_output.to_log():
        try:
            return ct.convert(
                program,
                source="pytorch",
                convert_to="mlprogram",
                inputs=coreml_ports.inputs(interface, edits, edited, options.sizes, options.deployment_target),
                outputs=coreml_ports.outputs(edited),
                classifier_config=classifier.config(options.labels),
                minimum_deployment_target=getattr(ct.target, options.deployment_target),
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
