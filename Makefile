# Short names for what people do here. Every target installs what it needs first (scripts/setup.sh).

PYTHON := .venv/bin/python
JOBS ?= $(shell nproc)
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

# The wheel and the C++ tests share one build tree, so that nothing is compiled twice.
WHEEL := $(PYTHON) -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps \
         --force-reinstall -c constraints.txt --config-settings=build-dir=build/release

.DEFAULT_GOAL := help
.PHONY: help demo test test-all cuda wheel vllm fla bench lint format docs clean setup-% package package-test

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup-demo package  ## read a text with a small Qwen3.5 model: torch path against libgdn
	@$(PYTHON) examples/demo/demo.py

# Threads of torch that spin while they wait slow everything down where processors are shared.
test: export OMP_WAIT_POLICY := passive
test: setup-test package-test  ## release build, every instruction set, Python, a sanitizer smoke
	@echo "== C and C++ tests (release, every instruction set of this machine)"
	@ctest --test-dir build/release -L quick --output-on-failure
	@echo "== Python tests"
	@$(PYTHON) -m pytest -q tests/python
	@$(MAKE) --no-print-directory sanitizer-smoke

.PHONY: sanitizer-smoke full asan tsan ascend mutation fuzz
sanitizer-smoke: setup-test
	@echo "== sanitizer smoke (AddressSanitizer, UndefinedBehaviorSanitizer)"
	@cmake --preset asan >/dev/null
	@cmake --build --preset asan
	@ctest --test-dir build/asan -L sanitizer --output-on-failure

test-all: setup-test-all test cuda full asan tsan mutation fuzz ascend  ## also CUDA, full sanitizers, mutations, fuzzing, the Ascend ladder

# nvcc 13.0 from PyPI where there is none on the PATH.
NVCC ?= $(or $(shell command -v nvcc),$(CURDIR)/.venv/cuda/bin/nvcc)

cuda: setup-cuda  ## the CUDA backend on a machine without a GPU: build, launch plans, registers
	@echo "== building libgdn with the CUDA backend (minutes)"
	@$(WHEEL) --config-settings=cmake.define.GDN_BUILD_TESTS=ON --config-settings=cmake.define.GDN_CUDA=ON \
	  --config-settings=cmake.define.CMAKE_CUDA_COMPILER=$(NVCC) .
	@ctest --test-dir build/release -R '^(no_gpu|cuda_)' --no-tests=error --output-on-failure
	@$(PYTHON) -m pytest -q tests/python/test_threads.py

WHEEL_CUDA ?= ON
wheel: export NVCC := $(NVCC)
wheel: export WHEEL_CUDA := $(WHEEL_CUDA)
wheel: $(if $(filter ON,$(WHEEL_CUDA)),setup-cuda) setup-wheel  ## wheels to give away, in dist/, and each one tried
	@scripts/wheel.sh

full: setup-test-all
	@echo "== C and C++ tests, the whole ladder"
	@ctest --test-dir build/release -L full -j $(JOBS) --output-on-failure

asan: setup-test-all
	@echo "== AddressSanitizer and UndefinedBehaviorSanitizer, all quick tests"
	@cmake --preset asan >/dev/null && cmake --build --preset asan
	@ctest --test-dir build/asan -L quick --output-on-failure

tsan: setup-test-all
	@echo "== ThreadSanitizer"
	@cmake --preset tsan >/dev/null && cmake --build --preset tsan
	@ctest --test-dir build/tsan -L sanitizer --output-on-failure

ascend: setup-test-all package-test  ## the kernels for Ascend NPUs on their model, the whole ladder
	@echo "== Ascend kernels on the model of the machine"
	@ctest --test-dir build/release -R '^ascend_' --no-tests=error -j $(JOBS) --output-on-failure

mutation: setup-test-all
	@echo "== seeded bugs, each of which the tests must catch"
	@$(PYTHON) tests/mutation/run.py

fuzz: setup-test-all
	@echo "== fuzzing the C interface"
	@cmake --preset fuzz >/dev/null
	@cmake --build --preset fuzz --target abi_fuzz safetensors_fuzz
	@tests/fuzz/run.sh build/fuzz

VLLM := .venv/vllm/bin/python
vllm: setup-vllm  ## vLLM's server on the CPU with libgdn, beside the same without (downloads 2 GB)
	@echo "== building the wheel for .venv/vllm, for the CPU alone (the first build takes minutes)"
	@rm -rf build/vllm/wheel
	@$(PYTHON) -m pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps -c constraints.txt \
	  --config-settings=build-dir=build/vllm/build --config-settings=cmake.define.GDN_CUDA=OFF -w build/vllm/wheel .
	@$(VLLM) -m pip install -q --disable-pip-version-check --no-deps --force-reinstall build/vllm/wheel/*.whl
	@$(VLLM) bench/vllm_serve.py

fla: export OMP_WAIT_POLICY := passive
fla: setup-fla package-test  ## flash-linear-attention's functions and layer on libgdn: its adapter's tests (0.8 GB)
	@.venv/fla/bin/python -m pytest -q tests/python/integrations/test_fla.py

bench: setup-bench package  ## ratios to packaged peers and to the machine's own peak
	@$(PYTHON) bench/run.py

lint: setup-lint  ## formats, clang-tidy, ruff, house rules
	@scripts/lint.sh

format: setup-lint  ## rewrite sources in the house format
	@scripts/lint.sh --fix

docs: setup-docs  ## the site in build/docs/html: guide, C, C++ and Python interfaces, measurements
	@mkdir -p build/docs && doxygen docs/Doxyfile
	@$(PYTHON) -m sphinx -W --keep-going -q -c docs -d build/docs/doctrees . build/docs/html
	@echo "== build/docs/html/index.html"

clean:  ## remove build trees (not .venv)
	rm -rf build dist

setup-%:
	@scripts/setup.sh $*

package:
	@echo "== building libgdn and the Python package (the first build takes minutes)"
	@$(WHEEL) .

package-test:
	@echo "== building libgdn, its tests and the Python package (the first build takes minutes)"
	@$(WHEEL) --config-settings=cmake.define.GDN_BUILD_TESTS=ON .
