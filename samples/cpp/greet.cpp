// SPDX-License-Identifier: GPL-2.0-only OR MIT
//
// "hello" in C++17, with handles that close themselves; each understands the other.
//
//	greet [-d DEVICE]		waits to be rung, and prints what was written
//	greet [-d DEVICE] PEER		writes a line, and rings the guest that waits as PEER
#include <charconv>
#include <cstdint>
#include <exception>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "ivshmem.hpp"

namespace {

constexpr std::size_t LINE = 64; // bytes at the start of the memory, filled up with 0
constexpr char USAGE[] = "usage: greet [-d DEVICE] [PEER]\n";

// The number that the whole of this text is.
std::optional<std::uint32_t> number(const std::string &text)
{
	std::uint32_t value = 0;
	const char *end = text.data() + text.size();
	auto read = std::from_chars(text.data(), end, value);

	return read.ec == std::errc() && read.ptr == end ? std::optional(value) : std::nullopt;
}

void greet(const std::string &path, std::optional<std::uint32_t> peer)
{
	ivshmem::device device(path);
	ivshmem::memory memory(device, 0, LINE);

	if (peer) {
		auto line = "hello from peer " + std::to_string(device.info().peer_id);

		line.resize(LINE);
		memory.write(0, line);
		device.ring(*peer);
		return;
	}
	std::cout << "waiting: run \"greet " << device.info().peer_id << "\" in another guest" << std::endl;
	for (const auto &event : device.events())
		std::cout << "vector " << event.vector << ": " << memory.read(0, LINE).c_str() << '\n';
}

} // namespace

int main(int argc, char **argv)
{
	std::vector<std::string> words(argv + 1, argv + argc);
	std::string path = "/dev/ivshmem0";
	std::optional<std::uint32_t> peer;

	if (words.size() >= 2 && words[0] == "-d") {
		path = words[1];
		words.erase(words.begin(), words.begin() + 2);
	}
	if (!words.empty()) {
		peer = number(words[0]);
		if (!peer || words.size() > 1) {
			bool asked = words[0] == "-h";

			(asked ? std::cout : std::cerr) << USAGE;
			return asked ? 0 : 2;
		}
	}
	try {
		greet(path, peer);
	} catch (const std::exception &error) {
		std::cerr << "greet: " << error.what() << '\n';
		return 1;
	}
	return 0;
}
