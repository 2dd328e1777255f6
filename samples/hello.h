/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What hello_send and hello_receive agree on: who is who, where the messages are, and which vector
 * says that there is one.
 */
#ifndef HELLO_H
#define HELLO_H

#include "sample.h"
#include "rendezvous.h"

#define HELLO_SENDER	0	/* places in the rendezvous */
#define HELLO_RECEIVER	1
#define HELLO_VECTOR	3
#define HELLO_SECONDS	120	/* how long to wait for the other guest */
#define HELLO_BYTES	4096	/* of shared memory: the rendezvous, then two messages */

/* @session is written last and read first: a message with the present session is complete. */
struct message {
	uint32_t session;
	uint32_t length;
	char text[1000];
};

/* The message that party @from writes. */
static inline struct message *message_from(void *memory, unsigned int from)
{
	return (struct message *)((char *)memory + RENDEZVOUS_BYTES) + from;
}

static inline void write_message(struct message *message, uint32_t session, const char *text)
{
	uint32_t length = strnlen(text, sizeof(message->text));

	ivshmem_copy_to(message->text, text, length);
	ivshmem_store(&message->length, length);
	ivshmem_store(&message->session, session);
}

/* Copies the text if the message is of this session; false if it is not there yet. */
static inline bool read_message(const struct message *message, uint32_t session,
				char text[sizeof(message->text) + 1])
{
	uint32_t length;

	if (ivshmem_load(&message->session) != session)
		return false;
	/* The other guest may write anything: never believe a length that it tells. */
	length = ivshmem_load(&message->length);
	if (length > sizeof(message->text))
		length = sizeof(message->text);
	ivshmem_copy_from(text, message->text, length);
	text[length] = '\0';
	return true;
}

#endif /* HELLO_H */
