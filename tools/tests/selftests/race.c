// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What goes on at the same time on one open file, on all processors: the locks of the driver's
 * calls, taken against each other and against the interrupt handler.
 */
#include "device.h"

#include <pthread.h>
#include <sys/eventfd.h>

/* How often each thread does its work; a deadlock needs a few thousand. */
#define BINDS	20000
#define RINGS	400

/* How often each thread opens and closes the node. */
#define OPENS	2000

struct file {
	int fd, eventfd;
	unsigned int peer, vectors;
	volatile int done;
};

static void *look(void *argument)
{
	struct file *file = argument;
	struct pollfd poller = { .fd = file->fd, .events = POLLIN };

	while (!file->done)
		poll(&poller, 1, 0);
	return NULL;
}

static void *bind_again(void *argument)
{
	struct file *file = argument;

	for (int i = 0; i < BINDS; i++) {
		struct ivshmem_eventfd binding = {
			.vector = i % file->vectors, .fd = i % 3 ? file->eventfd : -1,
		};

		if (ioctl(file->fd, IVSHMEM_SET_EVENTFD, &binding))
			return (void *)(long)errno;
		test_progress();
	}
	return NULL;
}

static void *take(void *argument)
{
	struct file *file = argument;
	struct ivshmem_event events[IVSHMEM_MAX_VECTORS];

	while (!file->done)
		if (read(file->fd, events, sizeof(events)) < 0 && errno != EAGAIN)
			return (void *)(long)errno;
	return NULL;
}

static void *ring_all(void *argument)
{
	struct file *file = argument;

	for (int i = 0; i < RINGS; i++) {
		if (ring(file->fd, file->peer, i % file->vectors))
			return (void *)(long)errno;
		sched_yield();
	}
	return NULL;
}

TEST(binding_looking_taking_and_interrupts_do_not_lock_each_other_out)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	struct ivshmem_info info = dev_info(fd);
	struct file file = {
		.fd = fd, .eventfd = ASSERT_OK(eventfd(0, EFD_NONBLOCK)),
		.peer = info.peer_id, .vectors = info.vectors,
	};
	void *(*const endless[])(void *) = { look, look, take };
	void *(*const counted[])(void *) = { bind_again, bind_again, ring_all };
	pthread_t background[3], foreground[3];
	void *error;

	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_create(&background[i], NULL, endless[i], &file));
		ASSERT_EQ(0, pthread_create(&foreground[i], NULL, counted[i], &file));
	}
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_join(foreground[i], &error));
		EXPECT_EQ(0, (long)error);
	}
	file.done = 1;
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_join(background[i], &error));
		EXPECT_EQ(0, (long)error);
	}
}

/* Opens, has the file waited on, and closes it: its queue is fed by interrupts until then. */
static void *open_and_close(void *argument)
{
	struct file *file = argument;

	for (int i = 0; i < OPENS; i++) {
		int fd = open(dev_path(), O_RDONLY | O_CLOEXEC);
		struct pollfd poller = { .fd = fd, .events = POLLIN };

		if (fd < 0 || poll(&poller, 1, 0) < 0)
			return (void *)(long)errno;
		close(fd);
		test_progress();
	}
	file->done++;
	return NULL;
}

TEST(files_are_closed_while_interrupts_come)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);
	struct ivshmem_info info = dev_info(fd);
	struct file file = { .fd = fd, .peer = info.peer_id, .vectors = info.vectors };
	pthread_t closers[2];
	void *error;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&closers[i], NULL, open_and_close, &file));
	for (unsigned int i = 0; file.done < 2; i++)
		ASSERT_EQ(0, ring(fd, file.peer, i % file.vectors));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(closers[i], &error));
		EXPECT_EQ(0, (long)error);
	}
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
