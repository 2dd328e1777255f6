# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# ivshmem_rs: the kernel module, its tests and its tools. `make help` lists the targets;
# Documentation/building.rst explains how the kernel to build for is found.

MAKEFLAGS += --no-print-directory --no-builtin-rules
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := modules

SANDBOX := tools/scripts/sandbox
ENTER := $(SANDBOX)/enter
GUEST_CFLAGS := -O2 -Wall -Wextra -Werror -static -I include -I include/uapi

# What `tools/scripts/sandbox/info` says; empty when the sandbox is not prepared. (The shell of an older make does not see
# the command line's KERNEL, the programs of recipes do.)
sandbox_info = $(shell KERNEL=$(KERNEL) $(SANDBOX)/info 2>/dev/null | sed -n 's/^$(1)=//p')

# --- Which kernel -----------------------------------------------------------------------------------------------------

# KERNEL, a name in tools/scripts/sandbox/kernels, if given; else KDIR if given; else the running kernel's build directory if
# it has Rust metadata; else the sandbox's default kernel.
# ARCH=arm64 alone is KERNEL=arm64.
ifeq ($(ARCH)$(KERNEL),arm64)
  KERNEL := arm64
  export KERNEL
endif
running_release := $(shell uname -r)
running := /lib/modules/$(running_release)/build
comma := ,
ifneq ($(KERNEL),)
  ifneq ($(filter-out sandbox,$(KDIR)),)
    $(error KERNEL=$(KERNEL) and KDIR=$(KDIR) each name a kernel to build for. Give one of them)
  endif
  override KDIR := sandbox
endif
ifeq ($(KDIR),)
  override KDIR := $(if $(wildcard $(running)/rust/libkernel.rmeta),$(running),sandbox)
  why_not_running := $(if $(wildcard $(running)/.),$(running) has no Rust metadata,no headers of the running kernel$(comma) \
	$(running_release)$(comma) are installed)
  chosen := $(if $(filter sandbox,$(KDIR)),: the sandbox's$(comma) because $(why_not_running))
  # Nobody who wants a module for the running kernel, in a guest perhaps, is to wait for a download of another's.
  ifneq ($(and $(chosen),$(filter modules,$(or $(MAKECMDGOALS),modules))),)
    ifeq ($(call sandbox_info,KDIR),)
      $(error $(why_not_running)$(comma) so nothing can be built for the running kernel. Install \
	headers with the kernel's Rust metadata (Debian's lack it: see Documentation/packaging.rst); name another kernel's build \
	directory by KDIR=DIR; or run 'make KDIR=sandbox'$(comma) which prepares Debian's stock kernel and its compilers \
	(a download of 700 MB$(comma) 6 GB of disk meanwhile) and builds for that)
    endif
  endif
endif

ifneq ($(filter $(KDIR),sandbox $(call sandbox_info,KDIR)),)
  kernel_needs := sandbox-ready
  in_kernel := $(ENTER)
  kdir = $(call sandbox_info,KDIR)
  kernel_args = ARCH=$(call sandbox_info,KERNEL_ARCH) CROSS_COMPILE=$(call sandbox_info,KERNEL_TRIPLET)- \
	CC=$(call sandbox_info,KERNEL_CC)
else
  kernel_needs :=
  in_kernel :=
  kdir := $(KDIR)
  kernel_args :=
endif

# The command line's KDIR is ours; kbuild gets its own arguments. $(1) is the directory for what it makes, $(2) that of the
# sources.
kbuild = $(in_kernel) make -C $(kdir) $(kernel_args) M=$(CURDIR)/$(or $(2),src) MO=$(CURDIR)/$(1)

# kbuild does not notice when it makes the same files for another kernel: the directory remembers for which.
built_for = $(kdir) $(shell cat $(kdir)/include/config/kernel.release) $(shell stat -c %Y $(kdir)/rust/libkernel.rmeta)

# Each KERNEL has a directory of its own.
module_dir = build/module$(addprefix -,$(KERNEL))

.PHONY: modules
modules: module_dir := $(if $(CLIPPY),build/clippy,$(module_dir))
modules: kernel-accepted
	@if [ "$$(cat $(module_dir)/kernel 2>&1)" != "$(built_for)" ]; then \
		rm -rf $(module_dir); mkdir -p $(module_dir); echo "$(built_for)" >$(module_dir)/kernel; \
		echo "Building for kernel $$(cut -d' ' -f2 $(module_dir)/kernel)$(chosen)"; fi
	+@$(call kbuild,$(module_dir)) modules || $(if $(in_kernel),exit,tools/scripts/kdir-check --failed $(kdir))
	@$(if $(chosen),$(if $(filter modules,$(or $(MAKECMDGOALS),modules)),$(warn_of_other_kernel)))

# Who asked for no kernel may want to load the module here.
define warn_of_other_kernel
release=$$(cut -d' ' -f2 $(module_dir)/kernel); [ "$$release" = "$(running_release)" ] || \
	echo "Warning: $(module_dir)/ivshmem_rs.ko is for kernel $$release and does not load into the running one," \
		"$(running_release): $(why_not_running)." >&2
endef

.PHONY: kernel-accepted
kernel-accepted: $(kernel_needs)
	@$(in_kernel) tools/scripts/kdir-check $(kdir)

# --- Installing -------------------------------------------------------------------------------------------------------

# `sudo make install` builds and prepares nothing as root: it installs what is built. Programs are optional, for a guest
# needs none.
PREFIX ?= /usr/local
prefix = $(DESTDIR)$(PREFIX)
version = $(shell sed -n 's/^version = "\(.*\)"/\1/p' tools/Cargo.toml)
programs := ivshmem-server ivshmem-emu ivshmemctl
built_programs := $(addprefix tools/target/release/,$(programs))

# $(1): commands that print completions for the shell that they are given.
define install_completions
@mkdir -p $(addprefix $(prefix)/share/,bash-completion/completions zsh/site-functions fish/vendor_completions.d)
@cd tools/target/release; share=$(abspath $(prefix)/share); \
	for completions in $(1); do \
		program=$${completions%% *}; \
		./$$completions bash >$$share/bash-completion/completions/$$program; \
		./$$completions zsh >$$share/zsh/site-functions/_$$program; \
		./$$completions fish >$$share/fish/vendor_completions.d/$$program.fish; \
	done
endef

.PHONY: install install-rest install-module install-system install-headers install-programs
install: install-module install-rest

# All but the module, as far as it is built.
install-rest: install-system install-headers
	+@if [ -e tools/target/release/libivshmem_channel_c.so ]; then $(MAKE) install-library; \
		else echo "The library of channels is not built, so neither it nor its header and manual page is installed:" \
			"see 'make library'."; fi
	+@if ls $(built_programs) >/dev/null 2>&1; then $(MAKE) install-programs; \
		else echo "The host's programs are not all built, so not installed: see 'make programs'."; fi
	+@if [ -e build/man/ivshmem.4 ]; then $(MAKE) install-man; \
		else echo "The manual pages of the interface are not made, so not installed: see 'make man', which prepares" \
			"the sandbox first."; fi

# What `make install` of this checkout, as it is built now, would install: it is installed into a directory of its own, and what
# is there is removed, with directories that are empty then. Of the running system those stay that it has anyway; groups stay too.
.PHONY: uninstall
uninstall: module = $(wildcard $(module_dir)/ivshmem_rs.ko)
uninstall: ours = $(if $(DESTDIR),.,^$(PREFIX)/[^/]+/|/updates$$)
uninstall: removed_from = cd "$$stage/$(1)"; \
	find . ! -type d -printf '$(2)/%P\0' | (cd / && xargs -0r rm -fv --); \
	find . -mindepth 1 -depth -type d -printf '$(2)/%P\n' | { grep -E '$(ours)' || true; } | \
		{ grep -vx '$(PREFIX)/share/man' || true; } | xargs -rd '\n' rmdir --ignore-fail-on-non-empty 2>/dev/null || true
uninstall:
	+@stage=$$(mktemp -d); trap 'rm -rf "$$stage"' EXIT; \
		mkdir "$$stage/module" "$$stage/rest"; \
		$(MAKE) $(if $(module),install-module) install-rest \
			DESTDIR="$$stage/rest" INSTALL_MOD_PATH="$$stage/module" >/dev/null; \
		($(call removed_from,module,$(abspath $(or $(INSTALL_MOD_PATH),$(DESTDIR))))); \
		($(call removed_from,rest,$(abspath $(DESTDIR))))
	@$(if $(module),,echo "The module is not built here, so it was not looked for: see 'make'.")
	@$(if $(DESTDIR)$(INSTALL_MOD_PATH),,$(if $(module),depmod $(word 2,$(shell cat $(module_dir)/kernel));) udevadm control --reload)

# For the kernel that the module was built for. Staged, because inside the sandbox /lib/modules is the sandbox's. The
# sandbox has no key to sign with. Kbuild warns when it cannot call depmod, which is called here; below DESTDIR, whoever
# makes a package of it has to call it where that is installed.
install-module: INSTALL_MOD_PATH ?= $(DESTDIR)
install-module: kdir = $(word 1,$(shell cat $(module_dir)/kernel 2>/dev/null))
install-module: release = $(word 2,$(shell cat $(module_dir)/kernel 2>/dev/null))
install-module: from_sandbox = $(wildcard $(kdir)/../root/usr)
install-module: in_kernel = $(if $(from_sandbox),SANDBOX_ROOT=$(kdir)/../root $(ENTER))
install-module: kernel_args = DEPMOD=true $(if $(from_sandbox),CONFIG_MODULE_SIG_ALL=)
install-module:
	@[ -e $(module_dir)/ivshmem_rs.ko ] || { echo "Nothing is built yet: run 'make' first." >&2; exit 1; }
	@[ -n "$(INSTALL_MOD_PATH)" ] || [ -d /lib/modules/$(release) ] || { \
		echo "The module was built for kernel $(release), which is not installed here. Build it with the KDIR of an" \
			"installed kernel, or give INSTALL_MOD_PATH=DIR to put it below DIR." >&2; exit 1; }
	+@stage=$$(mktemp -d); trap 'rm -rf "$$stage"' EXIT; \
		$(call kbuild,$(module_dir)) modules_install INSTALL_MOD_PATH="$$stage" \
			2> >(grep -v "missing 'System.map' file. Skipping depmod" >&2); \
		mkdir -p "$(INSTALL_MOD_PATH)/lib/modules/$(release)"; \
		cp -R "$$stage/lib/modules/$(release)/updates" "$(INSTALL_MOD_PATH)/lib/modules/$(release)/"
	@$(if $(DESTDIR),,$(if $(INSTALL_MOD_PATH),$(in_kernel)) depmod --basedir "$(abspath $(INSTALL_MOD_PATH))/" $(release))

# The sources, where DKMS takes them from: `dkms install ivshmem-rs/VERSION` builds and installs the module. Not a part of
# install, which installs the module itself.
.PHONY: install-dkms
install-dkms: dir = $(DESTDIR)/usr/src/ivshmem-rs-$(version)
install-dkms:
	mkdir -p $(dir)/src $(dir)/tools/scripts/sandbox
	cd src && find . \( -name '*.rs' -o -name '*.[ch]' -o -name Kbuild \) -exec cp --parents -t $(abspath $(dir))/src {} +
	cp tools/scripts/rust-kdir $(dir)/tools/scripts/
	cp tools/scripts/sandbox/kdir $(dir)/tools/scripts/sandbox/
	sed 's/#MODULE_VERSION#/$(version)/' dist/dkms.conf >$(dir)/dkms.conf

# What install-dkms and DKMS have of this version.
.PHONY: uninstall-dkms
uninstall-dkms:
	@if [ -z "$(DESTDIR)" ] && dkms status -m ivshmem-rs -v $(version) 2>/dev/null | grep -q .; then \
		dkms remove ivshmem-rs/$(version) --all; fi
	rm -rf -- "$(DESTDIR)/usr/src/ivshmem-rs-$(version)"

# Who may use the node. In the running system it holds for devices that come from now on.
install-system:
	install -D -m 0644 -t $(prefix)/lib/udev/rules.d dist/guest/60-ivshmem.rules
	install -D -m 0644 dist/guest/ivshmem.sysusers $(prefix)/lib/sysusers.d/ivshmem.conf
	install -D -m 0644 dist/guest/ivshmem.modprobe $(prefix)/share/doc/ivshmem-rs/modprobe.conf
	install -D -m 0644 -t $(prefix)/share/doc/ivshmem-rs dist/guest/ivshmem-links.rules
	@if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then \
		systemd-sysusers $(prefix)/lib/sysusers.d/ivshmem.conf; udevadm control --reload; fi

# The headers that programs in C and C++ are compiled with, and what tells pkg-config of them.
install-headers:
	install -D -m 0644 -t $(prefix)/include $(filter-out include/libivshmem_channel.h,$(wildcard include/*.h))
	install -D -m 0644 -t $(prefix)/include/linux include/uapi/linux/ivshmem_rs.h
	@mkdir -p $(prefix)/share/pkgconfig
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(version)|' include/libivshmem.pc.in >$(prefix)/share/pkgconfig/libivshmem.pc

.PHONY: programs
programs:
	cd tools && cargo build --release --locked $(addprefix --package ,$(programs))

# For a guest without the C library. A target triple is named so that build scripts and macros stay dynamic.
STATIC_TARGET ?= x86_64-unknown-linux-gnu
.PHONY: ctl-static
ctl-static:
	cd tools && RUSTFLAGS='-C target-feature=+crt-static' CARGO_PROFILE_RELEASE_STRIP=true \
		cargo build --release --locked --target $(STATIC_TARGET) --package ivshmemctl
	@echo tools/target/$(STATIC_TARGET)/release/ivshmemctl

# The way to other hosts. Zenoh brings so many crates that it has a workspace of its own, and none of the other targets
# builds it.
bridge := tools/bin/ivshmem-bridge
.PHONY: bridge install-bridge test-bridge test-bridge-long bench-bridge check-bridge
bridge:
	cd $(bridge) && cargo build --release --locked

install-bridge: share = $(prefix)/share
install-bridge:
	install -D -m 0755 -t $(prefix)/bin tools/target/release/ivshmem-bridge
	install -D -m 0644 -t $(prefix)/lib/systemd/system dist/bridge/ivshmem-bridge.service
	sed -i 's|/usr/bin/|$(PREFIX)/bin/|' $(prefix)/lib/systemd/system/ivshmem-bridge.service
	install -D -m 0644 -t $(share)/doc/ivshmem-bridge dist/bridge/example.toml dist/bridge/zenoh.json5
	@mkdir -p $(share)/man/man8
	cd tools/target/release && ./ivshmem-bridge --print-man-page >$(abspath $(share))/man/man8/ivshmem-bridge.8
	$(call install_completions,'ivshmem-bridge --print-completions')

# As root, for network namespaces. The sample's program in Python takes Zenoh's package, of the crate's version.
zenoh_python := build/zenoh-python/bin/python
zenoh_version = $(shell sed -n '/^name = "zenoh"$$/{n;s/version = "\(.*\)"/\1/p}' $(bridge)/Cargo.lock)
$(zenoh_python): $(bridge)/Cargo.lock
	python3 -m venv build/zenoh-python
	build/zenoh-python/bin/pip install --quiet "eclipse-zenoh~=$(zenoh_version)"
	@touch $@

test-bridge: $(zenoh_python)
	cd $(bridge) && ZENOH_PYTHON=$(abspath $(zenoh_python)) $(default_signals) cargo test --locked --no-fail-fast

# A million messages with 20 cuts of the link, for each policy: some minutes.
test-bridge-long:
	cd $(bridge) && BRIDGE_TEST_MESSAGES=1000000 BRIDGE_TEST_CUTS=20 \
		cargo test --locked --test hosts -- --nocapture --test-threads 1 many_messages_and_cuts

bench-bridge:
	cd $(bridge) && cargo bench --locked --bench hop

check-bridge:
	@echo "CHECK   the bridge: cargo fmt, clippy, rustdoc"
	@cd $(bridge) && cargo fmt --check
	@cd $(bridge) && cargo clippy --quiet --locked --all-targets -- -D warnings
	@cd $(bridge) && RUSTDOCFLAGS=-Dwarnings cargo doc --quiet --locked --no-deps --document-private-items

# libivshmem_channel. Its name has the version of its interface, which build.rs of the crate gives to the linker.
LIBDIR ?= $(PREFIX)/lib
libdir = $(DESTDIR)$(LIBDIR)
soname := libivshmem_channel.so.0
.PHONY: library install-library
library:
	cd tools && cargo build --release --locked --package ivshmem-channel-c

# The Python package over it.
.PHONY: wheel
wheel:
	python3 -m pip wheel --quiet --no-deps --wheel-dir build/wheel tools/python

install-library:
	install -D -m 0644 -t $(prefix)/include include/libivshmem_channel.h
	install -D -m 0644 tools/target/release/libivshmem_channel_c.so $(libdir)/libivshmem_channel.so.$(version)
	ln -sf libivshmem_channel.so.$(version) $(libdir)/$(soname)
	ln -sf $(soname) $(libdir)/libivshmem_channel.so
	install -m 0644 tools/target/release/libivshmem_channel_c.a $(libdir)/libivshmem_channel.a
	@mkdir -p $(libdir)/pkgconfig
	sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(version)|' include/libivshmem_channel.pc.in \
		>$(libdir)/pkgconfig/libivshmem_channel.pc
	@if [ -e build/man/libivshmem_channel.3 ]; then \
		install -v -D -m 0644 -t $(prefix)/share/man/man3 build/man/libivshmem_channel.3; fi

# Those of the interface, which are pages of Documentation; that of the library of channels goes with it.
.PHONY: install-man
install-man:
	install -D -m 0644 -t $(prefix)/share/man/man3 $(filter-out %/libivshmem_channel.3,$(wildcard build/man/*.3))
	install -D -m 0644 -t $(prefix)/share/man/man4 build/man/ivshmem.4

.PHONY: install-server-files install-manuals programs-built
programs-built:
	@ls $(built_programs) >/dev/null 2>&1 || { \
		echo "The host's programs are not all built: run 'make programs' first." >&2; exit 1; }

install-programs: programs-built install-server-files install-manuals
	install -D -m 0755 -t $(prefix)/bin $(built_programs)

# What a distribution ships beside the server.
install-server-files:
	install -D -m 0644 -t $(prefix)/lib/systemd/system $(wildcard dist/guest/*.service dist/server/*.service dist/server/*.socket dist/server/*.timer)
	sed -i 's|/usr/bin/|$(PREFIX)/bin/|' $(prefix)/lib/systemd/system/ivshmem-*@.service
	install -D -m 0644 dist/server/ivshmem-server.sysusers $(prefix)/lib/sysusers.d/ivshmem-server.conf
	install -D -m 0644 dist/server/ivshmem-server.tmpfiles $(prefix)/lib/tmpfiles.d/ivshmem-server.conf
	install -D -m 0644 -t $(prefix)/share/doc/ivshmem-rs dist/server/example.toml dist/server/ivshmem-server.apparmor \
		dist/guest/ivshmem-tunnel.env

# The programs write their manual pages and completions themselves.
install-manuals: share = $(prefix)/share
install-manuals:
	@mkdir -p $(addprefix $(share)/,man/man1 man/man8)
	cd tools/target/release && ./ivshmem-server --print-man-page >$(abspath $(share))/man/man8/ivshmem-server.8
	cd tools/target/release && ./ivshmem-emu --print-man-page >$(abspath $(share))/man/man1/ivshmem-emu.1
	cd tools/target/release && ./ivshmemctl manual $(abspath $(share))/man/man1
	$(call install_completions,'ivshmem-server --print-completions' 'ivshmem-emu --print-completions' 'ivshmemctl completions')

# --- The sandbox ------------------------------------------------------------------------------------------------------

.PHONY: sandbox sandbox-ready
sandbox:
	@$(SANDBOX)/prepare

sandbox-ready:
	@$(SANDBOX)/prepare --quiet

.PHONY: sandboxes
sandboxes:
	@for kernel in $(kernels); do KERNEL=$$kernel $(SANDBOX)/prepare --quiet || exit; done

# --- Programs for guests ----------------------------------------------------------------------------------------------

samples := $(wildcard samples/*.c samples/acrn/*.c)
selftests := $(wildcard tools/tests/selftests/*.c)
samples_cpp := $(wildcard samples/cpp/*.cpp)
guest_headers := $(wildcard include/*.h include/uapi/linux/*.h samples/*.h samples/cpp/*.hpp tools/tests/selftests/*.h)
guest_programs := $(patsubst %.c,build/guest/%,$(notdir $(samples) $(selftests))) \
	$(patsubst %.cpp,build/guest/%,$(notdir $(samples_cpp))) \
	$(patsubst %.c,build/guest32/%,$(notdir $(selftests)))
# Whose guests run others than those of x86.
ifeq ($(shell awk -v name=$(KERNEL) '!/^\#/ && $$1 == name { print $$2 }' $(SANDBOX)/kernels),arm64)
  guest_programs += $(patsubst %.c,build/guest-arm64/%,$(notdir $(samples) $(selftests)))
  # Guests of both architectures on one memory.
  with_others := $(if $(filter arm64,$(KERNEL)),amd64)
endif
vpath %.c samples samples/acrn tools/tests/selftests
vpath %.cpp samples/cpp

.PHONY: guest
guest: sandbox-ready $(guest_programs)

quiet = $(if $(filter 1,$(V)),,@)
define guest_program
@mkdir -p $(@D)
@echo '  CC      $@'
$(quiet)$(ENTER) $(1) $(GUEST_CFLAGS) -o $@ $<
endef

build/guest/%: %.c $(guest_headers) | sandbox-ready
	$(call guest_program,gcc -std=gnu11)

build/guest/%: %.cpp $(guest_headers) | sandbox-ready
	$(call guest_program,g++ -std=c++17)

build/guest32/%: %.c $(guest_headers) | sandbox-ready
	$(call guest_program,gcc -std=gnu11 -m32)

build/guest-arm64/%: %.c $(guest_headers) | sandbox-ready
	$(call guest_program,$(call sandbox_info,KERNEL_CC) -std=gnu11)

# --- Checks and tests -------------------------------------------------------------------------------------------------

# Programs that are sent these by tests inherit whether they are ignored: in the background of a script, and below nohup.
default_signals := env --default-signal=HUP,INT,QUIT

# Guests run the sandbox's kernels, so the modules for those are what is tested. With KERNEL, only guests of that kernel
# are, with the sets that guests.rs names for it, which are all for the default one; without, all is, in guests of the default
# kernel, and in guests of these what may differ there.
also_in_guests := rt cloud
.PHONY: test
test: guest
ifeq ($(KERNEL),)
	+@for kernel in '' $(also_in_guests); do $(MAKE) modules KDIR=sandbox KERNEL=$$kernel; done
	+@$(MAKE) importer KDIR=sandbox
	@$(SANDBOX)/stock-kernel
	@$(SANDBOX)/iperf3
	@$(SANDBOX)/apparmor
	cd tools && $(default_signals) cargo test --workspace --no-fail-fast
else
	+@for kernel in $(KERNEL) $(with_others); do $(MAKE) modules KERNEL=$$kernel; done
	@$(SANDBOX)/stock-kernel
	+@$(if $(filter $(KERNEL),$(firstword $(kernels))),$(MAKE) importer && KERNEL= $(SANDBOX)/iperf3)
	cd tools && $(default_signals) cargo test --package guest-tests --test guests
endif

# Random programs of system calls, as many as one likes, and others with another seed. CASE: only these.
PROGRAMS ?= 2500
SEED ?= 1
.PHONY: fuzz
fuzz: guest
	+@$(MAKE) modules KDIR=sandbox
	cd tools && IVSHMEM_FUZZ=$(PROGRAMS) IVSHMEM_FUZZ_SEED=$(SEED) cargo test --package guest-tests --test guests -- $(or $(CASE),fuzz::)

# Everything that stresses the driver at once, for so many hours, in one guest. SEED: those of a soak before.
.PHONY: soak
soak: guest
	+@$(MAKE) modules KDIR=sandbox
	cd tools && IVSHMEM_SOAK=$(or $(HOURS),1) IVSHMEM_SOAK_SEED=$(if $(filter file,$(origin SEED)),$$(date +%s),$(SEED)) \
		cargo test --package guest-tests --test guests -- soak::

# Which lines of the driver run in guest tests, by what QEMU wrote down: in any context, with the module as it is. Left out
# are for their time sets that come to no other lines. CASE: no others.
coverage_logs := build/coverage
coverage_skips := stock:: network:: channel:: samples:: ctl:: server::
COVERAGE ?= 92
.PHONY: coverage
coverage: guest
	+@$(MAKE) modules KDIR=sandbox
	+@$(MAKE) importer KDIR=sandbox
	@rm -rf $(coverage_logs)
	@mkdir -p $(coverage_logs)
	cd tools && COVERAGE_DIR=$(CURDIR)/$(coverage_logs) VMBENCH_QEMU=$(CURDIR)/tools/tests/coverage/qemu \
		IVSHMEM_GUEST_MODULE=$(CURDIR)/build/module/ivshmem_rs.ko \
		IVSHMEM_GUEST_IMPORTER=$(CURDIR)/build/importer/ivshmem_importer.ko \
		cargo test --package guest-tests --test guests -- $(or $(CASE),$(addprefix --skip ,$(coverage_skips)))
	@tools/tests/coverage/report build/module/ivshmem_rs.ko $(coverage_logs) --least $(COVERAGE)

# A module that imports dma-bufs, for guests of the default kernel.
.PHONY: importer
importer: kernel-accepted
	@mkdir -p build/importer
	+@$(call kbuild,build/importer,tools/tests/selftests/importer) modules

# A kernel that finds errors of memory and of locking by itself. Not part of `make test`: it has to be built, and is slow.
# KCSAN=1: one that finds data races instead of errors of memory.
debug_dir = $(shell KERNEL=$(KERNEL) KCSAN=$(KCSAN) $(SANDBOX)/debug-kernel --where)
# The rest of the kernel has neither.
debug_instrument = KCOV_INSTRUMENT=y
kcsan_rustflags := -Zsanitizer=thread $(addprefix -Cllvm-args=-tsan-,distinguish-volatile=1 instrument-func-entry-exit=0 \
	compound-read-before-write=1)
debug_kbuild = SANDBOX_ROOT=$(debug_dir)/root $(ENTER) make -C $(debug_dir)/kdir LLVM=1 $(debug_instrument) \
	$(if $(KCSAN),KRUSTFLAGS='$(kcsan_rustflags)')
# Left out: what needs more than this kernel (load: module signatures; OVMF: EFI; without KERNEL=rt dma-bufs, and with it
# large pages; hibernation), and for their time the same programs with 32 bits and the sets with several guests.
debug_skips := $(if $(KERNEL),cache:: paging::,dma_buf:: import::) 32:: load:: cache::ovmf \
	pair:: trio:: server:: network:: stock:: ctl:: channel:: acrn:: samples:: hibernate::

debug_build = build/debug$(addprefix -,$(KERNEL))$(if $(KCSAN),-kcsan)
# CASE, to run no others, and DEBUG_MODULE, another module than that of this source, are for `test-planted`.
DEBUG_MODULE = $(CURDIR)/$(debug_build)/ivshmem_rs.ko
.PHONY: debug-kernel debug-modules test-debug-kernel
debug-kernel: sandbox-ready
	@KCSAN=$(KCSAN) $(SANDBOX)/debug-kernel

debug-modules: debug-kernel
	@mkdir -p $(debug_build) $(debug_build)-importer
	+@$(debug_kbuild) M=$(CURDIR)/src MO=$(CURDIR)/$(debug_build) modules
ifneq ($(KERNEL),)
	+@$(debug_kbuild) M=$(CURDIR)/tools/tests/selftests/importer MO=$(CURDIR)/$(debug_build)-importer modules
endif

test-debug-kernel: $(if $(filter file,$(origin DEBUG_MODULE)),debug-modules) guest
	cd tools && KERNEL= VMBENCH_KERNEL=$(debug_dir)/bzImage VMBENCH_MEMORY_MIB=1024 IVSHMEM_TIME_SCALE=10 IVSHMEM_FAULTS=1 \
		IVSHMEM_SOAK=$(HOURS) IVSHMEM_GUEST_MODULE=$(DEBUG_MODULE) \
		IVSHMEM_GUEST_IMPORTER=$(CURDIR)/$(debug_build)-importer/ivshmem_importer.ko \
		cargo test --package guest-tests --test guests -- $(or $(CASE),$(addprefix --skip ,$(debug_skips)))

# Whether the tests find bugs that are planted in copies of the source. PLANTED: only these.
.PHONY: test-planted
test-planted: guest debug-kernel
	+@$(MAKE) debug-kernel KCSAN=1
	+@$(MAKE) modules KDIR=sandbox
	@tools/tests/planted/run $(PLANTED)

# Fetches two more QEMUs, so it is not part of `make test`.
.PHONY: test-qemu-versions
test-qemu-versions: programs sandbox-ready
	tools/bin/ivshmem-server/tests/qemu-versions tools/target/release

# --- In a kernel's tree ------------------------------------------------------------------------------------------------

# LINUX: the source of a kernel with Rust, not built in place. Without it, that of the sandbox's kernel is unpacked, without
# the parts that are never built here.
LINUX := build/in-tree/linux
in_tree_left_out := arch/[!x]*.[chS] arch/*.dts* sound/*.[ch] $(addprefix drivers/,gpu/*.[ch] media/*.[ch] net/[ew]*.[ch] \
	staging/*.[ch]) tools/perf/*
# linux-source-SERIES, the archive's directory.
in_tree_source = $(basename $(basename $(notdir $(call sandbox_info,KERNEL_SOURCE))))
build/in-tree/linux build/patches/linux: | sandbox-ready
	@echo "UNPACK  $@"
	@rm -rf $@ $@.part && mkdir -p $@.part
	@tar -x -C $@.part --strip-components=1 --wildcards --anchored $(patsubst %,--exclude='$(in_tree_source)/%',$(in_tree_left_out)) \
		-f $(call sandbox_info,KERNEL_SOURCE)
	@mv $@.part $@

# The driver in that tree: built as a module and built in, with and without what it can use, and booted.
in_tree_out := $(CURDIR)/build/in-tree/out
.PHONY: in-tree
in-tree: guest | $(if $(filter file,$(origin LINUX)),$(LINUX))
	@dist/in-tree/copy $(LINUX)
	@$(ENTER) dist/in-tree/build $(abspath $(LINUX)) $(in_tree_out)
	cd tools && KERNEL= VMBENCH_KERNEL=$(in_tree_out)/arch/x86/boot/bzImage IVSHMEM_GUEST_MODULE= \
		cargo test --package guest-tests --test guests

# The driver as a series of patches for that tree, or without LINUX for another one that nothing was copied to; and whether
# each of them builds, which takes hours.
patches_linux := $(if $(filter file,$(origin LINUX)),build/patches/linux,$(LINUX))
.PHONY: patches check-patches
patches: | sandbox-ready $(filter build/patches/linux,$(patches_linux))
	@dist/patches/make $(patches_linux) build/patches/series
check-patches: patches
	@dist/patches/check $(patches_linux) build/patches/series build/patches/check

# --- Measurements ------------------------------------------------------------------------------------------------------

# Guests run the sandbox's kernel, so its module is what is measured. ACCEL=kvm: with KVM, in nanoseconds.
ACCEL ?= tcg
bench_sources := tools/tests/ivshmem-bench
bench_programs := $(patsubst $(bench_sources)/guest/%.c,build/bench/%,$(wildcard $(bench_sources)/guest/*.c))
bench_headers := $(wildcard $(bench_sources)/guest/*.h $(bench_sources)/inject/*.h include/uapi/linux/*.h)

build/bench/%: $(bench_sources)/guest/%.c $(bench_headers) | sandbox-ready
	$(call guest_program,gcc -std=gnu11)

# Raises interrupts from inside of a guest.
.PHONY: bench-inject bench-ready
bench-inject: kernel-accepted
	@mkdir -p build/inject
	+@$(call kbuild,build/inject,$(bench_sources)/inject) modules

bench-ready: $(bench_programs)
	+@$(MAKE) modules bench-inject KDIR=sandbox

.PHONY: bench
bench: bench-ready
	cd tools && cargo run --release --locked --package ivshmem-bench -- measure --accel $(ACCEL) --json ../build/bench.json

# The documentation's page, from what `make bench` measured.
.PHONY: bench-docs
bench-docs:
	cd tools && cargo run --quiet --release --locked --package ivshmem-bench -- document ../build/bench.json

# Instructions of the hot paths against the baseline in the tree; bench-baseline writes that anew.
.PHONY: bench-check bench-baseline
bench-check bench-baseline: bench-ready
	cd tools && cargo run --quiet --release --locked --package ivshmem-bench -- check $(if $(filter bench-baseline,$@),--update)

# --- Demo --------------------------------------------------------------------------------------------------------------

.PHONY: demo
demo:
	@echo "Two virtual machines will boot and write to each other: half a minute. First, what they need is built:"
	$(if $(call sandbox_info,KDIR),,@echo "  - once, the sandbox of compilers$(comma) kernel and QEMU: 5 to 10 minutes$(comma) 700 MB to download")
	@echo "  - once in a checkout, the module and the programs: 3 to 6 minutes on two idle processors"
	+@$(MAKE) modules $(addprefix build/guest/,hello_send hello_receive pingpong) KDIR=sandbox
	@cd tools && cargo run --package demo

.PHONY: check
check: check-kdir check-module check-compile-fail check-clippy check-rustfmt check-checkpatch check-source check-circles check-planted \
	check-edits check-header check-scripts check-cargo check-crates check-licences check-docs
	@echo "All checks passed."

.PHONY: check-kdir check-module check-compile-fail check-clippy check-rustfmt check-checkpatch check-source check-circles check-planted \
	check-edits check-header check-scripts check-cargo check-crates check-licences
check-kdir:
	@echo "CHECK   refusals of unfit kernels"
	@tools/scripts/kdir-check.test >build/kdir-check.log || { cat build/kdir-check.log; exit 1; }
check-kdir check-module check-compile-fail check-clippy check-source check-circles: | build
build:
	@mkdir -p $@

# Built from nothing, so that no warning is missed; and again, which must make nothing, least of all in the kernel's directory.
check-module check-clippy: check-%: kernel-accepted
	@echo "CHECK   module$(if $(KERNEL), for the kernel $(KERNEL))$(if $(filter clippy,$*), with clippy): no warning"
	@rm -rf build/check-$*
	+@$(call kbuild,build/check-$*) $(if $(filter clippy,$*),CLIPPY=1) modules >build/check-$*.log 2>&1 || \
		{ cat build/check-$*.log; exit 1; }
	@if grep -i warning build/check-$*.log; then echo "The build warns: see build/check-$*.log" >&2; exit 1; fi
	+@$(call kbuild,build/check-$*) $(if $(filter clippy,$*),CLIPPY=1) modules >build/check-$*.log 2>&1 || \
		{ cat build/check-$*.log; exit 1; }
	@if grep -E '^  [A-Z]+ ' build/check-$*.log; then echo "A second build makes these files again." >&2; exit 1; fi

# For each kernel that the sandbox can have.
.PHONY: check-kernels
kernels = $(shell awk '!/^\#/ { print $$1 }' $(SANDBOX)/kernels)
check-kernels:
	+@for kernel in $(kernels); do $(MAKE) check-module KDIR=sandbox KERNEL=$$kernel; done

# Each file is added to a copy of the module, which must then not compile: the first error has the code that the file's
# documentation names.
compile_fail := $(wildcard tools/tests/compile-fail/*.rs)
check-compile-fail: kernel-accepted
	@for case in $(compile_fail); do name=$$(basename $$case .rs); dir=build/compile-fail/$$name; \
		echo "CHECK   does not compile: $$name"; rm -rf $$dir; mkdir -p $$dir; cp -R src $$case $$dir/; \
		mv $$dir/$$name.rs $$dir/src/; echo "mod $$name;" >>$$dir/src/ivshmem_rs_main.rs; \
		! $(in_kernel) make -C $(kdir) $(kernel_args) M=$(CURDIR)/$$dir/src modules >$$dir/log 2>&1 || \
			{ echo "$$case compiles" >&2; exit 1; }; \
		code=$$(sed -n 's|^//! error: ||p' $$case); \
		[ "$$(sed -n 's/^error\(\[\(.*\)\]\)\?:.*/\2/p' $$dir/log | head -n 1)" = "$$code" ] || \
			{ cat $$dir/log; echo "$$case: the first error is not $$code" >&2; exit 1; }; \
	done

module_sources = $(shell find src -name '*.rs')
check-rustfmt: sandbox-ready
	@echo "CHECK   rustfmt, with the kernel's settings"
	@$(ENTER) rustfmt --check --config-path $(call sandbox_info,KDIR)/.rustfmt.toml $(module_sources)

# What is the kernel's in style: the module, and the header that programs share with it.
kernel_sources = $(shell git ls-files src include/uapi)
# Those of the tests that the series for Linux takes.
series_tests = $(shell sed -n 's|^"\(tools/tests/selftests/.*\.[ch]\)" =.*|\1|p' dist/patches/series.toml)
check-checkpatch: sandbox-ready
	@echo "CHECK   checkpatch --strict"
	@. dist/patches/style; checkpatch() { perl $(call sandbox_info,KDIR)/scripts/checkpatch.pl --no-tree --strict --terse --show-types \
		--no-summary "$$@" || failed=1; }; \
	for file in $(kernel_sources); do checkpatch --file $$file; done; \
	for file in $(series_tests); do checkpatch --ignore "$$IGNORED_IN_TESTS" --file $$file; done; [ -z "$${failed:-}" ]

check-source:
	@echo "CHECK   unsafe code only in src/kapi, nothing unfinished"
	@awk '{ code = $$0; sub("//.*", "", code) } \
		code ~ /(^|[^_[:alnum:]])unsafe([^_[:alnum:]]|$$)/ { print FILENAME ":" FNR ": " $$0; found = 1 } \
		END { exit found }' $(filter-out src/kapi.rs src/kapi/%,$(module_sources))
	@! grep -rnE --include='*.rs' '\b(todo|unimplemented)!' src samples $(filter-out tools/target/,$(wildcard tools/*/))

check-circles:
	@echo "CHECK   no circle of files"
	@tools/scripts/check-circles.test >build/check-circles.log || { cat build/check-circles.log; exit 1; }
	@tools/scripts/check-circles

check-planted:
	@echo "CHECK   planted bugs fit the source"
	@for patch in tools/tests/planted/*.patch; do git apply --check $$patch; done

check-edits:
	@echo "CHECK   the series for Linux: its edits fit the source, and each file has a place"
	@dist/patches/relocate.test 2>build/relocate.log || { cat build/relocate.log; exit 1; }
	@dist/patches/make build/patches/fit

headers := include/uapi/linux/ivshmem_rs.h $(wildcard include/*.h)
warnings := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only -I include/uapi -D_FILE_OFFSET_BITS=64
check-header: sandbox-ready
	@echo "CHECK   the headers, alone, as C and C++, for 64 and 32 bits, and their documentation"
	@for header in $(headers); do for width in 64 32; do \
		for std in c99 c11 c23; do $(ENTER) gcc -m$$width $(warnings) -std=$$std -x c $$header; done; \
		for std in c++11 c++17 c++23; do $(ENTER) g++ -m$$width $(warnings) -std=$$std -x c++ $$header; done; \
	done; done
	@$(ENTER) $(call sandbox_info,KDIR)/scripts/kernel-doc -none -Werror $(headers)
	@echo "CHECK   libivshmem_channel.h is what the source makes"
	@cd tools && cargo test --quiet --package ivshmem-channel-c --test header

scripts := .ci/run dist/dkms.conf samples/ktap \
	$(addprefix tools/scripts/,check-circles.test check-crates docs/enter extract.test kdir-check kdir-check.test rust-kdir) \
	tools/crates/ivshmem-protocol/fuzz/run tools/bin/ivshmem-server/tests/qemu-versions tools/tests/planted/run tools/tests/coverage/qemu \
	$(addprefix samples/acrn/,dm-land hv-land init machine.sh) \
	$(addprefix dist/packages/,boot.sh build check guest-check) $(addprefix dist/in-tree/,build copy) dist/patches/check dist/patches/style \
	$(addprefix $(SANDBOX)/,apparmor compilers cross debian debian-hook debug-kernel enter extend extract.sh fetched.sh info iperf3 kdir lib.sh packages prepare stock-kernel versions)
check-scripts: sandbox-ready
	@echo "CHECK   shellcheck"
	@$(ENTER) shellcheck --external-sources --source-path=SCRIPTDIR --source-path=tools/scripts $(scripts)
	@echo "CHECK   archives are read to their end"
	@log=$$(tools/scripts/extract.test) || { echo "$$log"; exit 1; }

check-cargo:
	@echo "CHECK   cargo fmt and clippy"
	@cd tools && cargo fmt --all --check
	@cd tools/tests/iceoryx2-bench && cargo fmt --check
	@# What these have of the workspace moves with it.
	@for own in $(bridge) tools/tests/iceoryx2-bench; do \
		(cd $$own && cargo metadata --quiet --locked --format-version 1 >/dev/null) || exit 1; done
	@cd tools && cargo clippy --quiet --workspace --all-targets -- -D warnings

check-crates:
	@echo "CHECK   crates: each is packaged, and builds alone"
	@tools/scripts/check-crates

check-licences:
	@echo "CHECK   each file has a licence and its text"
	@tools/scripts/docs/enter reuse lint --quiet || tools/scripts/docs/enter reuse lint

# --- Documentation ---------------------------------------------------------------------------------------------------

sphinx = tools/scripts/docs/enter sphinx-build --quiet --fresh-env --fail-on-warning --keep-going --nitpicky
# What the comments of the headers say, for headers.rst.
references := $(addprefix build/reference/,$(addsuffix .rst,ivshmem_rs.h libivshmem.h ivshmem_channel.h))
build/reference/%.h.rst: %.h | sandbox-ready
	@mkdir -p $(@D)
	@$(ENTER) $(call sandbox_info,KDIR)/scripts/kernel-doc -rst $< >$@
vpath %.h include include/uapi/linux

.PHONY: docs man
docs man: $(references)
docs: | sandbox-ready
	@$(sphinx) --builder html --doctree-dir build/doctrees Documentation build/docs
	@cd tools && cargo doc --quiet --locked --no-deps --all-features $(addprefix --package ,$(notdir $(wildcard tools/crates/*)))
	@rm -rf build/docs/rust && cp -R tools/target/doc build/docs/rust
	@echo "build/docs/index.html"

# Some of them as manual pages: conf.py says which. In the narrow columns of their tables troff can neither adjust lines nor break
# a long name, and hyphens in names would be read as a part of them; so names break behind their underscores.
man: | sandbox-ready
	@$(sphinx) --builder man --doctree-dir build/doctrees-man Documentation build/man
	@sed -i -e '/^\.TH /a .ad l\n.nh' -e '/^[^.]/s/\([A-Za-z]\)_\([A-Za-z]\)/\1_\\:\2/g' build/man/*
	@echo build/man/*

# Addresses on the network are not fetched: a check that needs other people's machines fails for their reasons.
.PHONY: check-docs
check-docs: docs man
	@echo "CHECK   documentation: names of files, quoted messages, libvirt's XML; rustdoc without a warning"
	@tools/scripts/docs/enter tools/scripts/docs/check
	@cd tools && RUSTDOCFLAGS=-Dwarnings cargo doc --quiet --workspace --no-deps --keep-going

# --- Packages ---------------------------------------------------------------------------------------------------------

.PHONY: packages check-packages
packages:
	dist/packages/build

check-packages: packages sandbox-ready
	dist/packages/check

# --- Cleaning ---------------------------------------------------------------------------------------------------------

.PHONY: clean distclean
clean:
	rm -rf build tools/target

distclean: clean
	tools/scripts/docs/enter --remove
	$(SANDBOX)/prepare --remove
	for kept in packages qemu; do rm -rf --one-file-system -- "$${XDG_CACHE_HOME:-$$HOME/.cache}/ivshmem-rs-$$kept"; done

# --- Help -------------------------------------------------------------------------------------------------------------

.PHONY: help
help:
	@echo 'Targets:'
	@echo '  modules               the kernel module, build/module/ivshmem_rs.ko (default)'
	@echo '  programs              the programs for the host, in tools/target/release'
	@echo '  bridge                ivshmem-bridge, to other hosts over Zenoh, in tools/target/release. No other'
	@echo '                        target builds, installs or tests it: install-bridge (as root), test-bridge'
	@echo '                        and test-bridge-long (as root), bench-bridge (as root), check-bridge'
	@echo '  library               libivshmem_channel, for C and C++, in tools/target/release'
	@echo '  wheel                 its Python package, in build/wheel'
	@echo '  guest                 the C samples and selftests, as static programs in build/guest'
	@echo '  ctl-static            ivshmemctl as a static program for guests without libraries, in'
	@echo '                        tools/target/STATIC_TARGET/release, stripped'
	@echo '  sandbox               the Debian tree with compilers, kernel and QEMU (700 MB to download); other'
	@echo '                        targets make it when they need it. sandboxes: those of all kernels'
	@echo
	@echo '  install               what has been built (as root): the module for its kernel, udev rule and'
	@echo '                        group, headers, library, programs, manual pages. One of these alone:'
	@echo '                        install-module, -system, -headers, -library, -programs, -man'
	@echo '  uninstall             remove what install of this checkout, as it is built now, installs (as root)'
	@echo '  install-dkms          the sources for DKMS, below /usr/src (as root); uninstall-dkms removes them'
	@echo '  packages              Debian packages, in build/packages (as root)'
	@echo
	@echo '  demo                  boot two virtual machines that share memory'
	@echo '  docs                  the manual as a web site, in build/docs'
	@echo '  man                   the reference pages of the interface, in build/man'
	@echo '                        Both prepare the sandbox and a tree with Sphinx, as guest, demo, test, check'
	@echo '                        and what measures do: downloads of 700 MB and more, the first time'
	@echo
	@echo '  test                  all tests, on the host and in virtual machines'
	@echo '  check                 compiler and clippy warnings, formatting, headers, scripts, documentation,'
	@echo '                        licences, and so on'
	@echo '  test-debug-kernel     most guest tests on a kernel with KASAN and lockdep, which is built first;'
	@echo '                        KERNEL=rt: also PREEMPT_RT'
	@echo '  test-planted          plant known kinds of bugs in copies of the source: does a test catch each?'
	@echo '  test-qemu-versions    the server with older versions of QEMU, which are downloaded'
	@echo '  fuzz                  random programs of system calls in a guest; PROGRAMS=N, SEED=N'
	@echo '  soak                  everything that stresses the driver, at once, in a guest; HOURS=N (1), SEED=N'
	@echo '  coverage              the lines of the driver that guest tests run; fails below COVERAGE=92'
	@echo '                        percent'
	@echo '  check-kernels         build the module for each kernel that KERNEL can name, without a warning'
	@echo '  check-packages        build the packages, install them in a clean Debian, boot it, use the device,'
	@echo '                        purge them (as root)'
	@echo '  bench                 measure the driver and its rivals in virtual machines; ACCEL=kvm: with KVM'
	@echo '  bench-check           count the instructions of the hot paths: at most 3 % more than the baseline.'
	@echo '                        bench-baseline writes the baseline; bench-docs writes'
	@echo '                        Documentation/performance.rst from build/bench.json'
	@echo
	@echo '  in-tree               copy the driver into a kernel tree, LINUX=DIR (default: the source of the'
	@echo '                        sandbox'\''s kernel); build it as a module and built in; boot'
	@echo '  patches               the driver as a series of patches for LINUX=DIR, in build/patches/series'
	@echo '  check-patches         build each patch of the series without a warning; takes hours'
	@echo
	@echo '  clean                 remove what was built; distclean: also everything that is cached'
	@echo
	@echo 'Variables:'
	@echo '  KDIR=DIR              build for the kernel with the build directory DIR; KDIR=sandbox: for the'
	@echo '                        sandbox'\''s kernel. Without it: for the running kernel if that has Rust'
	@echo '                        metadata, else for the sandbox'\''s if that is prepared'
	@echo '  KERNEL=NAME           build for, and test in, a kernel of the sandbox, in build/module-NAME:'
	@echo '                        $(kernels)'
	@echo '  ARCH=arm64            the same as KERNEL=arm64; may also be given with a kernel of that'
	@echo '                        architecture'
	@echo '  CLIPPY=1              build the module with clippy, in build/clippy'
	@echo '  CASE=NAME             for test-debug-kernel, fuzz and coverage: only cases with NAME in their names'
	@echo '  PLANTED=NAMES         for test-planted: only these bugs'
	@echo '  V=1                   show the compilers'\'' command lines'
	@echo '  PREFIX=DIR            install everything but the module below DIR (/usr/local)'
	@echo '  DESTDIR=DIR           install everything below DIR, for a package'
	@echo '  LIBDIR=DIR            install the library below DIR (PREFIX/lib)'
	@echo '  INSTALL_MOD_PATH=DIR  install the module below DIR instead of / or DESTDIR'
	@echo
	@echo 'Documentation/building.rst has more.'
