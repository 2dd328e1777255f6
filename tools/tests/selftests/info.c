// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * IVSHMEM_GET_INFO, and what every command number has in common.
 */
#include "sysfs.h"

/* Offsets of PCI configuration space. */
#define PCI_CAPABILITY_LIST	0x34
#define PCI_CAP_ID_MSIX		0x11
#define PCI_MSIX_TABLE_SIZE	0x07ff

/* Entries of the device's MSI-X table, from configuration space; 0 without the capability. */
static unsigned int msix_table_entries(const char *bus_id)
{
	unsigned char config[256] = { 0 };
	int fd = open_attribute(bus_id, "config");
	unsigned int at;

	ASSERT_OK(pread(fd, config, sizeof(config), 0));
	close(fd);
	/* Each capability takes at least 4 bytes, which bounds the walk. */
	at = config[PCI_CAPABILITY_LIST] & ~3u;
	for (int i = 0; at && at < 252 && i < 64; i++, at = config[at + 1] & ~3u)
		if (config[at] == PCI_CAP_ID_MSIX)
			return ((config[at + 2] | config[at + 3] << 8) & PCI_MSIX_TABLE_SIZE) + 1;
	return 0;
}

TEST(version_is_the_header_s)
{
	EXPECT_EQ(IVSHMEM_ABI_VERSION, dev_info(dev_open(O_RDWR)).abi_version);
}

TEST(reserved_is_0_and_unknown_flags_are_clear)
{
	struct ivshmem_info info = dev_info(dev_open(O_RDWR));

	for (size_t i = 0; i < sizeof(info.reserved) / sizeof(info.reserved[0]); i++)
		EXPECT_EQ(0, info.reserved[i]);
	EXPECT_EQ(0, info.flags & ~(IVSHMEM_INFO_DOORBELL | IVSHMEM_INFO_PEER_ID_OVERRIDDEN |
				    IVSHMEM_INFO_REGISTERS_MAPPABLE));
}

TEST(bus_id_is_the_node_s_pci_device)
{
	struct ivshmem_info info = dev_info(dev_open(O_RDWR));
	char bus_id[IVSHMEM_BUS_ID_LEN];

	EXPECT_TRUE(memchr(info.bus_id, '\0', sizeof(info.bus_id)));
	node_bus_id(dev_path(), bus_id);
	EXPECT_EQ(0, strncmp(bus_id, info.bus_id, sizeof(bus_id)));
}

TEST(shm_size_is_that_of_bar2)
{
	struct ivshmem_info info = dev_info(dev_open(O_RDWR));
	unsigned long long start, end;
	char text[1024], *line = text;

	read_attribute(info.bus_id, "resource", text, sizeof(text));
	for (int bar = 0; bar < 2; bar++)
		line = strchr(line, '\n') + 1;
	ASSERT_EQ(2, sscanf(line, "%llx %llx", &start, &end));
	EXPECT_EQ(end - start + 1, info.shm_size);
}

TEST(pci_identity_is_that_of_sysfs)
{
	struct ivshmem_info info = dev_info(dev_open(O_RDWR));

	EXPECT_EQ(attribute_number(info.bus_id, "subsystem_vendor"), info.subsystem_vendor);
	EXPECT_EQ(attribute_number(info.bus_id, "subsystem_device"), info.subsystem_device);
	EXPECT_EQ(attribute_number(info.bus_id, "revision"), info.revision);
}

TEST(vectors_offered_is_the_msix_table_s_size)
{
	struct ivshmem_info info = dev_info(dev_open(O_RDWR));

	EXPECT_EQ(msix_table_entries(info.bus_id), info.vectors_offered);
}

TEST(at_most_8_vectors_are_armed_by_default)
{
	struct ivshmem_info info = dev_info(dev_open(O_RDWR));

	EXPECT_TRUE(info.vectors <= 8);
	EXPECT_TRUE(info.vectors <= info.vectors_offered);
	EXPECT_EQ(info.vectors_offered > 0, !!(info.flags & IVSHMEM_INFO_DOORBELL));
	EXPECT_TRUE(info.peer_id <= IVSHMEM_MAX_PEER);
}

TEST(cache_and_page_order_are_known_values)
{
	struct ivshmem_info info = dev_info(dev_open(O_RDWR));
	/* A table of pointers fills a page: each level adds as many bits as a page has of them. */
	unsigned int page = __builtin_ctz(PAGE_BYTES), level = page - 3;

	EXPECT_TRUE(info.cache >= IVSHMEM_CACHE_WB && info.cache <= IVSHMEM_CACHE_UC);
	EXPECT_TRUE(info.page_order == page || info.page_order == page + level ||
		    info.page_order == page + 2 * level);
}

TEST(generation_is_the_event_page_s)
{
	int fd = dev_open(O_RDONLY);

	EXPECT_EQ(map_event_page(fd)->generation, dev_info(fd).generation);
}

TEST(attributes_say_the_same)
{
	static const char *const caches[] = { "", "write-back", "write-combining", "uncached" };
	struct ivshmem_info info = dev_info(dev_open(O_RDWR));
	char text[64];

	EXPECT_EQ(info.shm_size, attribute_number(info.bus_id, "ivshmem/size"));
	EXPECT_EQ(info.peer_id, attribute_number(info.bus_id, "ivshmem/peer_id"));
	EXPECT_EQ(info.vectors, attribute_number(info.bus_id, "ivshmem/vectors"));
	EXPECT_EQ(info.page_order, attribute_number(info.bus_id, "ivshmem/page_order"));
	EXPECT_EQ(info.generation, attribute_number(info.bus_id, "ivshmem/generation"));
	read_attribute(info.bus_id, "ivshmem/cache", text, sizeof(text));
	text[strcspn(text, "\n")] = '\0';
	ASSERT_TRUE(info.cache < 4);
	EXPECT_EQ(0, strcmp(text, caches[info.cache]));
}

TEST(parameters_can_be_read)
{
	struct ivshmem_info info = dev_info(dev_open(O_RDWR));
	char text[64];

	EXPECT_EQ(0, attribute_number(info.bus_id, "ivshmem_parameters/cache"));
	EXPECT_EQ(0, attribute_number(info.bus_id, "ivshmem_parameters/map_registers"));
	EXPECT_EQ(8, attribute_number(info.bus_id, "ivshmem_parameters/max_vectors"));
	read_attribute(info.bus_id, "ivshmem_parameters/peer_id", text, sizeof(text));
	EXPECT_EQ(0, strcmp(text, "-1\n"));
}

TEST(interrupts_are_named_by_node_and_vector)
{
	struct ivshmem_info info = dev_info(dev_open(O_RDWR));
	unsigned int found = 0;
	char line[512];
	FILE *file = fopen("/proc/interrupts", "re");

	ASSERT_TRUE(file);
	while (fgets(line, sizeof(line), file)) {
		for (unsigned int vector = 0; vector < info.vectors; vector++) {
			char name[64];

			snprintf(name, sizeof(name), " %s-%u\n", strrchr(dev_path(), '/') + 1,
				 vector);
			found += strlen(line) > strlen(name) &&
				 strcmp(line + strlen(line) - strlen(name), name) == 0;
		}
	}
	fclose(file);
	EXPECT_EQ(info.vectors, found);
}

TEST(every_opener_gets_the_same_answer)
{
	struct ivshmem_info first = dev_info(dev_open(O_RDWR));
	struct ivshmem_info again = dev_info(dev_open(O_RDWR));
	struct ivshmem_info read_only = dev_info(dev_open(O_RDONLY));
	struct ivshmem_info write_only = dev_info(dev_open(O_WRONLY));

	EXPECT_EQ(0, memcmp(&first, &again, sizeof(first)));
	EXPECT_EQ(0, memcmp(&first, &read_only, sizeof(first)));
	EXPECT_EQ(0, memcmp(&first, &write_only, sizeof(first)));
}

TEST(asking_leaves_what_is_pending)
{
	int fd = dev_open_with(O_RDWR | O_NONBLOCK, 1);

	ring_arrives(0);
	dev_info(fd);
	EXPECT_EQ(1, take_pending(fd));
}

TEST(bad_pointer_is_EFAULT)
{
	int fd = dev_open(O_RDWR);

	EXPECT_ERRNO(EFAULT, ioctl(fd, IVSHMEM_GET_INFO, bad_pointer()));
	EXPECT_ERRNO(EFAULT, ioctl(fd, IVSHMEM_GET_INFO, page_end() - 64));
	EXPECT_ERRNO(EFAULT, ioctl(fd, IVSHMEM_GET_INFO, NULL));
}

TEST(unknown_command_is_ENOTTY)
{
	int fd = dev_open(O_RDWR);
	char argument[256] = { 0 };

	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IO('i', 0x9f), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOWR('i', 0xa6, __u64), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOR('j', 0xa0, struct ivshmem_info), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOW('u', 101, struct ivshmem_acrn_eventfd), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, 0, argument));
}

TEST(known_number_with_another_size_is_ENOTTY)
{
	int fd = dev_open(O_RDWR);
	char argument[256] = { 0 };

	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOC(_IOC_READ, 'i', 0xa0, 127), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOC(_IOC_READ, 'i', 0xa0, 129), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOC(_IOC_WRITE, 'i', 0xa1, 4), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOC(_IOC_WRITE, 'i', 0xa2, 8), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOC(_IOC_WRITE, 'i', 0xa3, 4), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOC(_IOC_WRITE, 'i', 0xa4, 8), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 'i', 0xa5, 0), argument));
}

TEST(known_number_with_another_direction_is_ENOTTY)
{
	int fd = dev_open(O_RDWR);
	char argument[256] = { 0 };

	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOW('i', 0xa0, struct ivshmem_info), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOR('i', 0xa1, struct ivshmem_ring), argument));
	EXPECT_ERRNO(ENOTTY, ioctl(fd, _IOW('i', 0xa5, struct ivshmem_wait), argument));
}

int main(int argc, char **argv)
{
	(void)argc;
	return test_main(argv, dev_path());
}
