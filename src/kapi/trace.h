/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ivshmem

#if !defined(_IVSHMEM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _IVSHMEM_TRACE_H

#include <linux/tracepoint.h>

/* @device is the N of /dev/ivshmemN; @seq counts the interrupts of the vector. */
TRACE_EVENT(ivshmem_interrupt,
	    TP_PROTO(u32 device, u32 vector, u64 seq),
	    TP_ARGS(device, vector, seq),
	    TP_STRUCT__entry(__field(u32, device)
			     __field(u32, vector)
			     __field(u64, seq)),
	    TP_fast_assign(__entry->device = device;
			   __entry->vector = vector;
			   __entry->seq = seq;),
	    TP_printk("ivshmem%u vector=%u seq=%llu",
		      __entry->device, __entry->vector, __entry->seq)
);

TRACE_EVENT(ivshmem_ring,
	    TP_PROTO(u32 device, u32 peer, u32 vector),
	    TP_ARGS(device, peer, vector),
	    TP_STRUCT__entry(__field(u32, device)
			     __field(u32, peer)
			     __field(u32, vector)),
	    TP_fast_assign(__entry->device = device;
			   __entry->peer = peer;
			   __entry->vector = vector;),
	    TP_printk("ivshmem%u peer=%u vector=%u",
		      __entry->device, __entry->peer, __entry->vector)
);

#endif /* _IVSHMEM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
