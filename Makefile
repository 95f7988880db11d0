# The front door. `make` or `make help` lists the tasks.

PYTHON     ?= python3
MLIP_VENV  ?= $(CURDIR)/.venv
export MLIP_VENV

python     := $(MLIP_VENV)/bin/python
stack      := $(python) -m mlip.cli.main stack
in_venv    := PATH="$(MLIP_VENV)/bin:$$PATH"
peer        = $(shell $(PYTHON) requirements/environment.py peer --where)
OUTPUT     ?= demo-output
ACAC_DATA  ?= ../shared/data/acac
DHFR_PDB   ?= ../shared/data/dhfr/5dfr_solv-cube_equil.pdb

cpp_files   = $(wildcard lammps/src/*.cpp lammps/src/*.h lammps/src/*/*.cpp lammps/src/*/*.h)
shell_files = $(shell grep -lE '^\#!.*/(env )?(ba)?sh' .ci/* ci/* lammps/* containers/stages/* tests/* 2>/dev/null)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ First steps

.PHONY: help
help: ## list the tasks
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z][a-z-]*:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Variables: PYTHON (python3), MLIP_VENV (.venv), MLIP_CACHE (the cache folder), OUTPUT (demo-output)"

.PHONY: setup
setup: ## the project's Python environment in .venv, from requirements/cpu.txt
	@$(PYTHON) requirements/environment.py cpu

.PHONY: plugin
plugin: setup ## the pair styles nequip and allegro, for the LAMMPS of that environment
	@PYTHON=$(python) lammps/build-plugin

.PHONY: demo
demo: plugin ## train, compile and run an alloy in LAMMPS; a table and a figure in OUTPUT
	@$(in_venv) $(python) -m mlip.cli.demo --output "$(OUTPUT)"

.PHONY: demo-acac
demo-acac: plugin ## the same path on real molecules (acetylacetone), from ACAC_DATA
	@test -d "$(ACAC_DATA)" || { echo "No data in $(ACAC_DATA): set ACAC_DATA to the folder of the AcAc set."; exit 1; }
	@$(in_venv) $(python) -m mlip.cli.demo --acac "$(ACAC_DATA)" --output "$(OUTPUT)-acac"

.PHONY: demo-dhfr
demo-dhfr: setup lmp ## a protein in water (DHFR_PDB) in LAMMPS with Kokkos, 20 steps on 2 ranks of the host
	@test -f "$(DHFR_PDB)" || { echo "No file $(DHFR_PDB): set DHFR_PDB to the geometry of DHFR in water."; exit 1; }
	@$(in_venv) $(python) -m mlip.cli.demo_dhfr --pdb "$(DHFR_PDB)" --lmp lammps/run-lmp --input lammps/examples/demo.in \
		--output "$(OUTPUT)-dhfr" $(DHFR_ARGS)

##@ LAMMPS from source

.PHONY: lmp
lmp: setup ## LAMMPS with KOKKOS, ML-IAP in Python and the pair styles, as the stack cpu (or STACK) says
	@$(stack) fetch $(or $(STACK),cpu)
	@$(stack) build $(or $(STACK),cpu) --only lammps

.PHONY: lmp-run
lmp-run: ## run it: ARGS="-h", or with more MPI ranks lammps/run-lmp -n 2 -in in.lammps
	@lammps/run-lmp $(ARGS)

##@ Images

# Stacks are those of recipes/stacks: image-cpu, image-cuda, image-cuda-host, image-rocm, image-rocm-6.2, ...
stacks = $(notdir $(basename $(filter-out recipes/stacks/_%,$(wildcard recipes/stacks/*.yaml))))

.PHONY: stacks
stacks: setup ## the stacks: what fits what
	@$(stack) list

.PHONY: stack-fetch
stack-fetch: setup ## the files of STACK into the cache, by hash: all that a build needs
	@$(stack) fetch $(or $(STACK),cpu)

per_stack = image sif test-image test-sif reproduce bundle
.PHONY: $(foreach kind,$(per_stack),$(stacks:%=$(kind)-%))

image-cpu: ## a stack's container image, with Docker, Podman or Buildah (image-cuda, image-rocm, ...)
$(stacks:%=image-%): image-%: setup
	@$(stack) fetch $*
	@$(stack) build $* --only image $(BUILD_ARGS)

sif-cpu: ## its Apptainer file, build/mlip-cpu.sif, from the image
$(stacks:%=sif-%): sif-%: setup
	@$(stack) build $* --only sif $(BUILD_ARGS)

test-image-cpu: ## train, compile and run LAMMPS inside the image
$(stacks:%=test-image-%): test-image-%: setup
	@$(stack) test $*

test-sif-cpu: ## the same inside the Apptainer file, as root and as an ordinary user
$(stacks:%=test-sif-%): test-sif-%: setup
	@$(stack) test $* --sif

.PHONY: reproduce-small
reproduce-small: setup ## make the system of the stack cpu twice and compare every byte
	@$(stack) fetch cpu
	@$(stack) reproduce cpu --only system

reproduce-cpu: ## build image and Apptainer file again, all from sources, and compare every byte
$(stacks:%=reproduce-%): reproduce-%: setup
	@$(stack) fetch $*
	@$(stack) reproduce $* $(BUILD_ARGS)

bundle-cpu: ## all files of a stack as one, for a site without a network
$(stacks:%=bundle-%): bundle-%: setup
	@$(stack) fetch $* --bundle build/mlip-$*.bundle.tar

##@ Spack

.PHONY: spack-check
spack-check: setup ## spack/ against recipes/: form, versions, hashes; needs no Spack
	@$(stack) spack --check
	@$(python) -m ruff check spack
	@$(python) -m ruff format --check spack

.PHONY: spack-test
spack-test: setup ## with SPACK_ROOT: audit, concretize and compare with spack.lock, install the stack cpu, test it
	@$(stack) fetch cpu
	@$(python) -m mlip.stack.spack_job $(SPACK_ARGS)

.PHONY: spack-lock
spack-lock: setup ## with SPACK_ROOT: write spack/envs/*/spack.lock anew (SPACK_ARGS="--stacks cpu": one)
	@$(stack) fetch cpu
	@$(python) -m mlip.stack.spack_job --write-locks $(SPACK_ARGS)

##@ Checks

.PHONY: test
test: setup ## what .ci/run runs of ci/matrix.yaml: check, LAMMPS from source, image, Apptainer file (an hour)
	@$(in_venv) $(python) -m mlip.stack.ci_matrix run --all --limit 88

.PHONY: check
check: lint test-unit ## lint, types and all tests but those of LAMMPS from source and of images, with coverage

.PHONY: test-unit
test-unit: plugin
	@$(in_venv) OMP_NUM_THREADS=1 $(python) -m pytest -m "not conformance and not lammps_source and not slow" \
		-n 2 --dist loadfile --cov --cov-report=term $(PYTEST_ARGS)

.PHONY: test-lammps
test-lammps: plugin lmp ## all tests in LAMMPS: the plugin, Kokkos, ML-IAP, the slow ones; builds LAMMPS first
	@$(in_venv) OMP_NUM_THREADS=1 $(python) -m pytest tests/end_to_end tests/integration/test_mliap.py -m "not conformance" $(PYTEST_ARGS)

.PHONY: test-lmp
test-lmp: plugin lmp
	@$(in_venv) OMP_NUM_THREADS=1 $(python) -m pytest tests/end_to_end tests/integration/test_mliap.py \
		-m "lammps_source and not slow" -k "energy_forces or energies_forces or tutorial or refused or not_there" $(PYTEST_ARGS)

.PHONY: ci
ci: setup ## a job of ci/matrix.yaml as CI runs it: JOB=unit [STACK=cpu]; without JOB, the table of jobs
	@$(in_venv) $(python) -m mlip.stack.ci_matrix $(if $(JOB),run $(JOB) $(if $(STACK),--stack $(STACK)),list)

.PHONY: lint
lint: setup ## ruff, mypy, clang-format, shellcheck
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy
	$(in_venv) clang-format --dry-run --Werror $(cpp_files)
	$(in_venv) shellcheck $(shell_files)
	$(in_venv) hadolint containers/*/Dockerfile
	$(stack) spack --check

.PHONY: docs
docs: setup ## the documentation as a site, build/docs; broken links and all warnings are errors
	$(python) -m sphinx -q -n -W --keep-going -b html -d build/docs-doctrees docs build/docs
	@echo "build/docs/index.html"

.PHONY: format
format: setup ## rewrite the sources in the project's format
	$(python) -m ruff check --fix-only --quiet .
	$(python) -m ruff format .
	$(in_venv) clang-format -i $(cpp_files)

.PHONY: conformance
conformance: setup peer ## our models against fresh ones of the reference, in its own environment
	@OMP_NUM_THREADS=1 $(python) -m pytest tests/conformance -m conformance $(PYTEST_ARGS)

# every variant, and one or two of each way of training, packaging, compiling and exporting
conformance_in_ci = test_fresh_models or test_import and (nequip_zbl_ema or allegro_edge_cutoffs_zbl) \
	or test_export_reference and nequip_zbl_ema

.PHONY: test-conformance
test-conformance: setup peer
	@OMP_NUM_THREADS=1 $(python) -m pytest tests/conformance -m conformance -k "$(conformance_in_ci)" $(PYTEST_ARGS)

.PHONY: sanitize
sanitize: setup ## the LAMMPS tests with a plugin that checks its memory accesses and arithmetic (a quarter of an hour)
	@PYTHON=$(python) ci/sanitize $(PYTEST_ARGS)

.PHONY: gpu-check
gpu-check: ## the LAMMPS tests on an NVIDIA GPU, with the torch of PYTHON (MLIP_WHEELS: a folder of wheels)
	@PYTHON=$(PYTHON) ci/gpu-check $(PYTEST_ARGS)

.PHONY: rehearse-multinode
rehearse-multinode: plugin ## job scripts across two network namespaces, one of which is cut off (root, iproute2; five minutes)
	@PYTHON=$(python) ci/rehearse-multinode

.PHONY: golden
golden: peer ## write tests/conformance/golden anew with the reference
	@OMP_NUM_THREADS=1 $(peer)/bin/python tests/conformance/make_golden.py

##@ Benchmarks

.PHONY: bench
bench: bench-cpu bench-lammps ## all benchmarks of speed and memory that this machine can run (two hours on two cores)

.PHONY: bench-cpu
bench-cpu: setup peer ## speed, memory and force error against the reference, one thread
	@$(in_venv) $(python) benchmarks/bench_cpu.py $(BENCH_ARGS)

.PHONY: bench-lammps
bench-lammps: plugin peer ## dynamics in LAMMPS: plain, Kokkos, ML-IAP and the reference's model (with `make lmp`, all of them)
	@$(in_venv) $(python) benchmarks/bench_lammps.py $(BENCH_ARGS)

.PHONY: bench-data
bench-data: setup ## memory and speed of reading large data files
	@$(in_venv) $(python) benchmarks/bench_data.py $(BENCH_ARGS)

.PHONY: bench-accuracy
bench-accuracy: setup peer ## test errors on acetylacetone against the reference, same config and budget
	@$(in_venv) $(python) benchmarks/bench_accuracy.py --data "$(ACAC_DATA)" $(BENCH_ARGS)

##@ Environments

.PHONY: peer
peer: ## the reference implementation in an environment of its own, in the cache folder
	@$(PYTHON) requirements/environment.py peer

.PHONY: lock
lock: setup ## resolve requirements/*.in into requirements/*.txt (LOCK_ARGS=--upgrade for new versions)
	@$(python) requirements/lock.py $(LOCK_ARGS)

.PHONY: clean
clean: ## remove what builds, tests and demos left (the environments stay)
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* demo-output demo-output-acac demo-output-dhfr
	find mlip tests benchmarks requirements -name __pycache__ -type d -prune -exec rm -rf {} +
