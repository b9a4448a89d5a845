# make train   set everything up, then run the main job:  make train ARGS="schedule=one_cycle data=fashion_mnist"
# make test    set everything up, then run every test
# make lint    style and the direction of imports

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTS := $(VENV)/.ready-for-tests

.PHONY: train test fast lint setup clean

train: $(READY)
	$(BIN)/python train.py $(ARGS)

test: $(TESTS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(ARGS)

fast: $(TESTS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

lint: $(TESTS)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

setup: $(TESTS)

# Runs again only when pyproject.toml changes. torch and torchvision come from one index, as a matching pair.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch torchvision
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

# Every extra: what is optional for a user is tested all the same.
$(TESTS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,timm,onnx,optuna,joblib,submitit]"
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .import_linter_cache
