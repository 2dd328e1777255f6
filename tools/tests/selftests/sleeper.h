/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * A thread that makes one blocking system call, for cases about what wakes it.
 */
#ifndef SLEEPER_H
#define SLEEPER_H

#include "device.h"

#include <pthread.h>
#include <sys/syscall.h>

/* What poll() and epoll_wait() call where all the system calls take a signal mask. */
#ifndef SYS_poll
#define SYS_poll	SYS_ppoll
#define SYS_epoll_wait	SYS_epoll_pwait
#endif

/* @call runs in a thread with @fd and @argument; its result and errno are kept. */
struct sleeper {
	long (*call)(struct sleeper *self);
	int fd;
	void *argument;
	/* Set by the thread. */
	long result;
	int error;
	pid_t tid;
	pthread_t thread;
};

static inline void *sleeper_main(void *self)
{
	struct sleeper *sleeper = self;

	__atomic_store_n(&sleeper->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	sleeper->result = sleeper->call(sleeper);
	sleeper->error = errno;
	return NULL;
}

/* Whether the thread is asleep in system call @number; /proc says "running" if it is not. */
static inline bool sleeper_sleeps(const struct sleeper *sleeper, long number)
{
	pid_t tid = __atomic_load_n(&sleeper->tid, __ATOMIC_ACQUIRE);
	char path[64], *end;
	char text[32] = "";
	FILE *file;
	long found;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	file = tid ? fopen(path, "re") : NULL;
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	found = strtol(text, &end, 10);
	return end != text && found == number;
}

/* Waits until the thread sleeps in system call @number. */
static inline void sleeper_wait_asleep(const struct sleeper *sleeper, long number)
{
	test_waits_for("a thread to sleep in system call %ld", number);
	while (!sleeper_sleeps(sleeper, number))
		usleep(1000);
}

/* Starts the thread and waits until it sleeps in system call @number. */
static inline void sleeper_start(struct sleeper *sleeper, long number)
{
	sleeper->tid = 0;
	ASSERT_EQ(0, pthread_create(&sleeper->thread, NULL, sleeper_main, sleeper));
	sleeper_wait_asleep(sleeper, number);
}

/* Waits until the call has returned. */
static inline void sleeper_join(struct sleeper *sleeper)
{
	test_waits_for("a sleeping system call to return");
	ASSERT_EQ(0, pthread_join(sleeper->thread, NULL));
}

/* read() of one record into @argument, a struct ivshmem_event. */
static inline long sleeper_read(struct sleeper *self)
{
	return read(self->fd, self->argument, sizeof(struct ivshmem_event));
}

/* poll() for POLLIN without a time limit; the result is revents. */
static inline long sleeper_poll(struct sleeper *self)
{
	struct pollfd entry = { .fd = self->fd, .events = POLLIN };

	return poll(&entry, 1, -1) == 1 ? entry.revents : -1;
}

/* IVSHMEM_WAIT with @argument, a struct ivshmem_wait. */
static inline long sleeper_wait(struct sleeper *self)
{
	return ioctl(self->fd, IVSHMEM_WAIT, self->argument);
}

/* Counts the signals that the handler of catch_signal() has seen. */
static volatile sig_atomic_t signals_caught;

static inline void count_signal(int signal)
{
	(void)signal;
	signals_caught++;
}

/* Catches SIGUSR1 with @flags of sigaction(). */
static inline void catch_signal(int flags)
{
	struct sigaction action = { .sa_handler = count_signal, .sa_flags = flags };

	signals_caught = 0;
	ASSERT_OK(sigaction(SIGUSR1, &action, NULL));
}

/* Interrupts the thread and waits until its handler has run. */
static inline void sleeper_interrupt(struct sleeper *sleeper)
{
	test_waits_for("a signal's handler to run");
	ASSERT_EQ(0, pthread_kill(sleeper->thread, SIGUSR1));
	while (!signals_caught)
		usleep(1000);
}

#endif /* SLEEPER_H */
