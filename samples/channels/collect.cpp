// SPDX-License-Identifier: GPL-2.0-only OR MIT
//
// One program collects the lines of all others, in C++17:
//
//	collect LINK collect	prints the lines of all, with their slots, until each of two has said "bye"
//	collect LINK say	sends the lines of its standard input
//
// LINK is a device such as /dev/ivshmem0 in a guest, a server's socket on the host, or a file that is shared memory.
#include <array>
#include <cerrno>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "ivshmem_channel.hpp"

namespace {

constexpr std::uint32_t COLLECTS = 0;
constexpr std::uint32_t SLOTS = 8;
constexpr std::uint32_t RING = 4096; // bytes for each who says something
constexpr std::int64_t FOREVER = -1;

ivshmem::member join(const char *path, const std::vector<std::uint32_t> &slots)
{
	auto link = ivshmem::make<ivshmem::link>(ivshmem_channel_link_open, path);
	auto layout = ivshmem::layout(ivshmem_channel_layout_new(SLOTS));

	ivshmem::check(ivshmem_channel_layout_multi_ring(layout.get(), COLLECTS, RING));
	return ivshmem::make<ivshmem::member>(ivshmem_channel_create_or_join, link.get(), std::uint64_t{0}, layout.get(),
					      slots.data(), slots.size(), 0u, FOREVER, nullptr);
}

void collect(const char *path)
{
	auto me = join(path, {COLLECTS});
	auto lines = ivshmem::make<ivshmem::receiver>(ivshmem_channel_receiver_open, me.get(), IVSHMEM_CHANNEL_ALL);
	std::array<char, RING> buffer;
	int ended = 0;

	while (ended < 2) {
		std::uint32_t from = 0;
		auto len = ivshmem_channel_receiver_receive(lines.get(), buffer.data(), buffer.size(), &from, FOREVER);

		if (len == -EBADMSG) {
			// One sender's ring buffer is spoilt; the others are still heard.
			std::cerr << ivshmem_channel_error() << '\n';
			continue;
		}
		std::string_view line(buffer.data(), static_cast<std::size_t>(ivshmem::check(len)));

		std::cout << from << ": " << line << std::endl;
		ended += line == "bye";
	}
}

void say(const char *path)
{
	std::vector<std::uint32_t> others;

	for (auto slot = COLLECTS + 1; slot < SLOTS; slot++)
		others.push_back(slot);
	auto me = join(path, others);
	auto lines = ivshmem::make<ivshmem::sender>(ivshmem_channel_sender_open, me.get(), COLLECTS);

	for (std::string line; std::getline(std::cin, line);)
		ivshmem::check(ivshmem_channel_sender_send(lines.get(), line.data(), line.size(), FOREVER));
}

} // namespace

int main(int argc, char **argv)
try {
	std::string_view what = argc == 3 ? argv[2] : "";

	if (what == "collect")
		collect(argv[1]);
	else if (what == "say")
		say(argv[1]);
	else {
		std::cerr << "usage: collect LINK collect|say\n";
		return 2;
	}
	return 0;
} catch (const ivshmem::error &error) {
	std::cerr << argv[1] << ": " << error.what() << '\n';
	return 1;
}
