# Everything runs in its own virtual environment, which the first target that needs it makes.
.DEFAULT_GOAL := help
.PHONY: help demo test slow exhaustive lint docs site graphs bench gpu wheels sanitize clean
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.ready
# So that the commands below read as a user would type them. Absolute, for recipes that change folder.
export PATH := $(abspath $(VENV))/bin:$(PATH)

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt $(wildcard plugins/host/* plugins/host/package/* plugins/kernels/*)
	@echo "installing into $(VENV): a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY)  ## export two recipes, verify them, score a synthetic detection set: under two minutes
	lossexport export --recipe models/box-quality.toml --out demo/box-quality
	lossexport export --recipe models/box-regression.toml --out demo/box-regression
	lossexport verify demo/box-quality demo/box-regression --html demo/parity.html --json demo/parity.json
	python -m lossexport.sample --out demo/data
	lossexport score --pred demo/data/dets.json --ref demo/data/gt.json --out demo/score
	@echo
	@echo "parity of every artifact: file://$(CURDIR)/demo/parity.html"
	@echo "quality of every box:     file://$(CURDIR)/demo/score/report.html"

test: $(READY)  ## run the tests; with COVERAGE=1 count the lines of the package that they run
	$(if $(COVERAGE),PYTEST_PLUGINS=tests.lines) pytest

slow: $(READY)  ## run the tests that `make test` leaves out, but for the exhaustive sweeps
	pytest -m "slow or uncounted"

exhaustive: $(READY)  ## run the sweeps that take more than CI has time for: before a release
	pytest -m exhaustive

# The loader has to find the sanitizers before it starts Python, which is not built with them.
SANITIZED := build/liblossexport-sanitized.so
sanitize: $(READY)  ## test the CPU kernels under AddressSanitizer and UndefinedBehaviorSanitizer
	CXX=$(CXX) python plugins/host/build.py --sanitize --out $(SANITIZED)
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 LOSSEXPORT_NATIVE=$(SANITIZED) \
	pytest -n 0 tests/native tests/boxes/test_pairs.py

CODE := $(wildcard $(addprefix plugins/*/*., h inc cpp cuh) examples/c/*.c examples/c/*.cpp \
  tests/kernels/*.hpp tests/native/*.c)
lint: $(READY)  ## style, format, spelling, types
	ruff check .
	ruff format --check .
	clang-format --dry-run -Werror $(CODE)
	codespell
	mypy

docs: $(READY)  ## rewrite docs/ops and the pictures from the catalogue
	python docs/generate.py

site: $(READY)  ## make a searchable site of the pages: build/site
	rm -rf build/site
	sphinx-build -q -W -c docs/site -d build/doctrees . build/site
	@echo "file://$(CURDIR)/build/site/index.html"

graphs: $(READY)  ## rewrite the graphs that the package ships for scoring, and verify them
	lossexport export --recipe models/box-quality.toml --format onnx --out lossexport/graphs
	lossexport verify lossexport/graphs --store

bench: $(READY)  ## time every op in every form, and losses in training: benchmarks/results
	lossexport bench --json benchmarks/results/pairwise_ciou.json
	python benchmarks/kernels.py
	python benchmarks/suppression.py
	python benchmarks/batched_suppression.py
	python benchmarks/op_by_op.py
	python benchmarks/training.py

# From an sdist each, by compilers of the same release, and so with the same bits.
DIST ?= dist
wheels: $(READY)  ## make the wheels of a release, for x86-64 and aarch64 with glibc 2.17: dist
	rm -rf $(DIST)/*.whl $(DIST)/untagged
	for machine in x86_64 aarch64; do \
	  LOSSEXPORT_PORTABLE=1 CXX=$$machine-linux-gnu-g++ \
	    python -m build --no-isolation --outdir $(DIST)/untagged && \
	  auditwheel repair --wheel-dir $(DIST) $(DIST)/untagged/*_$$machine.whl && \
	  test -e $(DIST)/*.manylinux_2_17_$$machine.whl || exit 1; \
	done
	mv $(DIST)/untagged/*.tar.gz $(DIST)
	rm -r $(DIST)/untagged

# Installs nothing: machines with a GPU often have no network. docs/gpu.md says what to carry there.
gpu:  ## run all that a GPU can show, see docs/gpu.md; MINUTES=9 stops in time and goes on next time
	PYTHONPATH="$(CURDIR)" $(PYTHON) benchmarks/gpu_day.py $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(JOBS),--jobs $(JOBS)) \
		$(addprefix --op ,$(OPS)) $(addprefix --step ,$(STEPS)) \
		$(if $(STANDIN),--standin) $(if $(FRESH),--fresh)

clean:  ## remove what was made here
	rm -rf $(VENV) demo dist build .mypy_cache .pytest_cache .ruff_cache
