// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints, which only C can define, and what calls them: trace.rs asks before whether
 * anybody listens.
 */
#define CREATE_TRACE_POINTS
#include "trace.h"

void ivshmem_do_trace_interrupt(u32 device, u32 vector, u64 seq)
{
	trace_ivshmem_interrupt(device, vector, seq);
}

void ivshmem_do_trace_ring(u32 device, u32 peer, u32 vector)
{
	trace_ivshmem_ring(device, peer, vector);
}
