/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * libivshmem_channel: channels between virtual machines and host processes, for C and C++. Made by cbindgen from
 * tools/crates/ivshmem-channel-c: change it there. Documentation/libivshmem_channel.rst has an introduction, and
 * Documentation/channels-guide.rst explains channels.
 *
 * Handles. Functions that make one set the pointer that they are given to it, or to NULL if they fail. The caller owns it
 * and frees it once, by the function that ends with _close or _free, in any order: what a handle needs of another one
 * stays until it is closed itself. A handle may be given from thread to thread; where not all threads may share it, its
 * comment says so. No handle is of use in the child of fork(2), which closes its copies, or calls execve(2): the parent's
 * handles stay as they are. Until it does, whoever takes the slot of a parent that has crashed has to wait until that counts
 * as lost.
 *
 * Pointers. NULL is -EINVAL where nothing else is said, also for handles. A buffer of `len` or `size` bytes may be NULL if
 * that is 0. Nobody may change what a function reads, or use what it writes, before it returns; it keeps no pointer of the
 * caller's.
 *
 * Times are in nanoseconds, on CLOCK_MONOTONIC: `timeout_ns` of 0 does not block, a negative one waits for ever. Signals
 * do not end waits: ivshmem_channel_cancel_use() does, also in a signal handler, where a handle was given by a function that
 * ends with _set_cancel, or with the call.
 *
 * Errors are negative numbers of errno.h; errno itself is not set. ivshmem_channel_error() has the text. Beside those that
 * the functions list, each may return another one of the system. What they mean:
 *
 *	-EAGAIN		nothing is there, or no room, and the call does not block
 *	-ETIMEDOUT	the time is over
 *	-ECANCELED	the wait was cancelled
 *	-EMSGSIZE	the message is longer than can be sent, or than the buffer
 *	-ESTALE		somebody recreated the channel: open it and join again
 *	-ECONNABORTED	another program has taken this program's slot: end
 *	-EUCLEAN	somebody wrote what no program may write: ivshmem_channel_reset()
 *	-EBADMSG	the same of one sender alone: go on
 *	-ENODEV		the device is gone, and with it the memory: close everything
 *	-EINVAL		an argument cannot be
 *	-ENOTRECOVERABLE	a mistake in the library
 *
 * The memory of a device that was unplugged, and of a file that was made shorter, ends whoever touches it by SIGBUS. The
 * library looks before it touches it where it has slept; a program that must survive this needs a handler.
 */

#ifndef LIBIVSHMEM_CHANNEL_H
#define LIBIVSHMEM_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

/*
 * A program has joined, or was there when the looking began.
 */
#define IVSHMEM_CHANNEL_JOINED 0

/*
 * A program has left its slot, or another one has taken that.
 */
#define IVSHMEM_CHANNEL_LEFT 1

/*
 * A program has been silent for too long.
 */
#define IVSHMEM_CHANNEL_SILENT 2

/*
 * A program was silent, and shows that it lives.
 */
#define IVSHMEM_CHANNEL_RETURNED 3

/*
 * Nobody has joined since the channel was made, or whoever did has left.
 */
#define IVSHMEM_CHANNEL_ABSENT 0

/*
 * A program has joined, and shows that it lives.
 */
#define IVSHMEM_CHANNEL_PRESENT 1

/*
 * A program has joined, and has been silent for too long: it crashed, hangs, or its guest is stopped.
 */
#define IVSHMEM_CHANNEL_LOST 2

/*
 * Instead of a slot: all others, through a ring buffer with several senders.
 */
#define IVSHMEM_CHANNEL_ALL UINT32_MAX

/*
 * Ends waits from another thread or from a signal handler. Threads may share it.
 */
struct ivshmem_channel_cancel;

/*
 * Who comes and goes, beginning with all who are there. One thread at a time may use it.
 *
 * Nobody is rung when a program joins or leaves, so this looks twice in a heartbeat, as long as it is called; one that
 * joins and leaves in between is not seen.
 */
struct ivshmem_channel_changes;

/*
 * A channel that was made or found. Joining is what makes use of it. Threads may share it.
 */
struct ivshmem_channel;

/*
 * The shape of a channel: which programs can take part, and which ring buffers and topics there are. All programs have to
 * bring the same one. One thread at a time may use it.
 */
struct ivshmem_channel_layout;

/*
 * A way to the shared memory and to the doorbells of others. Threads may share it.
 */
struct ivshmem_channel_link;

/*
 * A slot that this program has joined, until this and all its senders, receivers, publishers and subscribers are closed.
 * Threads may share it.
 *
 * The program shows that it lives whenever it calls or waits in these. If it does neither for a heartbeat of the layout,
 * it has to call ivshmem_channel_member_beat(), or others take it for lost.
 */
struct ivshmem_channel_member;

/*
 * The end of a topic that publishes. It never waits for anybody. One thread at a time may use it.
 */
struct ivshmem_channel_publisher;

/*
 * The receiving end of a ring buffer. One thread at a time may use it.
 *
 * The sender gets back the room of what was received when a quarter of the ring buffer is, when no more has arrived, by
 * ivshmem_channel_receiver_release(), and by closing. If this program crashes, the next one gets all messages again whose
 * room was not given back.
 */
struct ivshmem_channel_receiver;

/*
 * Who asks. One thread at a time may use it.
 */
struct ivshmem_channel_rpc_client;

/*
 * A request. It need not be answered before others are taken. Threads may share it.
 */
struct ivshmem_channel_rpc_request;

/*
 * Who answers. One thread at a time may use it.
 */
struct ivshmem_channel_rpc_server;

/*
 * The sending end of a ring buffer. One thread at a time may use it.
 */
struct ivshmem_channel_sender;

/*
 * An end of a topic that reads. One thread at a time may use it.
 */
struct ivshmem_channel_subscriber;

/*
 * Another program came or went.
 */
struct ivshmem_channel_change {
        /*
         * IVSHMEM_CHANNEL_JOINED, _LEFT, _SILENT or _RETURNED.
         */
        uint32_t what;
        /*
         * Its slot.
         */
        uint32_t slot;
        /*
         * Its number for this time.
         */
        uint32_t incarnation;
        /*
         * The ID by which the link rings it if it has joined, else 0.
         */
        uint32_t peer_id;
};

/*
 * Who is in a slot.
 */
struct ivshmem_channel_presence {
        /*
         * IVSHMEM_CHANNEL_ABSENT, _PRESENT or _LOST.
         */
        uint32_t state;
        /*
         * Another number each time that somebody joins: what was said to another is not known to this one. 0 if absent.
         */
        uint32_t incarnation;
        /*
         * The ID by which the link rings it. 0, which is an ID too, if it is not present.
         */
        uint32_t peer_id;
};

/*
 * A message among those that ivshmem_channel_receiver_receive_many() received.
 */
struct ivshmem_channel_message {
        /*
         * Where it begins in the buffer, in bytes: a multiple of 8.
         */
        size_t at;
        /*
         * Its length in bytes.
         */
        size_t len;
        /*
         * The slot that sent it.
         */
        uint32_t from;
};

/*
 * Part of a message, in the shared memory.
 */
struct ivshmem_channel_part {
        /*
         * Where it begins; null if it has no bytes.
         */
        void *at;
        /*
         * Its length in bytes.
         */
        size_t len;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 * Finds the area `name` by the directory at byte `base` of the memory, a multiple of 4096, or makes it, with at least `size`
 * bytes. The directory takes 4096 bytes and is made if it is not there; areas follow it. All programs have to ask for the
 * same size. Sets `start` to the byte of the memory where the area begins, a multiple of 4096: what an area is for is
 * its users' matter, for example a channel with that base. Does not block, and a program that is killed meanwhile keeps
 * nobody from it. Names are told apart by 48 bits that are computed from them.
 *
 * Returns 0; -EEXIST if the area has another size; -ENOSPC if there is no room for it or for its entry; -EOPNOTSUPP if the
 * memory is not mapped write-back and this machine needs that; -ESTALE if somebody recreates the directory at the same time;
 * -EINVAL if a pointer is null, `base` cannot be, or the name is not UTF-8; -ENODEV.
 */
int ivshmem_channel_area_claim(const struct ivshmem_channel_link *link,
                               uint64_t base,
                               const char *name,
                               uint64_t size,
                               uint64_t *start);

/*
 * Finds the area `name` as ivshmem_channel_area_claim() does, and makes neither it nor the directory. Sets `start` to the byte
 * of the memory where it begins, and `size` to its bytes, a multiple of 4096; each may be null.
 *
 * Returns 0; -ENOENT if nobody has claimed it; else as ivshmem_channel_area_claim().
 */
int ivshmem_channel_area_find(const struct ivshmem_channel_link *link,
                              uint64_t base,
                              const char *name,
                              uint64_t *start,
                              uint64_t *size);

/*
 * Makes one that was not used yet.
 *
 * Returns 0; -EMFILE or -ENFILE if there can be no more open files; -EINVAL if `cancel` is null.
 */
int ivshmem_channel_cancel_new(struct ivshmem_channel_cancel **cancel);

/*
 * Ends all waits that it was given to, now and later, with -ECANCELED. What is there is still received, and where there
 * is room messages are still sent. Does not block; may be called from any thread and from a signal handler.
 *
 * Returns 0; -EINVAL if `cancel` is null, of which ivshmem_channel_error() knows nothing.
 */
int ivshmem_channel_cancel_use(const struct ivshmem_channel_cancel *cancel);

/*
 * Frees the handle, and nothing if it is null. What it was given to can be cancelled no more.
 */
void ivshmem_channel_cancel_free(struct ivshmem_channel_cancel *cancel);

/*
 * Begins to look who is in the other slots. Does not block.
 *
 * Returns 0; -EINVAL if a pointer is null.
 */
int ivshmem_channel_changes_open(const struct ivshmem_channel_member *member, struct ivshmem_channel_changes **changes);

/*
 * Waits for the next change, for up to `timeout_ns`. Shows that this program lives.
 *
 * Returns 0, with `change` set; -EAGAIN if there is none and `timeout_ns` is 0, -ETIMEDOUT if the time is over;
 * -ECANCELED; -ESTALE; -ECONNABORTED; -EINVAL if a pointer is null; -ENODEV.
 */
int ivshmem_channel_changes_next(struct ivshmem_channel_changes *changes,
                                 struct ivshmem_channel_change *change,
                                 int64_t timeout_ns);

/*
 * Lets `cancel` end the waiting, also in calls to come.
 *
 * Returns 0; -EINVAL if a pointer is null.
 */
int ivshmem_channel_changes_set_cancel(struct ivshmem_channel_changes *changes,
                                       const struct ivshmem_channel_cancel *cancel);

/*
 * Ends the looking. Nothing if `changes` is null.
 */
void ivshmem_channel_changes_close(struct ivshmem_channel_changes *changes);

/*
 * Finds the channel at byte `base` of the memory, a multiple of 4096. Does not block.
 *
 * Returns 0; -ENODATA if there is none, or not yet; -EINVAL if a pointer is null or `base` cannot be; -ENODEV.
 */
int ivshmem_channel_open(const struct ivshmem_channel_link *link, uint64_t base, struct ivshmem_channel **channel);

/*
 * Makes a channel at byte `base` of the memory, a multiple of 4096, whatever was there before. Programs that use what
 * was there get -ESTALE. Blocks for up to 4 seconds while others do the same.
 *
 * Returns 0; -ENODATA if they do it all the time; -EOPNOTSUPP if the memory is not mapped write-back and this machine
 * needs that; -EINVAL if a pointer is null, or `base` or the layout cannot be; -ENODEV.
 */
int ivshmem_channel_create(const struct ivshmem_channel_link *link,
                           uint64_t base,
                           const struct ivshmem_channel_layout *layout,
                           struct ivshmem_channel **channel);

/*
 * Finds the channel at byte `base` of the memory, a multiple of 4096, or makes it. Programs that do this at the same time
 * make one together. Blocks for up to 4 seconds while others make it.
 *
 * Returns 0; -EEXIST if there is one with another layout; -ENODATA if somebody else writes there all the time;
 * -EOPNOTSUPP if the memory is not mapped write-back and this machine needs that; -EINVAL if a pointer is null, or `base`
 * or the layout cannot be; -ENODEV.
 */
int ivshmem_channel_open_or_create(const struct ivshmem_channel_link *link,
                                   uint64_t base,
                                   const struct ivshmem_channel_layout *layout,
                                   struct ivshmem_channel **channel);

/*
 * Recreates the channel, with the same layout: all messages are gone, and all who use it get -ESTALE and have to join
 * again. What to do after -EUCLEAN. `fresh` is a second handle.
 *
 * Returns what ivshmem_channel_create() does.
 */
int ivshmem_channel_reset(const struct ivshmem_channel *channel, struct ivshmem_channel **fresh);

/*
 * Takes part in whichever of the `count` slots at `slots` is free first, and is rung by vector `vector`, one below
 * ivshmem_channel_link_vectors(), or any number if that is 0.
 *
 * A slot whose program has left, or ran on this machine and has ended, is taken at once. For one whose program is silent
 * this blocks until it has been for as long as the layout says. `cancel`, which may be null, ends that. `timeout_ns` is
 * how long to wait for programs that live; give more than the layout's silence, unless slots are only to be looked at.
 *
 * Returns 0; -EBUSY if all of them belong to programs that live; -ENXIO if there is no such slot; -ECANCELED; -ESTALE;
 * -ECONNABORTED; -EOPNOTSUPP if the memory is not mapped write-back and this machine needs that; -EUCLEAN; -EINVAL if
 * another pointer is null, `count` is 0, or there is no such vector; -ENODEV.
 */
int ivshmem_channel_join(const struct ivshmem_channel *channel,
                         const uint32_t *slots,
                         size_t count,
                         uint32_t vector,
                         int64_t timeout_ns,
                         const struct ivshmem_channel_cancel *cancel,
                         struct ivshmem_channel_member **member);

/*
 * ivshmem_channel_open_or_create() and ivshmem_channel_join(), both again if another program recreated the channel
 * meanwhile: how programs begin that may come in any order.
 *
 * Returns what these return; -ESTALE if others recreate it again and again.
 */
int ivshmem_channel_create_or_join(const struct ivshmem_channel_link *link,
                                   uint64_t base,
                                   const struct ivshmem_channel_layout *layout,
                                   const uint32_t *slots,
                                   size_t count,
                                   uint32_t vector,
                                   int64_t timeout_ns,
                                   const struct ivshmem_channel_cancel *cancel,
                                   struct ivshmem_channel_member **member);

/*
 * Closes the handle, and nothing if it is null. Members are not affected.
 */
void ivshmem_channel_close(struct ivshmem_channel *channel);

/*
 * Says why the last call of this thread failed that did, and what helps: an English sentence without a full stop, and
 * "" if none failed. It belongs to the library, and is valid until this thread calls the library again.
 */
const char *ivshmem_channel_error(void);

/*
 * A layout for `slots` programs, 2 to 64, without any ring buffers yet. They show that they live twice in a second, and count
 * as lost after 3 silent seconds. What is out of its range is found when a channel is made with it.
 */
struct ivshmem_channel_layout *ivshmem_channel_layout_new(uint32_t slots);

/*
 * The layout for ivshmem_channel_rpc_server_join(): the server has slot 0, and up to `clients`, 1 to 63, those from 1
 * on. `requests` and `replies` are the bytes of the ring buffers from and to each client, multiples of 64, up to 1 GiB; the
 * longest request and reply are 40 bytes shorter.
 */
struct ivshmem_channel_layout *ivshmem_channel_layout_new_rpc(uint32_t clients,
                                                              uint32_t requests,
                                                              uint32_t replies);

/*
 * Adds a ring buffer from slot `from` to slot `to`. `size` is in bytes, a multiple of 64, up to 1 GiB; the longest message has
 * 24 bytes less.
 *
 * Returns 0; -EINVAL if `layout` is null.
 */
int ivshmem_channel_layout_ring(struct ivshmem_channel_layout *layout,
                                uint32_t from,
                                uint32_t to,
                                uint32_t size);

/*
 * Adds a ring buffer to slot `to` from all others, each of which has `size` bytes of its own in it, as in
 * ivshmem_channel_layout_ring().
 *
 * Returns 0; -EINVAL if `layout` is null.
 */
int ivshmem_channel_layout_multi_ring(struct ivshmem_channel_layout *layout, uint32_t to, uint32_t size);

/*
 * Adds a topic, which slot `publisher` publishes and all others can read. `buffers`, 3 to 64: a reader has to copy a
 * value before so many others, less two, are published. `size`: bytes of the longest value, a multiple of 64, up to
 * 1 GiB. Topics have numbers, from 0 on, in the order in which they are added.
 *
 * Returns 0; -EINVAL if `layout` is null.
 */
int ivshmem_channel_layout_topic(struct ivshmem_channel_layout *layout,
                                 uint32_t publisher,
                                 uint32_t buffers,
                                 uint32_t size);

/*
 * Sets how often programs show that they live, 10 to 60,000 milliseconds, and after how many silent ones they count as
 * lost, from twice that on, up to 3,600,000.
 *
 * Returns 0; -EINVAL if `layout` is null.
 */
int ivshmem_channel_layout_heartbeat(struct ivshmem_channel_layout *layout, uint32_t interval_ms, uint32_t lost_ms);

/*
 * How many bytes of the memory a channel of this layout takes; 0 if `layout` is null.
 */
uint64_t ivshmem_channel_layout_size(const struct ivshmem_channel_layout *layout);

/*
 * Frees the layout, and nothing if it is null. Channels that were made with it do not need it.
 */
void ivshmem_channel_layout_free(struct ivshmem_channel_layout *layout);

/*
 * Opens a way to the shared memory. What it is follows from what `path` is:
 *
 * * a device of the driver ivshmem_rs, such as "/dev/ivshmem0", in a guest;
 * * the PCI address of a device, such as "0000:00:04.0" or "00:04.0", in a guest: by that driver if it is bound, else by
 *   vfio-pci, or as root by the files of sysfs; ivshmem_channel_link_way() says which, and what it costs;
 * * the socket of an ivshmem server, on the host: this process becomes one of its peers. A thread of the library, in
 *   which all signals are blocked, listens to the server until all that was made of the link is closed;
 * * a file that is shared memory, on the host of guests with ivshmem-plain, or for processes of one system.
 *
 * Blocks for up to 10 seconds if a server does not answer.
 *
 * Returns 0; -ENOENT, -EACCES, -ENODEV, -ECONNREFUSED or another number of open(2) or connect(2); -ENOTTY for a file
 * of another kind; -EBUSY if a driver or another program has the device; -ENXIO if it has no memory; -ETIMEDOUT, -EPROTO
 * from a server; -EINVAL if a pointer is null or a file is empty.
 */
int ivshmem_channel_link_open(const char *path,
                              struct ivshmem_channel_link **link);

/*
 * As ivshmem_channel_link_open(). Where nothing can ring this end, what it waits for is looked at again after each
 * `interval` in nanoseconds, instead of a millisecond: a long one saves time of the processor, a short one finds things
 * sooner. 0 is no pause, and keeps a processor busy. Where it can be rung, this changes nothing.
 */
int ivshmem_channel_link_open_with_interval(const char *path, uint64_t interval, struct ivshmem_channel_link **link);

/*
 * The size of the memory in bytes; 0 if `link` is null.
 */
uint64_t ivshmem_channel_link_size(const struct ivshmem_channel_link *link);

/*
 * By how many vectors this end can be rung: those that programs join with are below it. 0 if by none, which is no
 * error: then waiting looks at the memory each millisecond, or as ivshmem_channel_link_open_with_interval() says. 0 also if
 * `link` is null.
 */
uint32_t ivshmem_channel_link_vectors(const struct ivshmem_channel_link *link);

/*
 * By which way the memory is reached, and what that costs, in words: they belong to the link. "" if it is null.
 */
const char *ivshmem_channel_link_way(const struct ivshmem_channel_link *link);

/*
 * Closes the handle, and nothing if it is null. Channels that were opened through it keep the way to the memory.
 */
void ivshmem_channel_link_close(struct ivshmem_channel_link *link);

/*
 * The slot of the member; UINT32_MAX if `member` is null.
 */
uint32_t ivshmem_channel_member_slot(const struct ivshmem_channel_member *member);

/*
 * The member's number for this time; 0 if `member` is null.
 */
uint32_t ivshmem_channel_member_incarnation(const struct ivshmem_channel_member *member);

/*
 * Shows that this program lives, if it is time to. Does not block.
 *
 * Returns 0; -ESTALE; -ECONNABORTED; -EINVAL if `member` is null; -ENODEV.
 */
int ivshmem_channel_member_beat(const struct ivshmem_channel_member *member);

/*
 * Says who is in slot `slot`. A program that has crashed is found lost only if this is called from time to time: what
 * counts is how long its heartbeat was seen to stand still, and each call counts for one heartbeat at most. Does not block.
 *
 * Returns 0, with `presence` set; -ENXIO if there is no such slot; -ESTALE; -EINVAL if a pointer is null; -ENODEV.
 */
int ivshmem_channel_member_presence(const struct ivshmem_channel_member *member,
                                    uint32_t slot,
                                    struct ivshmem_channel_presence *presence);

/*
 * Leaves the slot once all that was opened through this handle is closed too. Nothing if it is null.
 */
void ivshmem_channel_member_close(struct ivshmem_channel_member *member);

/*
 * Opens the publishing end of topic `topic`. Goes on where the last one was. Does not block.
 *
 * Returns 0; -ENXIO if there is no such topic, or another slot publishes it; -EALREADY if this program has it open;
 * -ESTALE; -ECONNABORTED; -EUCLEAN; -EINVAL if a pointer is null; -ENODEV.
 */
int ivshmem_channel_publisher_open(const struct ivshmem_channel_member *member,
                                   uint32_t topic,
                                   struct ivshmem_channel_publisher **publisher);

/*
 * The longest value in bytes, or -EINVAL if `publisher` is null.
 */
int64_t ivshmem_channel_publisher_longest(const struct ivshmem_channel_publisher *publisher);

/*
 * Publishes a value of `len` bytes, whole or not at all, and rings those who wait for one. Does not block.
 *
 * Returns 0; -EMSGSIZE if it is too long; -ESTALE; -ECONNABORTED; -EUCLEAN if so many programs were replaced while they
 * published that the topic cannot go on; -EINVAL if a pointer is null; -ENODEV.
 */
int ivshmem_channel_publisher_publish(struct ivshmem_channel_publisher *publisher, const void *value, size_t len);

/*
 * Closes the publisher, and nothing if it is null. What was published stays.
 */
void ivshmem_channel_publisher_close(struct ivshmem_channel_publisher *publisher);

/*
 * The ID by which others ring this end, which is a real one also if it is 0. It can become another one when a guest is
 * resumed. 0 if `link` is null.
 */
uint32_t ivshmem_channel_link_peer_id(const struct ivshmem_channel_link *link);

/*
 * Copies `len` bytes of the memory, from byte `offset` on, to `buffer`. Others may write meanwhile, so check the copy, and
 * use the copy: load the word that says that it is there first.
 *
 * Returns 0; -EINVAL if a pointer is null, or not all of it is in the memory.
 */
int ivshmem_channel_link_read(const struct ivshmem_channel_link *link,
                              uint64_t offset,
                              void *buffer,
                              size_t len);

/*
 * Copies `len` bytes of `data` to the memory, from byte `offset` on. Store the word that says that it is there afterwards.
 *
 * Returns 0; -EINVAL if a pointer is null, or not all of it is in the memory.
 */
int ivshmem_channel_link_write(const struct ivshmem_channel_link *link,
                               uint64_t offset,
                               const void *data,
                               size_t len);

/*
 * Loads the word at byte `offset` of the memory, a multiple of 4, before everything that this thread does afterwards.
 *
 * Returns 0; -EINVAL if a pointer is null, or there is no such word.
 */
int ivshmem_channel_link_load(const struct ivshmem_channel_link *link, uint64_t offset, uint32_t *value);

/*
 * Stores the word at byte `offset` of the memory, a multiple of 4, after everything that this thread did before.
 *
 * Returns 0; -EINVAL if the pointer is null, or there is no such word.
 */
int ivshmem_channel_link_store(const struct ivshmem_channel_link *link, uint64_t offset, uint32_t value);

/*
 * A full barrier: what this thread stored before is visible before anything is loaded after. Nothing if `link` is null.
 */
void ivshmem_channel_link_fence(const struct ivshmem_channel_link *link);

/*
 * Rings vector `vector` of peer `peer`; oneself is allowed. What this thread wrote to the memory before is visible to who
 * wakes. Blocks only while the device is reset.
 *
 * Returns 0, which does not mean that anybody heard it; -EINVAL if the pointer is null, or a number is out of range;
 * -EOPNOTSUPP if there is no doorbell; -ENODEV.
 */
int ivshmem_channel_link_ring(const struct ivshmem_channel_link *link,
                              uint32_t peer,
                              uint32_t vector);

/*
 * Sleeps until one of some vectors is rung: bit n of `vectors` is vector n, and 0 stands for all. Sets `rung`, which may be
 * null, to those that were, and forgets their rings. Other waits by the same link, also those of channels, take rings from
 * it; ivshmem_channel_link_fd() hears all. It cannot be cancelled: whoever has to end it rings one of the vectors, or waits
 * for that descriptor instead.
 *
 * Returns 0; -EAGAIN or -ETIMEDOUT; -EOPNOTSUPP if this end cannot be rung, as without the driver by sysfs; -EINVAL if the
 * link is null, or there is no such vector, which is known of a server's a second after the link was opened; -ENODEV.
 */
int ivshmem_channel_link_wait(const struct ivshmem_channel_link *link,
                              uint64_t vectors,
                              int64_t timeout_ns,
                              uint64_t *rung);

/*
 * Sleeps while the word at byte `offset` of the memory, a multiple of 4, is `value`. Whoever changes it has to ring this
 * end, on any vector; if ivshmem_channel_link_vectors() is 0, this looks again and again instead. Load the word again before
 * using what it guards. It cannot be cancelled: whoever has to end it changes the word, or gives a time limit.
 *
 * Returns 0; -EAGAIN or -ETIMEDOUT; -EINVAL if the link is null, or there is no such word; -ENODEV.
 */
int ivshmem_channel_link_wait_word(const struct ivshmem_channel_link *link,
                                   uint64_t offset,
                                   uint32_t value,
                                   int64_t timeout_ns);

/*
 * The descriptor for event loops that is ready for reading once vector `vector` was rung, from the first call for it on,
 * or the device is gone. Always the same for a vector; it belongs to the link, and is neither read nor closed.
 *
 * Returns it; -EOPNOTSUPP if this end cannot be rung; -EINVAL if the link is null, or there is no such vector; -ENODEV.
 */
int ivshmem_channel_link_fd(const struct ivshmem_channel_link *link,
                            uint32_t vector);

/*
 * Forgets the rings of vector `vector` that ivshmem_channel_link_fd() is ready for. Does not block.
 *
 * Returns 1 if there were any, and 0 if not; what ivshmem_channel_link_fd() returns if that fails; -ENODEV.
 */
int ivshmem_channel_link_heard(const struct ivshmem_channel_link *link, uint32_t vector);

/*
 * Opens the receiving end of the ring buffer from slot `from`, or of that from all others if `from` is IVSHMEM_CHANNEL_ALL.
 * Begins with the oldest message whose room was not given back. Does not block.
 *
 * Returns 0; -ENXIO if the layout has no such ring buffer; -EALREADY if this program has it open; -ESTALE; -ECONNABORTED;
 * -EUCLEAN; -EINVAL if a pointer is null; -ENODEV.
 */
int ivshmem_channel_receiver_open(const struct ivshmem_channel_member *member,
                                  uint32_t from,
                                  struct ivshmem_channel_receiver **receiver);

/*
 * Copies the next message to `buffer`, which has room for `size` bytes, and is done with it. Sets `from`, which may be
 * null, to the slot that sent it. Blocks until there is one, for up to `timeout_ns`.
 *
 * Returns the message's length in bytes, which can be 0; -EAGAIN if there is none and `timeout_ns` is 0, -ETIMEDOUT if
 * the time is over; -EMSGSIZE if it does not fit: it is still the next one, and ivshmem_channel_receiver_peek() tells its
 * length; -ECANCELED; -ESTALE; -ECONNABORTED; -EUCLEAN; -EBADMSG, once or twice for each of several senders, whose other
 * messages are lost: call again for those of the others; -EINVAL if another pointer is null; -ENODEV.
 */
int64_t ivshmem_channel_receiver_receive(struct ivshmem_channel_receiver *receiver,
                                         void *buffer,
                                         size_t size,
                                         uint32_t *from,
                                         int64_t timeout_ns);

/*
 * Receives up to `count` messages with one call: blocks for up to `timeout_ns` until there is one, and takes those that
 * are there by then and fit into `buffer`, which has room for `size` bytes. They are one after the other there, each from
 * a multiple of 8 bytes on; `messages` is set to where.
 *
 * Returns how many, from 1 on; what ivshmem_channel_receiver_receive() returns if there is no first one; -EINVAL also if
 * `count` is 0.
 */
int64_t ivshmem_channel_receiver_receive_many(struct ivshmem_channel_receiver *receiver,
                                              struct ivshmem_channel_message *messages,
                                              size_t count,
                                              void *buffer,
                                              size_t size,
                                              int64_t timeout_ns);

/*
 * Waits for the next message as ivshmem_channel_receiver_receive() does, and leaves it there.
 *
 * Returns its length in bytes, or what that returns.
 */
int64_t ivshmem_channel_receiver_peek(struct ivshmem_channel_receiver *receiver, uint32_t *from, int64_t timeout_ns);

/*
 * Waits for the next message as ivshmem_channel_receiver_receive() does, to read it where it is: `parts` are two, and are set to
 * where. The second one has no bytes unless the message goes over the end of the ring. The first one begins at a multiple of 8 bytes.
 * Sets `from`, which may be null, to the slot that sent it.
 *
 * It stays the next one, and its sender does not write to it, until ivshmem_channel_receiver_done() or another call with the
 * receiver that receives. A sender that does not keep to the rules can change its bytes at any time: read once what decides, and
 * use nothing before ivshmem_channel_receiver_done() has returned 0. Nothing may be written there.
 *
 * Returns its length in bytes, or what ivshmem_channel_receiver_receive() returns; -EINVAL also if `parts` is null.
 */
int64_t ivshmem_channel_receiver_borrow(struct ivshmem_channel_receiver *receiver,
                                        struct ivshmem_channel_part *parts,
                                        uint32_t *from,
                                        int64_t timeout_ns);

/*
 * Goes on after the message that was borrowed. Does not block.
 *
 * Returns 0; -ECONNABORTED if another program has taken this one's slot meanwhile: then what was read may be of other messages;
 * -EUCLEAN, or -EBADMSG of one of several senders, also if another message is there by now, which is still the next one then;
 * -ESTALE; -EINVAL if no message is borrowed, or `receiver` is null; -ENODEV.
 */
int ivshmem_channel_receiver_done(struct ivshmem_channel_receiver *receiver);

/*
 * Gives the senders the room of all messages that were received, and rings those that wait for room. Does not block.
 *
 * Returns 0; -ESTALE; -ECONNABORTED; -EUCLEAN; -EBADMSG of one of several senders: call again for the others; -EINVAL if
 * `receiver` is null; -ENODEV.
 */
int ivshmem_channel_receiver_release(struct ivshmem_channel_receiver *receiver);

/*
 * Lets `cancel` end the waiting for a message, also in calls to come. In a guest this takes the eventfd of the member's
 * vector, as ivshmem_channel_receiver_arm() does.
 *
 * Returns 0; -EINVAL if a pointer is null.
 */
int ivshmem_channel_receiver_set_cancel(struct ivshmem_channel_receiver *receiver,
                                        const struct ivshmem_channel_cancel *cancel);

/*
 * A descriptor for poll(2), epoll(7) and event loops, which is ready for reading (POLLIN) once it is time to receive after
 * ivshmem_channel_receiver_arm(): there is a message, or the program has to show that it lives. It belongs to the
 * receiver, is always the same, and is neither read nor closed. The loop is: receive with a limit of 0 until -EAGAIN; arm;
 * begin again if that returned 0, and when the descriptor is ready.
 *
 * Returns it; -EMFILE or -ENFILE; -EINVAL if `receiver` is null.
 */
int ivshmem_channel_receiver_fd(struct ivshmem_channel_receiver *receiver);

/*
 * Has the descriptor become ready once there is a message, or a heartbeat is due. Does not block.
 *
 * Returns 1 if it is armed; 0 if there is a message, or an error, by now: receive it; -ECANCELED; -ESTALE; -ECONNABORTED;
 * -EMFILE or -ENFILE; -EINVAL if `receiver` is null; -ENODEV.
 */
int ivshmem_channel_receiver_arm(struct ivshmem_channel_receiver *receiver);

/*
 * Has the descriptor be ready no more, until it is armed again. A program that stays away longer than a heartbeat of the
 * layout has to call ivshmem_channel_member_beat().
 *
 * Returns 0; -EINVAL if `receiver` is null.
 */
int ivshmem_channel_receiver_disarm(struct ivshmem_channel_receiver *receiver);

/*
 * Gives the senders the room of what was received, and closes the receiver. Nothing if it is null.
 */
void ivshmem_channel_receiver_close(struct ivshmem_channel_receiver *receiver);

/*
 * Joins a channel of ivshmem_channel_layout_new_rpc() as its server, in slot 0, as ivshmem_channel_join() does with a
 * time limit of twice the layout's silence, at least a second and at most a minute.
 *
 * Returns what ivshmem_channel_join() does; -ENXIO also if the channel has another layout.
 */
int ivshmem_channel_rpc_server_join(const struct ivshmem_channel *channel,
                                    uint32_t vector,
                                    struct ivshmem_channel_rpc_server **server);

/*
 * Waits for the next request of a client that has not ended since, for up to `timeout_ns`. The caller frees it by
 * ivshmem_channel_rpc_request_free().
 *
 * Returns 0; -EAGAIN if there is none and `timeout_ns` is 0, -ETIMEDOUT if the time is over; -ECANCELED; -ESTALE;
 * -ECONNABORTED; -EUCLEAN; -EBADMSG, once or twice for each client that spoils its ring buffer: call again for the others;
 * -EINVAL if a pointer is null; -ENODEV.
 */
int ivshmem_channel_rpc_server_next(struct ivshmem_channel_rpc_server *server,
                                    struct ivshmem_channel_rpc_request **request,
                                    int64_t timeout_ns);

/*
 * Answers `request` with `len` bytes. Does not wait for the client. The request stays the caller's to free.
 *
 * Returns 1 if the answer is on its way, 0 if not: the client has ended or does not take its answers; -EMSGSIZE; -ESTALE;
 * -ECONNABORTED; -EINVAL if a pointer is null; -ENODEV.
 */
int ivshmem_channel_rpc_server_reply(struct ivshmem_channel_rpc_server *server,
                                     const struct ivshmem_channel_rpc_request *request,
                                     const void *answer,
                                     size_t len);

/*
 * Lets `cancel` end the waiting for requests, also in calls to come.
 *
 * Returns 0; -EINVAL if a pointer is null.
 */
int ivshmem_channel_rpc_server_set_cancel(struct ivshmem_channel_rpc_server *server,
                                          const struct ivshmem_channel_cancel *cancel);

/*
 * As ivshmem_channel_receiver_fd(), for requests.
 */
int ivshmem_channel_rpc_server_fd(struct ivshmem_channel_rpc_server *server);

/*
 * As ivshmem_channel_receiver_arm(), for requests. One of a client that has ended can be told of, and not be found.
 */
int ivshmem_channel_rpc_server_arm(struct ivshmem_channel_rpc_server *server);

/*
 * As ivshmem_channel_receiver_disarm().
 */
int ivshmem_channel_rpc_server_disarm(struct ivshmem_channel_rpc_server *server);

/*
 * Leaves the server's slot. Nothing if `server` is null.
 */
void ivshmem_channel_rpc_server_close(struct ivshmem_channel_rpc_server *server);

/*
 * What is asked: bytes of another program, which need not keep to anything. Sets `len`, which may be null, to their
 * number. They belong to the request; null if that is.
 */
const void *ivshmem_channel_rpc_request_body(const struct ivshmem_channel_rpc_request *request, size_t *len);

/*
 * The slot of the client; UINT32_MAX if `request` is null.
 */
uint32_t ivshmem_channel_rpc_request_from(const struct ivshmem_channel_rpc_request *request);

/*
 * Frees a request, and nothing if it is null.
 */
void ivshmem_channel_rpc_request_free(struct ivshmem_channel_rpc_request *request);

/*
 * Joins a channel of ivshmem_channel_layout_new_rpc() in whichever client's slot is free, as ivshmem_channel_join() does
 * with a time limit of twice the layout's silence, at least a second and at most a minute.
 *
 * Returns what ivshmem_channel_join() does; -ENXIO also if the channel has another layout.
 */
int ivshmem_channel_rpc_client_join(const struct ivshmem_channel *channel,
                                    uint32_t vector,
                                    struct ivshmem_channel_rpc_client **client);

/*
 * Asks with `len` bytes, and waits for the answer, for up to `timeout_ns`; also for a server that has not come yet, but not
 * for one that is gone. Sets `answer`, which may be null, to the answer: it belongs to the client, and is valid until the
 * next call with it.
 *
 * Returns the answer's length in bytes; -ECONNRESET if the server ended or was replaced meanwhile, and -ETIMEDOUT if the
 * time is over: the request may have been carried out, or may be later, if there was room for it; -EMSGSIZE if the request is
 * too long; -ECANCELED; -ESTALE; -ECONNABORTED; -EUCLEAN; -EINVAL if another pointer is null; -ENODEV.
 */
int64_t ivshmem_channel_rpc_client_call(struct ivshmem_channel_rpc_client *client,
                                        const void *request,
                                        size_t len,
                                        const void **answer,
                                        int64_t timeout_ns);

/*
 * Asks with `len` bytes, as the first half of ivshmem_channel_rpc_client_call(): waits for room only, for up to `timeout_ns`.
 * What was asked before is not answered any more.
 *
 * Returns 0; -ETIMEDOUT if there was no room in that time: nothing was sent; what that returns otherwise.
 */
int ivshmem_channel_rpc_client_ask(struct ivshmem_channel_rpc_client *client,
                                   const void *request,
                                   size_t len,
                                   int64_t timeout_ns);

/*
 * Waits for the answer to what was asked last, for up to `timeout_ns`, and sets `answer` to it, as
 * ivshmem_channel_rpc_client_call() does. After -ETIMEDOUT another call goes on waiting.
 *
 * Returns what that does; -EINVAL also if nothing was asked, or it was answered.
 */
int64_t ivshmem_channel_rpc_client_answer(struct ivshmem_channel_rpc_client *client,
                                          const void **answer,
                                          int64_t timeout_ns);

/*
 * Lets `cancel` end calls, also those to come.
 *
 * Returns 0; -EINVAL if a pointer is null.
 */
int ivshmem_channel_rpc_client_set_cancel(struct ivshmem_channel_rpc_client *client,
                                          const struct ivshmem_channel_cancel *cancel);

/*
 * Leaves the client's slot. Nothing if `client` is null.
 */
void ivshmem_channel_rpc_client_close(struct ivshmem_channel_rpc_client *client);

/*
 * Opens the sending end of the ring buffer to slot `to`, whether that has other senders or not. Goes on where the last one was.
 * Does not block.
 *
 * Returns 0; -ENXIO if the layout has no such ring buffer; -EALREADY if this program has it open; -ESTALE; -ECONNABORTED;
 * -EUCLEAN; -EINVAL if a pointer is null; -ENODEV.
 */
int ivshmem_channel_sender_open(const struct ivshmem_channel_member *member,
                                uint32_t to,
                                struct ivshmem_channel_sender **sender);

/*
 * The longest message in bytes, or -EINVAL if `sender` is null.
 */
int64_t ivshmem_channel_sender_longest(const struct ivshmem_channel_sender *sender);

/*
 * Sends a message of `len` bytes, and all that was queued before. Blocks until there is room, for up to `timeout_ns`.
 *
 * Returns 0; -EAGAIN if there is no room and `timeout_ns` is 0, -ETIMEDOUT if the time is over; -EMSGSIZE if it can never
 * fit; -ECANCELED; -ESTALE; -ECONNABORTED; -EUCLEAN; -EINVAL if a pointer is null; -ENODEV.
 */
int ivshmem_channel_sender_send(struct ivshmem_channel_sender *sender,
                                const void *message,
                                size_t len,
                                int64_t timeout_ns);

/*
 * As ivshmem_channel_sender_send(), but the receiver need not see the message before ivshmem_channel_sender_flush(): for
 * many small messages at a time, which cost one doorbell.
 */
int ivshmem_channel_sender_queue(struct ivshmem_channel_sender *sender,
                                 const void *message,
                                 size_t len,
                                 int64_t timeout_ns);

/*
 * Makes room in the ring for a message of up to `len` bytes, so that it can be written where it will be: `parts` are two,
 * and are set to where. The second one has no bytes unless the message goes over the end of the ring. The first one begins at
 * a multiple of 8 bytes. Blocks until there is room, for up to `timeout_ns`.
 *
 * Nobody sees the message before ivshmem_channel_sender_commit(), and what is not committed was never there. The parts are the
 * caller's until then, until another call with the sender that takes a message, and until the sender is closed.
 *
 * Returns what ivshmem_channel_sender_send() does.
 */
int ivshmem_channel_sender_reserve(struct ivshmem_channel_sender *sender,
                                   size_t len,
                                   struct ivshmem_channel_part *parts,
                                   int64_t timeout_ns);

/*
 * Ends the message that was reserved, with its first `len` bytes. The receiver need not see it before
 * ivshmem_channel_sender_flush(). Does not block.
 *
 * Returns 0; -EMSGSIZE if so many bytes were not reserved: they still are; -ESTALE; -ECONNABORTED; -EUCLEAN; -EINVAL if nothing is
 * reserved, or `sender` is null; -ENODEV.
 */
int ivshmem_channel_sender_commit(struct ivshmem_channel_sender *sender,
                                  size_t len);

/*
 * Shows the receiver all that was queued, and rings it if it sleeps. Does not block.
 *
 * Returns 0; -ESTALE; -ECONNABORTED; -EUCLEAN; -EINVAL if `sender` is null; -ENODEV.
 */
int ivshmem_channel_sender_flush(struct ivshmem_channel_sender *sender);

/*
 * Lets `cancel` end the waiting for room, also in calls to come.
 *
 * Returns 0; -EINVAL if a pointer is null.
 */
int ivshmem_channel_sender_set_cancel(struct ivshmem_channel_sender *sender,
                                      const struct ivshmem_channel_cancel *cancel);

/*
 * A descriptor for poll(2), epoll(7) and event loops, which is ready for reading (POLLIN) once it is time to try to send
 * again after ivshmem_channel_sender_arm(). It belongs to the sender, is always the same, and is neither read nor closed.
 *
 * Returns it; -EMFILE or -ENFILE; -EINVAL if `sender` is null.
 */
int ivshmem_channel_sender_fd(struct ivshmem_channel_sender *sender);

/*
 * Has the descriptor become ready once there is room for a message of `len` bytes, or a heartbeat is due. Does not block.
 *
 * Returns 1 if it is armed; 0 if there is room, or an error, by now: try to send; -ECANCELED; -ESTALE; -ECONNABORTED;
 * -EMFILE or -ENFILE; -EINVAL if `sender` is null; -ENODEV.
 */
int ivshmem_channel_sender_arm(struct ivshmem_channel_sender *sender,
                               size_t len);

/*
 * Has the descriptor be ready no more, until it is armed again.
 *
 * Returns 0; -EINVAL if `sender` is null.
 */
int ivshmem_channel_sender_disarm(struct ivshmem_channel_sender *sender);

/*
 * Shows the receiver what was queued, and closes the sender. Nothing if it is null.
 */
void ivshmem_channel_sender_close(struct ivshmem_channel_sender *sender);

/*
 * Opens a reading end of topic `topic`, which is another slot's. Begins with the newest value, or with the first one if
 * there is none yet. Does not block.
 *
 * Returns 0; -ENXIO if there is no such topic, or it is this slot's; -EALREADY if this program has it open; -ESTALE;
 * -ECONNABORTED; -EINVAL if a pointer is null; -ENODEV.
 */
int ivshmem_channel_subscriber_open(const struct ivshmem_channel_member *member,
                                    uint32_t topic,
                                    struct ivshmem_channel_subscriber **subscriber);

/*
 * The longest value in bytes, or -EINVAL if `subscriber` is null.
 */
int64_t ivshmem_channel_subscriber_longest(const struct ivshmem_channel_subscriber *subscriber);

/*
 * Copies the next value to `buffer`: the oldest one that was not read here and is still there. `size` is the room there
 * in bytes, no less than ivshmem_channel_subscriber_longest(). Sets `missed`, which may be null, to how many values were
 * published since the last one that was read and are gone. Blocks until there is one, for up to `timeout_ns`.
 *
 * Returns the value's length in bytes; -EAGAIN if there is none and `timeout_ns` is 0, -ETIMEDOUT if the time is over;
 * -EMSGSIZE if `size` is too small; -ECANCELED; -ESTALE; -ECONNABORTED; -EINVAL if another pointer is null; -ENODEV.
 */
int64_t ivshmem_channel_subscriber_next(struct ivshmem_channel_subscriber *subscriber,
                                        void *buffer,
                                        size_t size,
                                        uint32_t *missed,
                                        int64_t timeout_ns);

/*
 * As ivshmem_channel_subscriber_next(), but the newest value, for those who want no other.
 */
int64_t ivshmem_channel_subscriber_newest(struct ivshmem_channel_subscriber *subscriber,
                                          void *buffer,
                                          size_t size,
                                          uint32_t *missed,
                                          int64_t timeout_ns);

/*
 * Lets `cancel` end the waiting for a value, also in calls to come.
 *
 * Returns 0; -EINVAL if a pointer is null.
 */
int ivshmem_channel_subscriber_set_cancel(struct ivshmem_channel_subscriber *subscriber,
                                          const struct ivshmem_channel_cancel *cancel);

/*
 * As ivshmem_channel_receiver_fd().
 */
int ivshmem_channel_subscriber_fd(struct ivshmem_channel_subscriber *subscriber);

/*
 * As ivshmem_channel_receiver_arm(). A value that is written over meanwhile can be told of, and not be found.
 */
int ivshmem_channel_subscriber_arm(struct ivshmem_channel_subscriber *subscriber);

/*
 * As ivshmem_channel_receiver_disarm().
 */
int ivshmem_channel_subscriber_disarm(struct ivshmem_channel_subscriber *subscriber);

/*
 * Closes the subscriber, and nothing if it is null.
 */
void ivshmem_channel_subscriber_close(struct ivshmem_channel_subscriber *subscriber);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LIBIVSHMEM_CHANNEL_H */
