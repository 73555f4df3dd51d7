# make run     a daemon of your own, in the foreground       make test    every test
# make check   ruff, mypy --strict, architecture             make bench   side by side with the peers
# make fuzz    a million hostile inputs                      make kernels compile the native kernels in place
#
# Everything lives in .venv and ./var; `make clean` takes away what was built, `make distclean` .venv as well.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CONF ?= conf/quickstart.toml
FUZZ_CASES ?= 1000000

.PHONY: help run test fast pure system check lint types architecture bench fuzz kernels clean distclean
.DELETE_ON_ERROR:

help:
	@sed -n '1,5s/^# \{0,1\}//p' Makefile

# --- the virtual environment -----------------------------------------------------------------------------------

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "cadtwist: no $(PYTHON) here. On Debian: apt install python3 python3-venv (or: make PYTHON=/path/to/python3)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "cadtwist: $(PYTHON) is older than 3.10 (or: make PYTHON=/path/to/newer/python3)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "cadtwist: $(PYTHON) has no venv module. On Debian: apt install python3-venv"; exit 1; }
	@echo "cadtwist: making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# The checkout itself is installed, so that changes of Python files count at once; the .pth file shows twistd our rows.
# install(what, environment)
define install
	@echo "cadtwist: installing $(1) (needs the network, or a pip that is configured for a mirror)"
	@$(2) $(PIP) install --editable '$(1)' || { \
	  echo "cadtwist: pip could not install; is the package index reachable? (pip config list)"; exit 1; }
	@$(BIN)/python -c 'import os, sysconfig; \
	  open(os.path.join(sysconfig.get_path("purelib"), "cadtwist-checkout.pth"), "w").write(os.getcwd() + "\n")'
	@touch $@
endef

SOURCES_TO_COMPILE := $(wildcard cadtwist/kernels/*.pyx cadtwist/kernels/*.pxd cadtwist/kernels/*.h)

$(VENV)/.run: pyproject.toml setup.py twisted/plugins/cadtwist_plugin.py $(SOURCES_TO_COMPILE) | $(BIN)/python
	$(call install,.,)
	@if $(IS_NATIVE); then touch $(VENV)/.kernels; fi

$(VENV)/.test: pyproject.toml setup.py twisted/plugins/cadtwist_plugin.py | $(BIN)/python
	$(call install,.[test],CADTWIST_PURE=1)
	@touch $(VENV)/.run

$(VENV)/.dev: pyproject.toml | $(VENV)/.test
	$(call install,.[test$(comma)dev],CADTWIST_PURE=1)

comma := ,

# --- native kernels --------------------------------------------------------------------------------------------

# A compiler counts when it compiles a file with Python's headers.
HAS_COMPILER = printf '\043include <Python.h>\n' | $${CC:-cc} -I"$$($(BIN)/python -c 'import sysconfig; \
  print(sysconfig.get_path("include"))')" -x c -fsyntax-only - >/dev/null 2>&1

IS_NATIVE = $(BIN)/python -c 'import sys; from cadtwist.kernels.active import NATIVE; sys.exit(not NATIVE)' 2>/dev/null
COMPILED = [ -e $(VENV)/.kernels ] && [ -z "$$(find setup.py cadtwist/kernels \
  \( -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name setup.py \) -newer $(VENV)/.kernels)" ] && $(IS_NATIVE)

# Compiled anew only when a source is newer than the last time, or when what is there does not load.
kernels: $(VENV)/.test
	@if [ "$$CADTWIST_PURE" = 1 ]; then \
	  echo "cadtwist: CADTWIST_PURE=1, the Python twins serve"; \
	elif $(COMPILED); then \
	  :; \
	elif $(HAS_COMPILER); then \
	  echo "cadtwist: compiling the native kernels (a minute or two)"; \
	  CADTWIST_REQUIRE_NATIVE=1 $(BIN)/python -W ignore setup.py --quiet build_ext --inplace && touch $(VENV)/.kernels; \
	else \
	  echo "cadtwist: no C compiler with Python's headers, the Python twins serve. On Debian: apt install gcc libc6-dev python3-dev"; \
	fi

# --- what people ask for ---------------------------------------------------------------------------------------

run: $(VENV)/.run
	@$(BIN)/cadtwist --version
	@$(HAS_COMPILER) || echo "cadtwist: for native speed: apt install gcc libc6-dev python3-dev, then make distclean run"
	@mkdir -p var
	@printf '%s\n' '' \
	  'Web page and API   http://127.0.0.1:18011/' \
	  'Send a point       echo "test.hello 42 $$(date +%s)" | nc -w 1 127.0.0.1 2003    (no nc? in bash: > /dev/tcp/127.0.0.1/2003)' \
	  'Send a counter     echo "test.counter 42" | nc -w 1 127.0.0.1 8111    (counters: http://127.0.0.1:8110/)' \
	  'Read it back       curl "http://127.0.0.1:18011/render?target=test.hello&from=-5min&format=json"' \
	  'Stop               Ctrl-C' ''
	@exec $(BIN)/twistd -n --pidfile= cadtwist -c $(CONF)

test: kernels
	@$(BIN)/python tests/lanes.py native pure system

fast: kernels
	@$(BIN)/python tests/lanes.py native

pure: $(VENV)/.test
	@$(BIN)/python tests/lanes.py pure

system: kernels
	@$(BIN)/python tests/lanes.py system

check: lint types architecture

lint: $(VENV)/.dev
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

architecture: $(VENV)/.dev
	$(BIN)/python -m twisted.trial --reporter=text --temp-directory=_trial_temp_architecture tests.test_architecture

bench: kernels
	$(BIN)/python benchmarks/run.py $(BENCH)

fuzz: kernels
	CADTWIST_SEED=random FUZZ_CASES=$(FUZZ_CASES) $(BIN)/python -m twisted.trial tests.fuzz

clean:
	rm -rf build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .hypothesis
	rm -f cadtwist/kernels/*.c cadtwist/kernels/*.so twisted/plugins/dropin.cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) .venv-neighbours
