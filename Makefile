# make train    train the demonstration model: one minute, no data to fetch
# make test     run the tests, one process a core; in a single one where ARGS say which tests
# make check    formatting, lint, types, and the direction of imports
# make bench    measure, and compare with the other libraries
# make mutants  change the code in small ways, and list those that no test notices; ARGS="xrnn/gradcheck.py" says where;
#               docs/mutants.md says how it is done, and what it found
# make gpu-check   on a machine with a GPU, without network: benchmarks, sanitizers and tests, nine minutes
# make clean    remove what the others made
#
# Each but gpu-check makes the environment it needs in .venv first, anew where pyproject.toml or C++ code changed.
# ARGS are passed on: make train ARGS="--minutes 5", make test ARGS="-k rnn". PYTHON and VENV say which and where.

VENV ?= .venv

# What the environment holds besides xrnn: extras of pyproject.toml, those of the goals unless you give them.
comma := ,
goal_extras = test$(if $(filter check,$(MAKECMDGOALS)),$(comma)dev)$(if $(filter bench,$(MAKECMDGOALS)),$(comma)bench)$(if $(filter mutants,$(MAKECMDGOALS)),$(comma)mutants)
EXTRAS ?= $(goal_extras)

installed := $(VENV)/installed-$(EXTRAS)
kernel_sources := CMakeLists.txt $(shell find backends/numpy -name "*.cpp" -o -name "*.h" -o -name "*.hpp")

.PHONY: train test check bench mutants gpu-check clean
.DELETE_ON_ERROR:

train: $(installed)
	$(VENV)/bin/xrnn train $(ARGS)

test: $(installed)
	$(VENV)/bin/python -m pytest $(or $(ARGS),--numprocesses=auto --maxprocesses=8 --dist=worksteal)

check: $(installed)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(installed)
	$(VENV)/bin/python -m benchmarks $(ARGS)

mutants: $(installed)
	$(VENV)/bin/python .ci/mutants.py $(ARGS)

# On PYTHON as it is: nothing is fetched. make gpu-check ARGS="--out FOLDER --minutes 9"
gpu-check:
	PYTHON=$(or $(PYTHON),python3) .ci/gpu-check $(ARGS)

clean:
	rm -rf $(VENV) build dist

$(installed): pyproject.toml $(kernel_sources) | $(VENV)/bin/activate
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --config-settings=build-dir='$(VENV)/build/{wheel_tag}' -e '.[$(EXTRAS)]'
	@$(VENV)/bin/python -c 'from xrnn.backends.numpy import _kernels' 2>/dev/null || echo \
	  "No compiled kernels: xrnn runs on its plain forms. For the faster ones: apt-get install g++ python3-dev," \
	  "then make clean and again (pip install -v -e . says what failed)."
	@touch $@

# `activate` is the last file that venv writes: an interrupted one is made again.
$(VENV)/bin/activate:
	@found=; for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  found=$$python; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
	  echo "$$python -m venv $(VENV)  # $$("$$python" --version)"; \
	  exec "$$python" -m venv --clear $(VENV); \
	done; \
	if [ "$$found" ]; then \
	  echo "$$found can't make virtual environments: apt-get install python3-venv, then make again." >&2; \
	else \
	  echo "No Python 3.11 or newer here: apt-get install python3 python3-venv, or make PYTHON=/path/to/one." >&2; \
	fi; exit 1
