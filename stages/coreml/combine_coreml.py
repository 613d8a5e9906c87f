"""Combines Core ML packages into one with several functions, which share equal weights."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pipeline.artifact import Artifact, Kind
from pipeline.errors import ConfigError, Problem, StageError, listed
from pipeline.stage import Setting, Stage, Unkeyed, World, digest_of
from stages.coreml import compression
from stages.coreml import library as coreml_library
from stages.coreml import package as package_files
from stages.coreml.format import COREML
from stages.portable import native_output
from stages.portable.vendor_errors import first_line

FIRST = "iOS18"  # the first systems with several functions in a package
SEVERAL = "several functions in a package"
FACT = "functions"


class Function(Setting):
    """The name of a function."""

    def problems(self, name: str, value: str) -> Iterable[Problem]:
        if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", value):
            yield Problem(f"a function is called '{value}'", allowed="letters, digits and _, no digit first")


class Packages(Setting):
    """Function name to the path of a package; the packages' content is part of the key, in this order."""

    def problems(self, name: str, value: Mapping[str, str]) -> Iterable[Problem]:
        if not value:
            command = f"+stages.combine.{name}.other=other.mlpackage"
            yield Problem(f"{name} names no package", allowed="name: path", command=command)
        for function in value:
            yield from Function().problems(name, function)

    def files(self, value: Mapping[str, str]) -> Iterable[str]:
        return value.values()

    def settle(self, name: str, value: Mapping[str, str], world: World) -> Mapping[str, str]:
        absent = [n for n, path in value.items() if not (_path(path) / package_files.MODEL).is_file()]
        wrong = [f"{name}.{n} is {value[n]}, where there is no package" for n in absent]
        if wrong:
            raise ConfigError(Problem(w, allowed="the folder of an .mlpackage") for w in wrong)
        return value

    def identity(self, name: str, value: Mapping[str, str], world: World) -> Any:
        def content(package: Path) -> Any:
            """The SHA-256 of every file of a package."""
            files = sorted(p for p in package.rglob("*") if p.is_file())
            return [[str(p.relative_to(package)), digest_of(p, world, f"{name}: {p}")] for p in files]

        return [[function, content(_path(path))] for function, path in value.items()]


@dataclass(frozen=True)
class CombineCoreml(Stage):
    """coremltools.utils.save_multifunction. The artifact's own function is the default one.

    Args:
        name: The name of the artifact's function.
        functions: The other functions: name to the path of a package, which is only read. From a package with several
            functions the default one is used.
        deployment_target: The artifact's, so that one without several functions is refused before any work.

    Source: https://apple.github.io/coremltools/docs-guides/source/multifunction-models.html
    """

    name: Annotated[str, Function()]
    functions: Annotated[dict[str, str], Packages()]
    deployment_target: Annotated[str, coreml_library.Target({SEVERAL: FIRST}), Unkeyed()]

    consumes: ClassVar[Mapping[str, frozenset[Kind]]] = {"package": frozenset({COREML})}
    produces: ClassVar[Kind | str] = COREML
    requires: ClassVar[tuple[str, ...]] = coreml_library.REQUIRES
    isolable: ClassVar[bool] = True

    def conflicts(self) -> Iterator[Problem]:
        if self.name in self.functions:
            yield Problem(f"functions has '{self.name}', which is the artifact's own", allowed="another name")

    def run(self, inputs: Mapping[str, Artifact], folder: Path) -> Artifact:
        source = inputs["package"]
        packages = {self.name: source.file, **{n: _path(p) for n, p in self.functions.items()}}
        specs = {name: package_files.spec_of(path) for name, path in packages.items()}
        self._verify_versions({name: spec.specificationVersion for name, spec in specs.items()})
        facts = {FACT: list(packages)}
        with tempfile.TemporaryDirectory() as aside:
            joined = Path(aside) / COREML.file
            self._join(packages, {n: s.description.defaultFunctionName or "main" for n, s in specs.items()}, joined)
            spec = package_files.spec_of(joined)
            spec.description.metadata.CopyFrom(specs[self.name].description.metadata)
            package_files.note(spec, facts)
            package_files.write(spec, joined / package_files.WEIGHTS, folder / COREML.file)
        sizes = [package_files.size(path) for path in (folder / COREML.file, *packages.values())]
        says = f"functions {listed(packages)}; {sizes[0] / sum(sizes[1:]):.2f} of their packages' size"
        return Artifact(COREML, folder, facts=facts, notes={"says": says})

    def _verify_versions(self, versions: Mapping[str, int]) -> None:
        """Raises StageError where the result would not run on every system that the artifact runs on."""
        own = versions[self.name]
        target = compression.GENERATIONS[own]
        if not coreml_library.has(target, FIRST):
            raise StageError(coreml_library.lacks(target, FIRST, SEVERAL))
        if late := [name for name, version in versions.items() if version > own]:
            raise StageError(
                f"functions {listed(late)} take later systems than this artifact, which is for {target}",
                allowed=f"packages for {target} or earlier",
                command=f"stages.compile.deployment_target={compression.GENERATIONS[max(versions.values())]}",
            )

    def _join(self, packages: Mapping[str, Path], entries: Mapping[str, str], joined: Path) -> None:
        ct = coreml_library.load()
        with native_output.to_log(errors=True):
            try:
                described = ct.utils.MultiFunctionDescriptor()
                for name, path in packages.items():
                    described.add_function(str(path), src_function_name=entries[name], target_function_name=name)
                described.default_function_name = self.name
                ct.utils.save_multifunction(described, str(joined))
            except Exception as e:  # coremltools raises anything
                raise StageError(f"coremltools cannot join these: {type(e).__name__}: {first_line(e)}") from e


def _path(text: str) -> Path:
    return Path(text).expanduser()
