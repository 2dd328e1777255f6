// SPDX-License-Identifier: GPL-2.0-only OR MIT
//
// What C++ programs may want around libivshmem_channel.h: handles that close themselves, and exceptions. C++17. Free to copy.
#ifndef IVSHMEM_CHANNEL_HPP
#define IVSHMEM_CHANNEL_HPP

#include <cstdint>
#include <memory>
#include <stdexcept>

#include <libivshmem_channel.h>

namespace ivshmem {

// A failed call: the number of errno.h, and what to do.
class error : public std::runtime_error {
public:
	explicit error(int number) : std::runtime_error(ivshmem_channel_error()), number_(number) {}

	int number() const noexcept { return number_; }

private:
	int number_;
};

inline std::int64_t check(std::int64_t status)
{
	if (status < 0)
		throw error(static_cast<int>(-status));
	return status;
}

template <auto close> struct closer {
	template <typename T> void operator()(T *handle) const noexcept { close(handle); }
};

template <typename T, auto close> using handle = std::unique_ptr<T, closer<close>>;

// With "struct": ivshmem_channel.h has functions of these names.
using link = handle<struct ivshmem_channel_link, ivshmem_channel_link_close>;
using layout = handle<struct ivshmem_channel_layout, ivshmem_channel_layout_free>;
using channel = handle<struct ivshmem_channel, ivshmem_channel_close>;
using member = handle<struct ivshmem_channel_member, ivshmem_channel_member_close>;
using cancel = handle<struct ivshmem_channel_cancel, ivshmem_channel_cancel_free>;
using sender = handle<struct ivshmem_channel_sender, ivshmem_channel_sender_close>;
using receiver = handle<struct ivshmem_channel_receiver, ivshmem_channel_receiver_close>;
using publisher = handle<struct ivshmem_channel_publisher, ivshmem_channel_publisher_close>;
using subscriber = handle<struct ivshmem_channel_subscriber, ivshmem_channel_subscriber_close>;
using rpc_server = handle<struct ivshmem_channel_rpc_server, ivshmem_channel_rpc_server_close>;
using rpc_request = handle<struct ivshmem_channel_rpc_request, ivshmem_channel_rpc_request_free>;
using rpc_client = handle<struct ivshmem_channel_rpc_client, ivshmem_channel_rpc_client_close>;

// make<sender>(ivshmem_channel_sender_open, member.get(), 1): the handle that the function makes.
template <typename Handle, typename Function, typename... Arguments>
Handle make(Function function, Arguments... arguments)
{
	typename Handle::pointer made = nullptr;

	check(function(arguments..., &made));
	return Handle(made);
}

} // namespace ivshmem

#endif // IVSHMEM_CHANNEL_HPP
