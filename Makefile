# `make` prints the targets. All but gpu-check, lines and clean first create the environment in .venv, and update it
# after a change of pyproject.toml or of C++ code.
#
# Variables: ARGS (passed on, as in make train ARGS="--minutes 5"), PYTHON (the interpreter), VENV (the environment).

VENV ?= .venv

# The extras of pyproject.toml to install. Default: those that the goals need.
comma := ,
empty :=
space := $(empty) $(empty)
extra_of = $(if $(filter $(1),$(MAKECMDGOALS)),$(2))
goal_extras = $(subst $(space),$(comma),$(strip $(call extra_of,train,plot) $(call extra_of,test,test) \
  $(call extra_of,check,dev) $(call extra_of,bench,bench) $(call extra_of,docs,docs) $(call extra_of,mutants,mutants)))
EXTRAS ?= $(goal_extras)
# Whether to compile the level that only the tests use. Once it is there, it stays.
for_tests := $(if $(filter test mutants,$(MAKECMDGOALS))$(wildcard $(VENV)/for-tests),ON,OFF)

# The module that `make mutants` changes, and the tests that it runs.
MODULE ?= xrnn/losses.py
TESTS ?= tests/test_losses.py

size := $(if $(findstring docs,$(EXTRAS)), (0.5 GB))$(if $(findstring bench,$(EXTRAS)), (with PyTorch))

installed := $(VENV)/installed-$(EXTRAS)$(if $(filter ON,$(for_tests)),-for-tests)
pip := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
kernel_sources := CMakeLists.txt tests/backends/numpy/test_levels.cpp $(shell find backends/numpy tests/peephole -name "*.cpp" -o -name "*.h" -o -name "*.hpp")

.PHONY: help train test check bench docs mutants gpu-check lines clean
.DELETE_ON_ERROR:

help:
	@echo "make train      train a language model: one minute, no data to fetch"
	@echo "make test       run the tests, on all cores (on one with ARGS, as in make test ARGS='-k rnn')"
	@echo "make check      check formatting, lint, types and the direction of imports"
	@echo "make bench      benchmark xrnn beside the other libraries: half an hour (ARGS=--quick: half a minute)"
	@echo "make docs       build the documentation site: build/docs/index.html (0.5 GB of packages, three minutes)"
	@echo "make mutants    mutation tests of one module: MODULE=xrnn/losses.py TESTS=tests/test_losses.py"
	@echo "make gpu-check  on a machine with a GPU, without network: benchmarks, sanitizers and tests, nine minutes"
	@echo "make lines      count the lines of code, by folder"
	@echo "make clean      remove the environment and build outputs"
	@echo
	@echo "The first target creates .venv and compiles the C++ kernels, which takes about a minute."

train: $(installed)
	$(VENV)/bin/python docs/examples/train_text.py $(ARGS)

# The tests start many processes: with bytecode in a folder of its own, they need not compile the modules each time.
test: $(installed)
	PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX="$(abspath $(VENV))/bytecode" $(VENV)/bin/python -m pytest $(or $(ARGS),--numprocesses=auto --maxprocesses=8 --dist=worksteal)

check: $(installed)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(installed)
	$(VENV)/bin/python -m benchmarks $(ARGS)

docs: $(installed)
	$(VENV)/bin/python -m sphinx --fail-on-warning --keep-going -q -b html -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

mutants: $(installed)
	sed 's|xrnn/losses.py|$(MODULE)|; s|tests/test_losses.py|$(TESTS)|' .ci/mutants.toml > $(VENV)/mutants.toml
	$(VENV)/bin/cosmic-ray init --force $(VENV)/mutants.toml $(VENV)/mutants.sqlite
	$(VENV)/bin/cr-filter-operators $(VENV)/mutants.sqlite $(VENV)/mutants.toml
	PATH="$(abspath $(VENV))/bin:$$PATH" $(VENV)/bin/cosmic-ray exec $(VENV)/mutants.toml $(VENV)/mutants.sqlite
	$(VENV)/bin/cr-report --surviving-only --show-diff $(VENV)/mutants.sqlite

# Runs on the packages that PYTHON already has and downloads nothing. make gpu-check ARGS="--out FOLDER --minutes 9"
gpu-check:
	PYTHON=$(or $(PYTHON),python3) .ci/gpu-check $(ARGS)

lines:
	@git ls-files '*.py' '*.pyi' '*.c' '*.cpp' '*.h' '*.cu' '.ci/*' | xargs wc -l | awk '$$2 != "total" { \
	  parts = split($$2, part, "/"); folder = part[1] (parts > 2 ? "/" part[2] : ""); lines[folder] += $$1; all += $$1 } \
	  END { for (folder in lines) printf "%7d %s\n", lines[folder], folder; printf "%7d all\n", all }' | sort -k2

clean:
	rm -rf $(VENV) build dist

$(installed): pyproject.toml $(kernel_sources) | $(VENV)/bin/activate
	@echo "Installing the packages [$(EXTRAS)]$(size) and compiling the C++ kernels: about a minute the first time," \
	  "and longer if the network is slow." >&2
	$(pip) install $$($(VENV)/bin/python -c "import tomllib as t; \
	  print(*t.load(open('pyproject.toml', 'rb'))['build-system']['requires'])")
	$(pip) install $$($(VENV)/bin/python -c "import scikit_build_core.build as b; \
	  print('numpy', *b.get_requires_for_build_editable())")
	$(pip) install --no-build-isolation --config-settings=build-dir='$(VENV)/build/{wheel_tag}' \
	  --config-settings=cmake.define.XRNN_FOR_TESTS=$(for_tests) -e '.$(if $(EXTRAS),[$(EXTRAS)])'
	@$(if $(filter ON,$(for_tests)),touch $(VENV)/for-tests)
	@$(VENV)/bin/python -c 'from xrnn.backends.numpy import _kernels' 2>/dev/null || echo \
	  "The C++ kernels did not compile: xrnn runs on its slower plain forms. Remedy: apt-get install g++ python3-dev," \
	  "then make clean and make again (pip install -v -e . shows the compiler's error)."
	@touch $@

# `activate` is the last file that venv writes, so an interrupted venv is created again.
$(VENV)/bin/activate:
	@found=; for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  found=$$python; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
	  echo "$$python -m venv $(VENV)  # $$("$$python" --version)"; \
	  exec "$$python" -m venv --clear $(VENV); \
	done; \
	if [ "$$found" ]; then \
	  echo "$$found can't create virtual environments: apt-get install python3-venv, then make again." >&2; \
	else \
	  echo "No Python 3.11 or newer found: apt-get install python3 python3-venv, or make PYTHON=/path/to/python." >&2; \
	fi; exit 1
