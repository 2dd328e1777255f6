# SPDX-License-Identifier: GPL-2.0-only OR MIT
SUMMARY = "Driver for ivshmem, memory that virtual machines share"
DESCRIPTION = "Binds the PCI device 1af4:1110 of QEMU, ACRN and others, and makes /dev/ivshmemN."
LICENSE = "GPL-2.0-only"

require ivshmem-rs.inc

# Takes a kernel of the series 7.3 with "rust" in its KERNEL_FEATURES.
inherit module-rust

# The Makefile at the top prepares kernels of its own: this calls the kernel's.
KBUILD_CALL = "-C ${STAGING_KERNEL_BUILDDIR} M=${S}/src"
MAKE_TARGETS = "${KBUILD_CALL} modules"
MODULES_INSTALL_TARGET = "${KBUILD_CALL} modules_install"
MODULES_MODULE_SYMVERS_LOCATION = "src"

RPROVIDES:${PN} += "kernel-module-ivshmem-rs"
