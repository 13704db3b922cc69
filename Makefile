# Thin on purpose: each target is one or two lines that can be typed by hand.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export NO_MKDOCS_2_WARNING := 1

SECONDS ?= 20
SANITIZED := --log-level=WARNING -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO='-O1 -g1' \
  -DFEATHERWEIGHT_SANITIZE=address,undefined -DFEATHERWEIGHT_PYTHON=OFF -DFEATHERWEIGHT_TESTS=ON -DFEATHERWEIGHT_FUZZ=ON -DFEATHERWEIGHT_WERROR=ON

.PHONY: demo test test-slow native fuzz check format docs bench
.NOTPARALLEL:

demo: .venv/.demo         ## compress a real network on real data, open the result, print one table
	OMP_NUM_THREADS=2 $(BIN)/python examples/00_demo.py

test: .venv/.test fuzz    ## the default suite, and what is native by itself
	$(BIN)/python -m pytest -n 2

test-slow: .venv/.test    ## what takes long or needs the complete data sets
	$(BIN)/python -m pytest -m slow
	FEATHERWEIGHT_EXAMPLES=2000 $(BIN)/python -m pytest tests/container/test_roundtrip.py

native: .venv/.test       ## the native tests, under AddressSanitizer and UndefinedBehaviorSanitizer
	$(BIN)/cmake -S . -B build/sanitize $(SANITIZED) && $(BIN)/cmake --build build/sanitize --parallel 2
	$(BIN)/ctest --test-dir build/sanitize --output-on-failure --no-tests=error

fuzz: native              ## every native fuzz target for SECONDS; built with CXX=clang++ libFuzzer drives them
	cd build/sanitize/native/fuzz && ls ./fuzz_*[a-z] | xargs -P 2 -I {} sh -c '{} -max_total_time=$(SECONDS) -seed=1'

check: .venv/.dev         ## style, types, import contracts, docs
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache
	$(BIN)/mkdocs build --strict --quiet

format: .venv/.dev        ## put everything into the house style
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs: .venv/.dev          ## generate the technique pages and build the site into site/
	$(BIN)/python docs/generate.py && $(BIN)/mkdocs build --strict

bench: .venv/.bench       ## measured results as JSON; needs the complete data sets
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/bench_classic.py

# One virtual environment; a stamp for each set of extras, made anew when the requirements or native/ change. The build
# tools live in it too, so that they are the pinned ones and a second build finds what the first one left in build/.
NATIVE := CMakeLists.txt $(shell find native -name tests -prune -o -name fuzz -prune -o -type f -not -name '*.md' -print)

.venv/.%: pyproject.toml constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt cmake nanobind ninja scikit-build-core
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[$*]'
	touch $@
