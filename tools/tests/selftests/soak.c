// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The guest's part in the soak: what disturbs the driver while programs use it, and what is to stay the same.
 *
 *	soak disturb [SEED]	disturbs it in all ways at once, until SIGTERM, and tells how often in each
 *	soak measure		tells what of the kernel's memory and files is in use, when no program uses the device
 *	soak hear PEER		waits to be rung on each vector, then rings that peer
 */
#include "guests.h"
#include "random.h"
#include "slabs.h"
#include "sysfs.h"

#include <sys/prctl.h>

/* The last of two; the first cannot be stopped. */
#define CPU_DIR		"/sys/devices/system/cpu/cpu1"
#define CPUS		2

/* How much of the memory is filled at once. */
#define PIECE		(4u << 20)

struct soak {
	uint32_t stop;
};

static struct soak *soak;

static void on_term(int signal)
{
	(void)signal;
	store(&soak->stop, 1);
}

/* --- what disturbs --- */

/* Whether a write to sysfs came in time: the host may have taken the device away, and one that comes is bound already. */
static bool in_time(const char *what, int result)
{
	if (result == -1 && errno != ENOENT && errno != ENODEV && errno != EBUSY)
		fail("%s: %s", what, strerror(errno));
	return result == 0;
}

static bool rebind(uint32_t *random)
{
	bool unbound = in_time("unbind", driver_unbind(device_bus_id));

	(void)random;
	return in_time("bind", driver_bind(device_bus_id)) && unbound;
}

/*
 * Not before the driver has it: the kernel lets a device be reset that it is still giving its addresses, which are lost
 * then. The node of the device that was there before is gone by the time that this file can be opened for a new one.
 */
static bool reset(uint32_t *random)
{
	char path[128];
	bool done;
	int fd;

	(void)random;
	snprintf(path, sizeof(path), DEVICES_DIR "/%s/reset", device_bus_id);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (!in_time("reset", fd < 0 ? -1 : 0))
		return false;
	done = access(dev_path(), F_OK) == 0 && in_time("reset", write(fd, "1", 1) == 1 ? 0 : -1);
	close(fd);
	return done;
}

/* Takes a CPU away, with the interrupts that it has, and gives it back. While a driver is bound the kernel does neither. */
static bool replace_cpu(uint32_t *random)
{
	if (!in_time("a CPU off", write_text(CPU_DIR "/online", "0")))
		return false;
	usleep(random_below(random, 200000));
	while (!in_time("a CPU on", write_text(CPU_DIR "/online", "1")))
		usleep(1000);
	return true;
}

/* Sends each of the device's interrupts to any CPUs. It fails where they are away. */
static bool move_interrupts(uint32_t *random)
{
	char path[300], mask[8];
	unsigned int moved = 0;
	struct dirent *entry;
	DIR *interrupts;

	snprintf(path, sizeof(path), DEVICES_DIR "/%s/msi_irqs", device_bus_id);
	interrupts = opendir(path);
	while (interrupts && (entry = readdir(interrupts))) {
		snprintf(path, sizeof(path), "/proc/irq/%s/smp_affinity", entry->d_name);
		snprintf(mask, sizeof(mask), "%x", 1 + random_below(random, (1 << CPUS) - 1));
		moved += write_text(path, mask) == 0;
	}
	if (interrupts)
		closedir(interrupts);
	return moved != 0;
}

/* The number after @name in a file. */
static long kernel_number(const char *path, const char *name)
{
	size_t bytes = strlen(name);
	FILE *file = fopen(path, "re");
	long number = -1;
	char line[128];

	while (file && number == -1 && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, bytes))
			number = strtol(line + bytes, NULL, 10);
	if (number == -1)
		fail("no %s in %s", name, path);
	fclose(file);
	return number;
}

/* In KiB. */
static long memory_number(const char *name)
{
	return kernel_number("/proc/meminfo", name);
}

/*
 * Fills more memory than there is, with pages that the kernel may take back: it has to, and asks all who could give
 * some. Nobody is killed for it. It is done to the end, which may be that of the round on a slow kernel. Whether it took
 * some: they read as 0 then.
 */
static bool fill_memory(uint32_t *random)
{
	size_t bytes = (size_t)memory_number("MemAvailable:") * 1024 / 4 * 5, done;
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	bool taken = false;

	(void)random;
	if (at == MAP_FAILED)
		fail("no room for %zu bytes", bytes);
	for (done = 0; done + PIECE <= bytes; done += PIECE) {
		memset(at + done, 1, PIECE);
		CHECK(madvise(at + done, PIECE, MADV_FREE));
	}
	for (size_t page = 0; page < done; page += PAGE_BYTES)
		taken |= *(volatile char *)(at + page) == 0;
	CHECK(munmap(at, bytes));
	return taken;
}

struct disturbance {
	const char *name;
	/* Whether it was done; the device may be away just now. */
	bool (*once)(uint32_t *random);
	/* The longest pause between two, in microseconds: programs are to come to something. */
	uint32_t pause;
};

static const struct disturbance disturbances[] = {
	{ "binds", rebind, 200000 },
	{ "resets", reset, 200000 },
	{ "replaced CPUs", replace_cpu, 400000 },
	{ "moved interrupts", move_interrupts, 20000 },
	{ "filled memories", fill_memory, 1000000 },
};

#define DISTURBANCES	(sizeof(disturbances) / sizeof(*disturbances))

/* In a process of its own, which tells how often it was done. */
static void disturb_until_stop(const struct disturbance *disturbance, uint32_t random)
{
	unsigned int times = 0;

	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL));
	while (!load(&soak->stop)) {
		times += disturbance->once(&random);
		usleep(1 + random_below(&random, disturbance->pause));
	}
	printf("%s: %u\n", disturbance->name, times);
	fflush(stdout);
	_exit(0);
}

static void disturb(uint32_t seed)
{
	struct sigaction action = { .sa_handler = on_term, .sa_flags = SA_RESTART };
	bool failed = false;
	int status;

	soak = mmap(NULL, sizeof(*soak), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (soak == MAP_FAILED)
		fail("no memory");
	remember_device();
	CHECK(sigaction(SIGTERM, &action, NULL));
	puts("soak: ready");
	for (unsigned int i = 0; i < DISTURBANCES; i++)
		if (CHECK(fork()) == 0)
			disturb_until_stop(&disturbances[i], seed + i);
	for (unsigned int i = 0; i < DISTURBANCES; i++) {
		CHECK(wait(&status));
		failed |= status != 0;
		if (failed)
			store(&soak->stop, 1);
	}
	if (failed)
		fail("who disturbed failed");
}

/* --- what is to stay the same --- */

/* Free pages that CPUs keep for themselves count as used. Each time that its numbers are asked for, the kernel takes some back. */
static void drain_cpus(void)
{
	for (int i = 0; i < 64; i++)
		write_to("/proc/sys/vm/stat_refresh", "1");
}

static void measure(void)
{
	static const char *const numbers[] = { "Slab:", "VmallocUsed:", "Percpu:" };
	static struct slabs slabs;

	remember_device();
	wait_until_unused(device_bus_id);
	read_slabs(&slabs);
	drain_cpus();
	printf("memory: %ld\n", memory_number("MemTotal:") - memory_number("MemAvailable:"));
	for (unsigned int i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		printf("%s %ld\n", numbers[i], memory_number(numbers[i]));
	printf("files: %ld\n", kernel_number("/proc/sys/fs/file-nr", ""));
	for (unsigned int i = 0; i < slabs.n; i++)
		printf("cache %s: %ld\n", slabs.caches[i].name, slabs.caches[i].objects);
}

static void hear(uint32_t peer)
{
	int fd = dev_open(O_RDWR | O_NONBLOCK);
	struct ivshmem_info info = dev_info(fd);
	uint64_t missing = (1ull << info.vectors) - 1;

	printf("soak: peer %u hears\n", info.peer_id);
	while (missing) {
		test_waits_for("the vectors of the mask %#llx", (unsigned long long)missing);
		poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, -1);
		missing &= ~take_pending(fd);
	}
	CHECK(ring(fd, peer, 0));
	close(fd);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	test_share();
	if (!strcmp(mode, "disturb") && argc <= 3) {
		disturb(argc == 3 ? number_argument(argv[2], 0, UINT32_MAX) : 1);
		return 0;
	}
	test_limit_start();
	if (!strcmp(mode, "measure") && argc == 2)
		measure();
	else if (!strcmp(mode, "hear") && argc == 3)
		hear(number_argument(argv[2], 0, UINT16_MAX));
	else
		fail("usage: soak disturb [SEED], soak measure or soak hear PEER");
	return 0;
}
