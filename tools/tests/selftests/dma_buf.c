// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The two calls of Looking Glass' kvmfr: the size of the memory, and parts of it as dma-bufs, which
 * programs map and pass on. What drivers do with a dma-buf is in import.c.
 */
#include "sigbus.h"
#include "sysfs.h"

#include <linux/membarrier.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define MAGIC	0x4b564d46u

/* module/kvmfr.h of Looking Glass. */
#define KVMFR_DMABUF_FLAG_CLOEXEC	0x1

struct kvmfr_dmabuf_create {
	__u8  flags;
	__u64 offset;
	__u64 size;
};

#define KVMFR_DMABUF_GETSIZE	_IO('u', 0x44)
#define KVMFR_DMABUF_CREATE	_IOW('u', 0x42, struct kvmfr_dmabuf_create)

static int create(int fd, uint64_t offset, uint64_t size)
{
	struct ivshmem_dma_buf buf = {
		.flags = IVSHMEM_DMA_BUF_CLOEXEC, .offset = offset, .size = size,
	};

	/* kvmfr's programs do not clear what is padding there. */
	memset(buf.padding, 0xa5, sizeof(buf.padding));
	return ioctl(fd, IVSHMEM_KVMFR_CREATE_DMA_BUF, &buf);
}

static volatile uint32_t *map_words(int fd, size_t size, int protection)
{
	void *words = mmap(NULL, size, protection, MAP_SHARED, fd, 0);

	ASSERT_TRUE(words != MAP_FAILED);
	return words;
}

/* A program for a 64-bit machine has numbers of 64 bits where 64-bit machines want them. */
#ifdef __LP64__
/* ivshmemOpenDev(), ivshmemGetDMABuf(), ivshmemClose() of common/src/platform/linux/ivshmem.c. */
TEST(the_calls_of_a_looking_glass_client_in_their_order)
{
	struct kvmfr_dmabuf_create argument = {
		.flags = KVMFR_DMABUF_FLAG_CLOEXEC, .offset = 2 * PAGE_BYTES, .size = 3 * PAGE_BYTES,
	};
	int fd = ASSERT_OK(open(dev_path(), O_RDWR, (mode_t)0600));
	int size = ASSERT_OK(ioctl(fd, KVMFR_DMABUF_GETSIZE, 0));
	volatile uint32_t *memory, *frame;
	int buf;

	EXPECT_EQ(dev_info(fd).shm_size, size);
	memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_TRUE(memory != MAP_FAILED);
	buf = ASSERT_OK(ioctl(fd, KVMFR_DMABUF_CREATE, &argument));
	EXPECT_EQ(FD_CLOEXEC, fcntl(buf, F_GETFD));
	frame = map_words(buf, argument.size, PROT_READ | PROT_WRITE);
	memory[2 * PAGE_BYTES / 4] = MAGIC;
	EXPECT_EQ(MAGIC, frame[0]);
	frame[3 * PAGE_BYTES / 4 - 1] = MAGIC;
	EXPECT_EQ(MAGIC, memory[5 * PAGE_BYTES / 4 - 1]);
	EXPECT_OK(close(buf));
	EXPECT_OK(munmap((void *)memory, size));
	EXPECT_OK(close(fd));
}
#endif

TEST(the_size_is_what_the_call_returns)
{
	int fd = dev_open(O_RDONLY);

	EXPECT_EQ(dev_info(fd).shm_size, ioctl(fd, IVSHMEM_KVMFR_GET_SIZE, 0));
}

TEST(a_buffer_has_its_own_size)
{
	int buf = ASSERT_OK(create(dev_open(O_RDWR), PAGE_BYTES, 2 * PAGE_BYTES));

	EXPECT_EQ(2 * PAGE_BYTES, lseek(buf, 0, SEEK_END));
	EXPECT_TRUE(mmap(NULL, 3 * PAGE_BYTES, PROT_READ, MAP_SHARED, buf, 0) == MAP_FAILED);
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TRUE(mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, buf, 2 * PAGE_BYTES) == MAP_FAILED);
	EXPECT_EQ(EINVAL, errno);
}

TEST(wrong_arguments_are_EINVAL)
{
	struct ivshmem_dma_buf unknown = { .flags = 2, .size = PAGE_BYTES };
	int fd = dev_open(O_RDWR);
	uint64_t size = dev_info(fd).shm_size;

	EXPECT_ERRNO(EINVAL, create(fd, 0, 0));
	EXPECT_ERRNO(EINVAL, create(fd, 1, PAGE_BYTES));
	EXPECT_ERRNO(EINVAL, create(fd, 0, PAGE_BYTES - 1));
	EXPECT_ERRNO(EINVAL, create(fd, size, PAGE_BYTES));
	EXPECT_ERRNO(EINVAL, create(fd, PAGE_BYTES, size));
	EXPECT_ERRNO(EINVAL, create(fd, -(uint64_t)PAGE_BYTES, PAGE_BYTES));
	EXPECT_ERRNO(EINVAL, create(fd, -(uint64_t)PAGE_BYTES, 2 * PAGE_BYTES));
	EXPECT_ERRNO(EINVAL, ioctl(fd, IVSHMEM_KVMFR_CREATE_DMA_BUF, &unknown));
	EXPECT_ERRNO(EFAULT, ioctl(fd, IVSHMEM_KVMFR_CREATE_DMA_BUF, 16));
	EXPECT_OK(create(fd, size - PAGE_BYTES, PAGE_BYTES));
	EXPECT_OK(create(fd, 0, size));
}

TEST(a_buffer_of_a_read_only_file_cannot_be_written)
{
	int buf = ASSERT_OK(create(dev_open(O_RDONLY), 0, PAGE_BYTES));
	volatile uint32_t *words = map_words(buf, PAGE_BYTES, PROT_READ);

	EXPECT_TRUE(!is_gone(words));
	EXPECT_ERRNO(EACCES, mprotect((void *)words, PAGE_BYTES, PROT_READ | PROT_WRITE));
	EXPECT_TRUE(mmap(NULL, PAGE_BYTES, PROT_WRITE, MAP_SHARED, buf, 0) == MAP_FAILED);
	EXPECT_EQ(EACCES, errno);
}

TEST(a_write_only_file_gives_no_buffer)
{
	EXPECT_ERRNO(EACCES, create(dev_open(O_WRONLY), 0, PAGE_BYTES));
}

TEST(mappings_follow_the_rules_of_the_node)
{
	int buf = ASSERT_OK(create(dev_open(O_RDWR), 0, PAGE_BYTES));

	EXPECT_TRUE(mmap(NULL, PAGE_BYTES, PROT_READ, MAP_PRIVATE, buf, 0) == MAP_FAILED);
	EXPECT_EQ(EINVAL, errno);
	/* Not even asked: dma-bufs are on a mount without "exec". */
	EXPECT_TRUE(mmap(NULL, PAGE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, buf, 0) == MAP_FAILED);
	EXPECT_EQ(EPERM, errno);
}

TEST(a_buffer_outlives_the_file_that_it_came_from)
{
	int fd = dev_open(O_RDWR), other = dev_open(O_RDWR);
	int buf = ASSERT_OK(create(fd, 0, PAGE_BYTES));

	close(fd);
	map_words(other, PAGE_BYTES, PROT_READ | PROT_WRITE)[0] = MAGIC;
	EXPECT_EQ(MAGIC, map_words(buf, PAGE_BYTES, PROT_READ)[0]);
}

static void send_descriptor(int socket, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	ASSERT_EQ(1, sendmsg(socket, &message, 0));
}

static int receive_descriptor(int socket)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	int fd;

	ASSERT_EQ(1, recvmsg(socket, &message, MSG_CMSG_CLOEXEC));
	ASSERT_TRUE(CMSG_FIRSTHDR(&message) != NULL);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return fd;
}

/* The other process never opened the node, and keeps its mapping when the sender is gone. */
TEST(two_processes_share_a_buffer_by_SCM_RIGHTS)
{
	int sockets[2], buf;
	pid_t child;
	volatile uint32_t *words;

	ASSERT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets));
	child = ASSERT_OK(fork());
	if (!child) {
		int fd = dev_open(O_RDWR);

		buf = ASSERT_OK(create(fd, PAGE_BYTES, PAGE_BYTES));
		map_words(fd, 2 * PAGE_BYTES, PROT_READ | PROT_WRITE)[PAGE_BYTES / 4] = MAGIC;
		send_descriptor(sockets[1], buf);
		_exit(0);
	}
	buf = receive_descriptor(sockets[0]);
	test_join_child(child);
	words = map_words(buf, PAGE_BYTES, PROT_READ | PROT_WRITE);
	close(buf);
	EXPECT_EQ(MAGIC, words[0]);
}

TEST(removal_takes_the_memory_from_who_mapped_a_buffer)
{
	int fd = dev_open(O_RDWR), buf = ASSERT_OK(create(fd, 0, 2 * PAGE_BYTES));
	volatile uint32_t *words = map_words(buf, PAGE_BYTES, PROT_READ | PROT_WRITE);

	words[0] = MAGIC;
	close(fd);
	ASSERT_OK(driver_unbind(device_bus_id));
	EXPECT_TRUE(is_gone(words));
	EXPECT_TRUE(mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, buf, 0) == MAP_FAILED);
	EXPECT_EQ(ENODEV, errno);
	ASSERT_OK(driver_bind(device_bus_id));
	EXPECT_TRUE(is_gone(words));
	EXPECT_OK(close(buf));
}

/* Who has opened its path keeps the dma-buf, but not the file, which the driver must not touch then. */
TEST(removal_finds_a_buffer_whose_file_is_gone_and_whose_path_is_open)
{
	int fd = dev_open(O_RDWR), buf = ASSERT_OK(create(fd, 0, PAGE_BYTES)), path;
	char name[32];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", buf);
	path = ASSERT_OK(open(name, O_PATH | O_CLOEXEC));
	ASSERT_OK(close(buf));
	/* A grace period of RCU: after it, KASAN sees who touches the file. */
	ASSERT_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
	ASSERT_OK(driver_unbind(device_bus_id));
	ASSERT_OK(driver_bind(device_bus_id));
	EXPECT_OK(close(path));
}

TEST(after_removal_both_calls_are_ENODEV)
{
	int fd = dev_open(O_RDWR);

	ASSERT_OK(driver_unbind(device_bus_id));
	EXPECT_ERRNO(ENODEV, ioctl(fd, IVSHMEM_KVMFR_GET_SIZE, 0));
	EXPECT_ERRNO(ENODEV, create(fd, 0, PAGE_BYTES));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main_around(argv, dev_path(), remember_device, bind_device_again);
}
