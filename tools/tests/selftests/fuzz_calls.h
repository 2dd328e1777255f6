/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The system calls of fuzzed programs, each with arguments that are right, nearly right, or wrong.
 * One returns -1 if it failed. None sleeps for long: the thread's timer interrupts it.
 */
#ifndef FUZZ_CALLS_H
#define FUZZ_CALLS_H

#include "fuzz_uring.h"
#include "sysfs.h"

#include <linux/dma-buf.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* How long calls with a limit of their own wait, at most. */
#define SHORT_MS	3

/* --- files --- */

static int call_open(struct fuzzer *f)
{
	static const int odd[] = { O_SYNC, O_ASYNC, O_APPEND, O_DIRECT, O_PATH, O_DIRECTORY,
				   O_TRUNC, O_NOATIME, O_TMPFILE };
	int flags = O_CLOEXEC | (int)pick(f, 3), fd;

	if (!one_in(&f->random, 4))
		flags = O_RDWR;
	if (!one_in(&f->random, 4))
		flags |= O_NONBLOCK;
	if (rarely(f))
		flags |= odd[pick(f, sizeof(odd) / sizeof(*odd))];
	fd = open(dev_path(), flags, 0600);
	put_device(f, fd);
	return fd;
}

static int call_close(struct fuzzer *f)
{
	return close(take_file(f));
}

static int call_dup(struct fuzzer *f)
{
	bool device = one_in(&f->random, 2);
	int from = device ? some_device(f) : some_other(f), fd;

	switch (pick(f, 3)) {
	case 0:
		fd = dup(from);
		break;
	case 1:
		fd = dup3(from, 200 + (int)pick(f, 8), O_CLOEXEC);
		break;
	default:
		fd = fcntl(from, F_DUPFD_CLOEXEC, 3);
	}
	if (device)
		put_device(f, fd);
	else
		put_other(f, fd);
	return fd;
}

/* Sends a descriptor to itself. If it is not received, it is closed with the socket. */
static int call_pass(struct fuzzer *f)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS } };
	char byte = 0;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	int fd = some_file(f), sockets[2], result;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == -1)
		return -1;
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	result = (int)sendmsg(sockets[0], &message, MSG_DONTWAIT);
	if (result != -1 && !one_in(&f->random, 4) &&
	    recvmsg(sockets[1], &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == 1) {
		memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
		put_other(f, fd);
	}
	close(sockets[0]);
	close(sockets[1]);
	return result;
}

static int call_eventfd(struct fuzzer *f)
{
	int fd = eventfd(pick(f, 3), EFD_NONBLOCK | EFD_CLOEXEC | (rarely(f) ? EFD_SEMAPHORE : 0));

	put_other(f, fd);
	return fd;
}

static int call_fcntl(struct fuzzer *f)
{
	static const int commands[] = { F_GETFL, F_GETFD, F_GETOWN, F_GETLEASE, F_GET_SEALS,
					F_GETPIPE_SZ, F_GETSIG };
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	int fd = some_file(f);

	switch (pick(f, 6)) {
	case 0:
		return fcntl(fd, F_SETFL, (one_in(&f->random, 4) ? 0 : O_NONBLOCK) |
			     (rarely(f) ? O_ASYNC : 0) | (rarely(f) ? O_APPEND : 0) |
			     (rarely(f) ? O_DIRECT : 0));
	case 1:
		return fcntl(fd, F_SETOWN, getpid());
	case 2:
		return flock(fd, LOCK_EX | LOCK_NB);
	case 3:
		return fcntl(fd, F_OFD_SETLK, &lock);
	case 4:
		return fcntl(fd, F_SETLEASE, F_RDLCK);
	default:
		return fcntl(fd, commands[pick(f, sizeof(commands) / sizeof(*commands))]);
	}
}

static int call_file(struct fuzzer *f)
{
	int fd = some_file(f), number;
	struct stat info;

	switch (pick(f, 8)) {
	case 0:
		return fstat(fd, &info);
	case 1:
		return fsync(fd);
	case 2:
		return fdatasync(fd);
	case 3:
		return ftruncate(fd, (off_t)odd_number(f));
	case 4:
		return fallocate(fd, (int)pick(f, 4), 0, (off_t)odd_number(f));
	case 5:
		return posix_fadvise(fd, 0, 0, (int)pick(f, 6)) ? -1 : 0;
	case 6:
		return ioctl(fd, FIONREAD, &number);
	default:
		return lseek(fd, (off_t)odd_number(f), (int)pick(f, 5)) == -1 ? -1 : 0;
	}
}

/* --- the driver's commands --- */

static int call_info(struct fuzzer *f)
{
	return ioctl(some_device(f), IVSHMEM_GET_INFO,
		     some_pointer(f, sizeof(struct ivshmem_info)));
}

static uint32_t some_peer(struct fuzzer *f)
{
	return rarely(f) ? (uint32_t)odd_number(f) : f->pool->info.peer_id;
}

static uint32_t some_vector(struct fuzzer *f)
{
	return rarely(f) ? (uint32_t)odd_number(f) : pick(f, f->pool->info.vectors + 1);
}

static int call_ring(struct fuzzer *f)
{
	return ioctl(some_device(f), IVSHMEM_RING,
		     ARGUMENT(f, (struct ivshmem_ring){ some_peer(f), some_vector(f) }));
}

static int call_ring_many(struct fuzzer *f)
{
	struct ivshmem_ring *rings = (void *)f->scratch;
	struct ivshmem_ring_many many = { .count = 1 + pick(f, 40), .flags = rarely(f) };

	if (rarely(f))
		many.count = (uint32_t)odd_number(f);
	for (uint32_t i = 0; i < many.count && i < SCRATCH_BYTES / sizeof(*rings); i++)
		rings[i] = (struct ivshmem_ring){ some_peer(f), some_vector(f) };
	many.rings = (uintptr_t)(rarely(f) ? some_pointer(f, 64) : f->scratch);
	return ioctl(some_device(f), IVSHMEM_RING_MANY, &many);
}

static uint64_t some_mask(struct fuzzer *f)
{
	uint32_t vectors = f->pool->info.vectors;
	uint64_t all = vectors ? ~0ull >> (64 - vectors) : 0;

	return rarely(f) ? odd_number(f) : random_64(f) & all;
}

static int call_subscribe(struct fuzzer *f)
{
	return ioctl(some_device(f), IVSHMEM_SUBSCRIBE, ARGUMENT(f, some_mask(f)));
}

static int call_set_eventfd(struct fuzzer *f)
{
	struct ivshmem_eventfd binding = {
		.vector = some_vector(f),
		.fd = one_in(&f->random, 6) ? -1 : some_other(f),
		.flags = rarely(f),
		.reserved = rarely(f),
	};
	struct ivshmem_acrn_eventfd acrn = { .vector = (int)binding.vector, .fd = binding.fd };

	if (one_in(&f->random, 5))
		return ioctl(some_device(f), IVSHMEM_ACRN_SET_EVENTFD, ARGUMENT(f, acrn));
	return ioctl(some_device(f), IVSHMEM_SET_EVENTFD, ARGUMENT(f, binding));
}

static int call_wait(struct fuzzer *f)
{
	struct ivshmem_wait wait = {
		.vectors = some_mask(f),
		.timeout_ns = pick(f, SHORT_MS * 1000000),
		.offset = 4 * pick(f, 256),
		.value = pick(f, 2),
		.flags = pick(f, 2) ? IVSHMEM_WAIT_WORD : 0,
	};

	if (rarely(f))
		wait.timeout_ns = (int64_t)odd_number(f);
	if (rarely(f))
		wait.offset = odd_number(f);
	if (rarely(f))
		wait.flags = (uint32_t)odd_number(f);
	return ioctl(some_device(f), IVSHMEM_WAIT, ARGUMENT(f, wait));
}

/* Numbers that are no command, and sizes that are not theirs. */
static int call_any_ioctl(struct fuzzer *f)
{
	unsigned long number = _IOC(pick(f, 4), "iub"[pick(f, 3)], 0xa0 + pick(f, 8), pick(f, 200));

	if (rarely(f))
		number = (unsigned long)random_64(f);
	return ioctl(some_device(f), number, some_pointer(f, 256));
}

/* --- dma-bufs --- */

static int call_dma_buf(struct fuzzer *f)
{
	size_t pages = f->pool->info.shm_size / PAGE_BYTES, first = pick(f, pages);
	struct ivshmem_dma_buf args = {
		.flags = IVSHMEM_DMA_BUF_CLOEXEC,
		.offset = first * PAGE_BYTES,
		.size = (1ull + pick(f, pages - first)) * PAGE_BYTES,
	};
	int fd;

	if (rarely(f))
		args.offset = odd_number(f);
	if (rarely(f))
		args.size = odd_number(f);
	fd = ioctl(some_device(f), IVSHMEM_KVMFR_CREATE_DMA_BUF, ARGUMENT(f, args));
	put_other(f, fd);
	return fd;
}

static int call_dma_buf_sync(struct fuzzer *f)
{
	struct dma_buf_sync sync = { .flags = rarely(f) ? odd_number(f) : pick(f, 8) };

	return ioctl(some_other(f), DMA_BUF_IOCTL_SYNC, &sync);
}

/* --- mappings --- */

static int call_mmap(struct fuzzer *f)
{
	static const int odd[] = { MAP_LOCKED, MAP_NORESERVE, MAP_HUGETLB, MAP_STACK, MAP_SYNC };
	size_t total = f->pool->info.shm_size / PAGE_BYTES, pages = 1 + pick(f, 8);
	uint64_t offset = (uint64_t)pick(f, total) * PAGE_BYTES;
	int prot = PROT_READ | (pick(f, 3) ? PROT_WRITE : 0), flags = MAP_SHARED;
	char *at;

	if (one_in(&f->random, 4)) {
		/* The others have one page each, and the events cannot be written. */
		offset = (uint64_t)pick(f, 3) << IVSHMEM_REGION_SHIFT;
		pages = 1;
		prot = one_in(&f->random, 4) ? prot : PROT_READ;
	} else if (one_in(&f->random, 2)) {
		offset = 0;
		pages = 1 + pick(f, total);
	}
	if (rarely(f))
		offset = odd_number(f) * PAGE_BYTES;
	if (rarely(f))
		flags = MAP_PRIVATE;
	if (rarely(f))
		flags |= MAP_POPULATE;
	if (rarely(f))
		flags |= odd[pick(f, sizeof(odd) / sizeof(*odd))];
	if (rarely(f))
		prot = (int)pick(f, 8);
	at = mmap(NULL, pages * PAGE_BYTES, prot, flags,
		  one_in(&f->random, 8) ? some_other(f) : some_device(f), (off_t)offset);
	if (at == MAP_FAILED)
		return -1;
	put_area(f, at, pages * PAGE_BYTES);
	return 0;
}

/* All of an area, or its head, whose rest stays. */
static int call_munmap(struct fuzzer *f)
{
	struct area area = take_area(f);
	size_t pages = area.bytes / PAGE_BYTES, head;

	if (!pages)
		return -1;
	head = one_in(&f->random, 2) ? pages : 1 + pick(f, pages);
	munmap(area.at, head * PAGE_BYTES);
	if (head < pages)
		put_area(f, area.at + head * PAGE_BYTES, (pages - head) * PAGE_BYTES);
	return 0;
}

static int call_mremap(struct fuzzer *f)
{
	struct area area = take_area(f);
	size_t pages = area.bytes / PAGE_BYTES, new;
	char *at;

	if (!pages)
		return -1;
	new = one_in(&f->random, 3) ? pages + pick(f, 4) : 1 + pick(f, pages);
	at = mremap(area.at, area.bytes, new * PAGE_BYTES,
		    MREMAP_MAYMOVE | (rarely(f) && new == pages ? MREMAP_DONTUNMAP : 0));
	if (at == MAP_FAILED) {
		put_area(f, area.at, area.bytes);
		return -1;
	}
	put_area(f, at, new * PAGE_BYTES);
	return 0;
}

static int call_protect(struct fuzzer *f)
{
	struct area part = part_of(f, some_area(f));

	return mprotect(part.at, part.bytes, (int)pick(f, 4) | (rarely(f) ? PROT_EXEC : 0));
}

static int call_advise(struct fuzzer *f)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_REMOVE,
		MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_HUGEPAGE,
		MADV_NOHUGEPAGE, MADV_MERGEABLE, MADV_DONTDUMP, MADV_DODUMP, MADV_COLD,
		MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_COLLAPSE,
	};
	struct area part = part_of(f, some_area(f));

	return madvise(part.at, part.bytes, advice[pick(f, sizeof(advice) / sizeof(*advice))]);
}

static int call_lock(struct fuzzer *f)
{
	struct area part = part_of(f, some_area(f));

	switch (pick(f, 4)) {
	case 0:
		return mlock(part.at, part.bytes);
	case 1:
		return munlock(part.at, part.bytes);
	case 2:
		return msync(part.at, part.bytes, 1 << pick(f, 3));
	default:
		return mincore(part.at, part.bytes / 64, (unsigned char *)f->scratch);
	}
}

/* Word by word, for a register takes no other size. */
static int call_touch(struct fuzzer *f)
{
	struct area area = some_area(f);
	sigjmp_buf failed;

	if (!area.bytes)
		return -1;
	if (sigsetjmp(failed, 0)) {
		touching = NULL;
		return -1;
	}
	touching = &failed;
	for (unsigned int i = 0; i < 4; i++) {
		volatile uint32_t *word = (void *)(area.at + (pick(f, area.bytes) & ~3u));

		if (one_in(&f->random, 2))
			*word = pick(f, 4);
		else
			(void)*word;
	}
	touching = NULL;
	return 0;
}

/* The child has the mappings as the kernel copied them. */
static int call_fork(struct fuzzer *f)
{
	int status;
	pid_t child;

	/* Else the child might never get it. */
	pthread_mutex_lock(&f->pool->areas_lock);
	child = fork();
	pthread_mutex_unlock(&f->pool->areas_lock);
	if (child == -1)
		return -1;
	if (child == 0) {
		const stack_t none = { .ss_flags = SS_DISABLE };

		/* That for signals is shared with the parent. */
		sigaltstack(&none, NULL);
		for (unsigned int i = 0; i < 4; i++)
			call_touch(f);
		_exit(0);
	}
	while (waitpid(child, &status, 0) == -1 && errno == EINTR)
		;
	if (status != 0) {
		dprintf(STDERR_FILENO, "a child that was forked ended with status %#x\n", status);
		raise(SIGABRT);
	}
	return 0;
}

/* --- reading and waiting --- */

static int call_read(struct fuzzer *f)
{
	size_t bytes = rarely(f) ? pick(f, 40) : sizeof(struct ivshmem_event) * pick(f, 66);
	struct iovec parts[2] = {
		{ some_pointer(f, bytes), bytes },
		{ some_pointer(f, bytes), pick(f, SCRATCH_BYTES) },
	};
	int fd = one_in(&f->random, 4) ? some_other(f) : some_device(f);

	switch (pick(f, 5)) {
	case 0:
		return (int)readv(fd, parts, 2);
	case 1:
		return (int)pread(fd, parts[0].iov_base, bytes, (off_t)odd_number(f));
	case 2:
		return (int)preadv2(fd, parts, 2, -1, RWF_NOWAIT);
	default:
		return (int)read(fd, parts[0].iov_base, bytes);
	}
}

static int call_write(struct fuzzer *f)
{
	return (int)write(rarely(f) ? some_device(f) : some_other(f), ARGUMENT(f, (uint64_t)1),
			  rarely(f) ? pick(f, 16) : 8);
}

static int call_splice(struct fuzzer *f)
{
	struct area part = part_of(f, some_area(f));
	struct iovec local = { f->scratch, 64 }, remote = { part.at, part.bytes ? 64 : 0 };
	int fd = some_file(f), pipes[2], result;

	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) == -1)
		return -1;
	switch (pick(f, 4)) {
	case 0:
		result = (int)splice(fd, NULL, pipes[1], NULL, 4096, SPLICE_F_NONBLOCK);
		break;
	case 1:
		result = (int)vmsplice(pipes[1], &remote, 1, SPLICE_F_NONBLOCK);
		break;
	case 2:
		result = (int)sendfile(pipes[1], fd, NULL, 4096);
		break;
	default:
		result = (int)process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	}
	close(pipes[0]);
	close(pipes[1]);
	return result;
}

static int call_poll(struct fuzzer *f)
{
	struct pollfd entries[3];
	struct timespec limit = { .tv_nsec = pick(f, SHORT_MS * 1000000) };
	fd_set in, odd;
	int fd = some_file(f);

	if (fd >= 0 && fd < FD_SETSIZE && one_in(&f->random, 3)) {
		FD_ZERO(&in);
		FD_SET(fd, &in);
		odd = in;
		return pselect(fd + 1, &in, NULL, &odd, &limit, NULL);
	}
	for (unsigned int i = 0; i < 3; i++)
		entries[i] = (struct pollfd){ some_file(f), (short)next_random(&f->random), 0 };
	return ppoll(entries, 1 + pick(f, 3), &limit, NULL);
}

static int call_epoll(struct fuzzer *f)
{
	static const int operations[] = { EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL };
	static const unsigned int odd[] = { 0, EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE, EPOLLWAKEUP };
	struct epoll_event event = { .events = EPOLLIN | odd[pick(f, 5)] }, events[4];
	int fd;

	switch (pick(f, 4)) {
	case 0:
		fd = epoll_create1(EPOLL_CLOEXEC);
		put_other(f, fd);
		return fd;
	case 1:
		return epoll_wait(some_file(f), events, 4, (int)pick(f, SHORT_MS));
	default:
		return epoll_ctl(some_file(f), operations[pick(f, 3)], some_file(f), &event);
	}
}

/* --- what the kernel shows --- */

static int read_whole(const char *path, char *room, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), result;

	if (fd == -1)
		return -1;
	while ((result = (int)read(fd, room, bytes)) > 0)
		;
	close(fd);
	return result;
}

static int call_proc(struct fuzzer *f)
{
	static const char *const paths[] = { "/proc/self/maps", "/proc/self/smaps",
					     "/proc/self/numa_maps", "/proc/interrupts" };
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", some_file(f));
	return read_whole(pick(f, 2) ? path : paths[pick(f, 4)], f->scratch, SCRATCH_BYTES);
}

static int call_attribute(struct fuzzer *f)
{
	static const char *const names[] = {
		"ivshmem/size", "ivshmem/peer_id", "ivshmem/vectors", "ivshmem/cache",
		"ivshmem/page_order", "ivshmem/generation", "ivshmem_statistics/interrupts",
		"ivshmem_statistics/doorbells", "ivshmem_statistics/wake_ups",
		"ivshmem_statistics/held_back", "ivshmem_statistics/eventfds",
		"ivshmem_statistics/opens", "ivshmem_statistics/mappings",
	};
	char path[96];

	snprintf(path, sizeof(path), DEVICES_DIR "/%s/%s", device_bus_id,
		 names[pick(f, sizeof(names) / sizeof(*names))]);
	return read_whole(path, f->scratch, SCRATCH_BYTES);
}

/* --- all of them --- */

struct fuzz_call {
	const char *name;
	int (*make)(struct fuzzer *f);
	/* How often it is taken, beside the others: seldom if it takes long. */
	unsigned int weight;
};

static const struct fuzz_call fuzz_calls[] = {
	{ "open", call_open, 24 },
	{ "close", call_close, 8 },
	{ "dup", call_dup, 6 },
	{ "pass", call_pass, 4 },
	{ "eventfd", call_eventfd, 10 },
	{ "fcntl", call_fcntl, 6 },
	{ "file", call_file, 6 },
	{ "GET_INFO", call_info, 6 },
	{ "RING", call_ring, 20 },
	{ "RING_MANY", call_ring_many, 8 },
	{ "SUBSCRIBE", call_subscribe, 12 },
	{ "SET_EVENTFD", call_set_eventfd, 20 },
	{ "WAIT", call_wait, 16 },
	{ "any ioctl", call_any_ioctl, 6 },
	{ "CREATE_DMA_BUF", call_dma_buf, 8 },
	{ "DMA_BUF_SYNC", call_dma_buf_sync, 4 },
	{ "mmap", call_mmap, 24 },
	{ "munmap", call_munmap, 10 },
	{ "mremap", call_mremap, 8 },
	{ "mprotect", call_protect, 6 },
	{ "madvise", call_advise, 12 },
	{ "mlock", call_lock, 6 },
	{ "touch", call_touch, 28 },
	{ "fork", call_fork, 1 },
	{ "read", call_read, 20 },
	{ "write", call_write, 4 },
	{ "splice", call_splice, 8 },
	{ "poll", call_poll, 10 },
	{ "epoll", call_epoll, 16 },
	{ "io_uring", call_io_uring, 2 },
	{ "proc", call_proc, 1 },
	{ "attribute", call_attribute, 1 },
};

#define FUZZ_CALLS	(sizeof(fuzz_calls) / sizeof(*fuzz_calls))

/* The call that a number stands for. */
static inline unsigned int fuzz_call_of(uint32_t number)
{
	unsigned int total = 0, call = 0, at;

	for (unsigned int i = 0; i < FUZZ_CALLS; i++)
		total += fuzz_calls[i].weight;
	for (at = number % total; at >= fuzz_calls[call].weight; call++)
		at -= fuzz_calls[call].weight;
	return call;
}

#endif /* FUZZ_CALLS_H */
