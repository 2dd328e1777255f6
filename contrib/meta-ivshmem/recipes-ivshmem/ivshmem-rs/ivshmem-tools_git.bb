# SPDX-License-Identifier: GPL-2.0-only OR MIT
SUMMARY = "Programs for ivshmem, memory that virtual machines share"
DESCRIPTION = "ivshmemctl is for guests and hosts, ivshmem-server and ivshmem-emu are for hosts."
LICENSE = "GPL-2.0-only | MIT"

require ivshmem-rs.inc
# Written from tools/Cargo.lock by `bitbake -c update_crates ivshmem-tools`.
include ${BPN}-crates.inc

inherit cargo cargo-update-recipe-crates

CARGO_SRC_DIR = "tools"
CARGO_LOCK_SRC_DIR = "${S}/tools"
CARGO_BUILD_FLAGS += "--package ivshmemctl --package ivshmem-server --package ivshmem-emu"

do_install:append() {
    oe_runmake -C ${S} install-server-files install-system DESTDIR=${D} PREFIX=${prefix}
}

PACKAGES =+ "ivshmemctl ivshmem-server"

SUMMARY:ivshmemctl = "Looks at ivshmem devices, rings them, and copies their memory"
FILES:ivshmemctl = " \
    ${bindir}/ivshmemctl \
    ${nonarch_libdir}/udev/rules.d/60-ivshmem.rules \
    ${nonarch_libdir}/sysusers.d/ivshmem.conf \
    ${systemd_system_unitdir}/ivshmem-tunnel@.service \
"
RRECOMMENDS:ivshmemctl = "kernel-module-ivshmem-rs"

SUMMARY:ivshmem-server = "Gives virtual machines memory that they share, and lets them interrupt each other"
FILES:ivshmem-server = " \
    ${bindir}/ivshmem-server \
    ${nonarch_libdir}/sysusers.d/ivshmem-server.conf \
    ${nonarch_libdir}/tmpfiles.d/ivshmem-server.conf \
    ${systemd_system_unitdir}/ivshmem-server@.service \
    ${systemd_system_unitdir}/ivshmem-server@.socket \
    ${systemd_system_unitdir}/ivshmem-metrics@.service \
    ${systemd_system_unitdir}/ivshmem-metrics@.timer \
"
RRECOMMENDS:ivshmem-server = "ivshmemctl"
