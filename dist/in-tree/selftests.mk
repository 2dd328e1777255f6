# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# For a guest with an ivshmem device whose server is QEMU's or another: the tests ring that guest itself. Those that
# take the device away and bring it back are extended ones.

TEST_GEN_PROGS := info ring read poll subscribe eventfd wait mmap
TEST_GEN_PROGS_EXTENDED := nodes plain removal rebind

CFLAGS += -std=gnu11 -O2 -Wall -pthread $(KHDR_INCLUDES)

include ../../lib.mk
