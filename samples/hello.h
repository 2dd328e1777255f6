/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What hello_send and hello_receive agree on: who is who, where the letters are, and which vector
 * says that there is one.
 */
#ifndef HELLO_H
#define HELLO_H

#include "sample.h"
#include "rendezvous.h"

#define HELLO_SENDER	0	/* places in the rendezvous */
#define HELLO_RECEIVER	1
#define HELLO_VECTOR	3
#define HELLO_SECONDS	120	/* how long to wait for the other machine */
#define HELLO_BYTES	4096	/* of shared memory: the rendezvous, then two letters */

/* @session is written last and read first: a letter with the present session is complete. */
struct letter {
	uint32_t session;
	uint32_t length;
	char text[1000];
};

/* The letter that party @from writes. */
static inline struct letter *letter_from(void *memory, unsigned int from)
{
	return (struct letter *)((char *)memory + RENDEZVOUS_BYTES) + from;
}

static inline void write_letter(struct letter *letter, uint32_t session, const char *text)
{
	uint32_t length = strnlen(text, sizeof(letter->text));

	ivshmem_copy_to(letter->text, text, length);
	ivshmem_store(&letter->length, length);
	ivshmem_store(&letter->session, session);
}

/* Copies the text if the letter is of this session; false if it is not there yet. */
static inline bool read_letter(const struct letter *letter, uint32_t session,
			       char text[sizeof(letter->text) + 1])
{
	uint32_t length;

	if (ivshmem_load(&letter->session) != session)
		return false;
	/* The other machine may write anything: never believe a length that it tells. */
	length = ivshmem_load(&letter->length);
	if (length > sizeof(letter->text))
		length = sizeof(letter->text);
	ivshmem_copy_from(text, letter->text, length);
	text[length] = '\0';
	return true;
}

#endif /* HELLO_H */
