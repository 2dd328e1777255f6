// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Bytes by TCP from one machine to another, several times: how long it takes, or how long each machine is busy with them.
 *
 *	stream receive PORT NAME MIB ROUNDS time|busy		says "ready", then takes what comes
 *	stream send ADDRESS PORT NAME MIB ROUNDS time|busy	sends MIB MiB ROUNDS times, each by a connection
 *
 * Of a MiB, the sender prints "NAME.time", or "NAME.sender" and the receiver "NAME.receiver".
 */
#include "measure.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define CHUNK	(256u << 10)

static char chunk[CHUNK];

static int tcp_socket(void)
{
	return MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };

	if (inet_pton(AF_INET, address, &name.sin_addr) != 1)
		die("not an address: %s", address);
	return name;
}

/*
 * A child counts whenever the machine's one processor has nothing else to do: what it has not counted, the machine was busy.
 * Idle time as the kernel has it is made of whole ticks. The child pauses, as its loop alone is emulated twenty times as fast
 * as what the other machine does meanwhile: where time is counted in instructions, that one would seem to be silent for seconds.
 */
struct idler {
	volatile uint64_t *count;
	pid_t child;
	double ticks_per_count;
	uint64_t from, count_from;
};

static void idler_reset(struct idler *idler)
{
	idler->count_from = *idler->count;
	idler->from = ticks();
}

static struct idler idler_start(void)
{
	struct sched_param none = { 0 };
	struct idler idler = {
		.count = MUST(mmap(NULL, sizeof(uint64_t), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
	};

	idler.child = MUST(fork());
	if (!idler.child) {
		MUST(prctl(PR_SET_PDEATHSIG, SIGKILL));
		MUST(sched_setscheduler(0, SCHED_IDLE, &none));
		for (;;) {
			++*idler.count;
			__builtin_ia32_pause();
		}
	}
	usleep(100000);
	idler_reset(&idler);
	usleep(500000);
	idler.ticks_per_count = (double)(ticks() - idler.from) / (*idler.count - idler.count_from);
	return idler;
}

/* Ticks since the reset in which the machine was busy. */
static double idler_end(struct idler *idler)
{
	double all = ticks() - idler->from;
	double idle = (*idler->count - idler->count_from) * idler->ticks_per_count;

	MUST(kill(idler->child, SIGKILL));
	return all - idle;
}

static void report_one(const char *name, const char *what, double value)
{
	struct series series = series_new(1);
	char full[64];

	series_add(&series, value);
	snprintf(full, sizeof(full), "%s.%s", name, what);
	series_report(&series, full, 0);
}

static void send_all(const struct sockaddr_in *to, unsigned int mib)
{
	int fd = tcp_socket();
	uint64_t left = (uint64_t)mib << 20;

	MUST(connect(fd, (const struct sockaddr *)to, sizeof(*to)));
	while (left)
		left -= MUST(write(fd, chunk, left < CHUNK ? left : CHUNK));
	MUST(shutdown(fd, SHUT_WR));
	/* All has arrived when the receiver says so. */
	if (MUST(read(fd, chunk, 1)) != 1)
		die("the receiver has ended");
	close(fd);
}

static void send_rounds(char **argv, int busy)
{
	struct sockaddr_in to = address_of(argv[0], argv[1]);
	unsigned int mib = atoi(argv[3]), rounds = atoi(argv[4]);
	struct series series = series_new(rounds);
	struct idler idler;
	char name[64];

	if (busy)
		idler = idler_start();
	send_all(&to, mib); /* windows open, queues grow */
	if (busy)
		idler_reset(&idler);
	for (unsigned int i = 0; i < rounds; i++) {
		uint64_t from = ticks();

		send_all(&to, mib);
		series_add(&series, (double)(ticks() - from) / mib);
	}
	if (busy) {
		report_one(argv[2], "sender", idler_end(&idler) / mib / rounds);
	} else {
		snprintf(name, sizeof(name), "%s.time", argv[2]);
		series_report(&series, name, 0);
	}
}

static void receive_all(int listener)
{
	int fd = MUST(accept(listener, NULL, NULL));

	while (MUST(read(fd, chunk, CHUNK)))
		;
	MUST(write(fd, "", 1));
	close(fd);
}

static void receive_rounds(char **argv, int busy)
{
	struct sockaddr_in here = address_of("0.0.0.0", argv[0]);
	unsigned int mib = atoi(argv[2]), rounds = atoi(argv[3]);
	int listener = tcp_socket(), on = 1;
	struct idler idler;

	if (busy)
		idler = idler_start();
	MUST(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
	MUST(bind(listener, (struct sockaddr *)&here, sizeof(here)));
	MUST(listen(listener, 1));
	puts("ready");
	fflush(stdout);
	receive_all(listener);
	if (busy)
		idler_reset(&idler);
	for (unsigned int i = 0; i < rounds; i++)
		receive_all(listener);
	if (busy)
		report_one(argv[1], "receiver", idler_end(&idler) / mib / rounds);
}

int main(int argc, char **argv)
{
	int busy = argc > 2 && !strcmp(argv[argc - 1], "busy");

	report_tick_rate();
	if (argc == 8 && !strcmp(argv[1], "send"))
		send_rounds(argv + 2, busy);
	else if (argc == 7 && !strcmp(argv[1], "receive"))
		receive_rounds(argv + 2, busy);
	else
		die("usage: stream send ADDRESS PORT NAME MIB ROUNDS time|busy"
		    " | receive PORT NAME MIB ROUNDS time|busy");
	return 0;
}
