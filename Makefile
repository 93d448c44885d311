# Everything sets itself up: `make demo` and `make test` work on a bare Debian or Ubuntu machine.

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint requirements.lock

.PHONY: help setup demo test firmware-tools bench lint format lock clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed  ## Make .venv with the pinned dependencies and the edfv command

demo: $(VENV)/.installed  ## Run the virtual rig, the real node and a subscriber; pictures go to demo_output/
	$(BIN)/python -m edfv_ros.demo --out demo_output

test: $(VENV)/.installed-test lint firmware-tools  ## Run linters, type checks and all tests
	$(BIN)/python -m pytest

firmware-tools:
	@sh tools/install_firmware_tools.sh

bench: $(VENV)/.installed-test  ## Measure how fast things are; numbers go to bench.json, too, and a picture to bench.png
	$(BIN)/python -m edfv_ros.bench --json bench.json

lint: $(VENV)/.installed-test  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-test  ## Apply the code style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## Rewrite requirements.lock (needs uv; torch pins its CUDA packages itself)
	echo "torch==2.13.0" | uv pip compile setup.py --all-extras --universal --python-version 3.10 \
		--constraint - --no-annotate --no-header --quiet \
		| grep -vE '^(nvidia-|cuda-|triton|onnxruntime-gpu)' > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:  ## Remove the virtual environment and everything made by running
	rm -rf $(VENV) demo_output bench.json bench.png build firmware/build install log *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	sh tools/make_venv.sh $(VENV)

$(VENV)/.installed: $(VENV)/bin/python requirements.lock setup.py
	@echo "Installing edfv_ros and its pinned dependencies into $(VENV) ..."
	$(INSTALL) --editable ".[ros-wheels]"
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing the test tools into $(VENV) ..."
	$(INSTALL) --editable ".[ros-wheels,test,train]"
	@touch $@
