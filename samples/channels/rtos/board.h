/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the program wants of its board or RTOS: five functions, for example over Zephyr's PCIe and time functions.
 */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

/* The shared memory, BAR2 of the device, mapped write-back, and its size in bytes. */
void *board_memory(uint64_t *size);

/* The register IVPosition of the device, or 0 for ivshmem-plain. */
uint32_t board_peer_id(void);

/*
 * Stores peer << 16 | vector in the register Doorbell of the device, after all stores to the memory: on other processors than x86
 * that takes a barrier for both. Nothing for ivshmem-plain.
 */
void board_ring(uint32_t peer, uint32_t vector);

/* A counter of milliseconds that goes on after its last number with 0. */
uint32_t board_ms(void);

/* A random number. It need not be secret, but another one at each start. */
uint32_t board_random(void);

#endif /* BOARD_H */
