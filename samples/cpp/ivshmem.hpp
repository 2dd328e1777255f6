// SPDX-License-Identifier: GPL-2.0-only OR MIT
//
// What C++ programs may want around libivshmem.h: a device and a mapping that close themselves, and exceptions. C++17. Free
// to copy.
//
// A call of the driver that fails throws std::system_error with its errno. Touching the memory of a device that is gone
// raises SIGBUS, which is no exception: samples/survive.c shows what to do about it.
#ifndef IVSHMEM_HPP
#define IVSHMEM_HPP

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <libivshmem.h>

namespace ivshmem {

[[noreturn]] inline void fail(const std::string &what)
{
	throw std::system_error(errno, std::generic_category(), what);
}

// An open device.
class device {
public:
	explicit device(const std::string &path, int flags = O_RDWR)
		: fd_(ivshmem_open(path.c_str(), flags | O_CLOEXEC, &info_))
	{
		if (fd_ < 0)
			fail(path);
	}

	device(device &&other) noexcept : info_(other.info_), fd_(std::exchange(other.fd_, -1)) {}

	device &operator=(device &&other) noexcept
	{
		std::swap(info_, other.info_);
		std::swap(fd_, other.fd_);
		return *this;
	}

	~device()
	{
		if (fd_ >= 0)
			close(fd_);
	}

	// For poll, epoll and calls that are not here. Stays this object's.
	int fd() const noexcept { return fd_; }

	// What the driver said of the device when it was opened.
	const ivshmem_info &info() const noexcept { return info_; }

	// What was written to the memory before is visible to who is rung.
	void ring(std::uint32_t peer, std::uint32_t vector = 0) const
	{
		if (ivshmem_ring_peer(fd_, peer, vector) != 0)
			fail("ring");
	}

	// The vectors that were rung; sleeps until there is one.
	std::vector<ivshmem_event> events() const
	{
		std::array<ivshmem_event, IVSHMEM_MAX_VECTORS> events;
		int n;

		do {
			n = ivshmem_read_events(fd_, events.data(), events.size());
		} while (n < 0 && errno == EINTR);
		if (n < 0)
			fail("read");
		return {events.begin(), events.begin() + n};
	}

private:
	ivshmem_info info_{}; // filled while fd_ is made, so it comes first
	int fd_;
};

// A part of the shared memory. Stays mapped when the device is closed.
class memory {
public:
	memory(const device &from, std::uint64_t offset, std::size_t bytes, int prot = PROT_READ | PROT_WRITE)
		: start_(static_cast<std::byte *>(ivshmem_map(from.fd(), offset, bytes, prot))), bytes_(bytes)
	{
		if (!start_)
			fail("map");
	}

	memory(memory &&other) noexcept : start_(std::exchange(other.start_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

	memory &operator=(memory &&other) noexcept
	{
		std::swap(start_, other.start_);
		std::swap(bytes_, other.bytes_);
		return *this;
	}

	~memory()
	{
		if (start_)
			munmap(start_, bytes_);
	}

	std::size_t size() const noexcept { return bytes_; }

	// Words are aligned to 4 bytes. A load comes before all that follows, a store after all that was before.
	std::uint32_t load(std::size_t at) const { return ivshmem_load(word(at)); }
	void store(std::size_t at, std::uint32_t value) { ivshmem_store(word(at), value); }

	// A copy: others write at any time, so check what was copied, and use that.
	std::string read(std::size_t at, std::size_t bytes) const
	{
		std::string copy(bytes, '\0');

		ivshmem_copy_from(copy.data(), within(at, bytes), bytes);
		return copy;
	}

	void write(std::size_t at, const std::string &bytes)
	{
		ivshmem_copy_to(within(at, bytes.size()), bytes.data(), bytes.size());
	}

private:
	std::byte *within(std::size_t at, std::size_t bytes) const
	{
		if (at > bytes_ || bytes > bytes_ - at)
			throw std::out_of_range("behind the end of the mapping");
		return start_ + at;
	}

	std::byte *word(std::size_t at) const
	{
		if (at % sizeof(std::uint32_t) != 0)
			throw std::out_of_range("a word that is not aligned");
		return within(at, sizeof(std::uint32_t));
	}

	std::byte *start_;
	std::size_t bytes_;
};

} // namespace ivshmem

#endif // IVSHMEM_HPP
