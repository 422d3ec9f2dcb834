VENV ?= .venv
PY   := $(VENV)/bin/python
PIP  := $(PY) -m pip --disable-pip-version-check install -q -c constraints.txt

.PHONY: demo test check bench docs clean

demo: $(VENV)/.core  ## phantom archive, fit, screen, report: the whole tour without any data
	$(VENV)/bin/intact demo -o demo

test: $(VENV)/.test system check  ## everything CI runs
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadscope

check: $(VENV)/.test  ## lint and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/.test  ## rerun the published numbers; needs INTACT_DATA and INTACT_WEIGHTS
	$(PY) benchmarks/anomaly.py
	$(PY) benchmarks/choose.py
	$(PY) benchmarks/above_floor.py
	$(PY) benchmarks/sharpness.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/few_normals.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/few_shot.py --rounds 100
	OMP_NUM_THREADS=1 $(PY) benchmarks/volumes.py
	$(PY) benchmarks/screen_speed.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/bank.py
	$(PY) benchmarks/seal_exact.py
	$(PY) benchmarks/localise.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/hiding.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/hiding_speed.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/attack_success.py .victims
	OMP_NUM_THREADS=1 $(PY) benchmarks/reversible.py .victims
	OMP_NUM_THREADS=1 $(PY) benchmarks/protect_trials.py .victims .victims/trials
	OMP_NUM_THREADS=1 $(PY) benchmarks/protection_lasts.py .victims
	OMP_NUM_THREADS=1 $(PY) benchmarks/segment_classical.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/segment_learned.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/segment_speed.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/forensics.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/forensics_copies.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/forensics_alarms.py --images 0
	OMP_NUM_THREADS=1 $(PY) benchmarks/forensics_series.py
	OMP_NUM_THREADS=1 $(PY) benchmarks/forensics_speed.py

docs: $(VENV)/.test  ## write docs/results and README's tables from benchmarks/results
	$(PY) benchmarks/tables.py

# The tests open reports in a browser and let DCMTK read DICOM files. Where the two can be installed they
# are; elsewhere those tests are skipped, except in CI.
.PHONY: system
system:
	@{ command -v chromium && command -v dcmdump; } >/dev/null || { [ "$$(id -u)" = 0 ] \
	  && command -v apt-get >/dev/null && apt-get update -q \
	  && apt-get install -q -y --no-install-recommends chromium dcmtk; } \
	  || echo "chromium or dcmtk is not installed: the tests that need them will be skipped"

$(VENV)/.core: pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache
