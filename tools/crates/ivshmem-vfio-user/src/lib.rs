// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Plugs the ivshmem device model into QEMU through vfio-user.
//!
//! A [`Host`] owns a region of the model. For each virtual machine it listens on a socket, to which QEMU's device
//! `vfio-user-pci` connects (QEMU 10.1 and later, with and without KVM). QEMU maps the shared memory itself, so
//! accesses to it cost nothing; an access to a register is a message and an answer.
//!
//! ```no_run
//! use ivshmem_model::flavour::AcrnHv;
//! use ivshmem_model::Region;
//! use ivshmem_vfio_user::{Backing, Host};
//!
//! let region = Region::new(AcrnHv::V3_3, Backing::anonymous("shm_region_0", 2 << 20)?);
//! let host = Host::new(region);
//! let vm0 = host.listen(0, "/run/vm0.sock".as_ref())?;
//! let vm2 = host.listen(2, "/run/vm2.sock".as_ref())?;
//! println!("qemu-system-x86_64 ... -device '{}'", vm0.qemu_device());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What QEMU keeps to itself
//!
//! QEMU emulates BAR addresses and the MSI-X table for every vfio device. So, other than in the model alone:
//!
//! - a BAR decodes where and when QEMU says, and moving BAR2 always works;
//! - the table has QEMU's access rules, and the multi-function bit of the header type is QEMU's;
//! - the model knows a vector as unmasked while QEMU has given an event descriptor for it. QEMU gives it when the guest
//!   first unmasks the vector, and does not say when the guest masks it again: such a ring is kept by QEMU and
//!   delivered later, where ACRN would lose it. [`Host::mask`] makes up for that in tests;
//! - what is pending when the guest switches MSI-X off is forgotten, where `ivshmem-doorbell` keeps it;
//! - a ring of a masked vector while bus mastering is off is lost, where `ivshmem-doorbell` keeps it.
//!
//! # Trust
//!
//! A QEMU that misbehaves hurts its own machine: a malformed message ends its connection, an event descriptor that
//! takes no more holds up nobody who rings it, one that is no eventfd is not used, and [anonymous](Backing::anonymous) memory
//! cannot be resized. But it has all of the region's memory, and see the next section for that of this process.
//!
//! One thing cannot be avoided. A QEMU can clear O_NONBLOCK of its event descriptor, and fill it in the moment between the
//! look whether there is room and the write: then the machine that rings it just then waits, and its next QEMU too, until
//! the one that did this takes the descriptor away or goes. Nobody else waits. Give machines that must not harm each other
//! different regions.
//!
//! # Defects of the crate `vfio_user` 0.1.7 that are worked round here
//!
//! - A BAR's descriptor is sent only with a list of mappable areas: BAR2 gets one area that is all of it.
//! - Any error but "invalid input" is answered with the error number 0, which QEMU takes for success, and what
//!   remains of the message is taken for the next one: no access here fails, except one of more than 1 MiB, which no
//!   client may send.
//! - It panics on a malformed version message: the thread that serves a connection catches that and goes on.
//! - It takes what has come of a header for all of it: a client has to send each at once, as QEMU does.
//! - It allocates as many bytes as an access or a version message says, up to 4 GiB, before anything here can look: whoever can connect to a
//!   socket can make the server run out of memory. Keep the sockets where only the QEMUs' user can connect.
//! - It receives descriptors without close-on-exec, and programs that are started at that moment inherit them. Those that
//!   are kept get the flag here.
//! - `Server::run` serves one connection: it is called again for the next QEMU.
//! - `Server::new` refuses a path that exists, also if it is left over from a dead server: the socket is
//!   made here.
//! - There is no way to stop a server: [`Endpoint`] shuts the listening socket down.

mod backend;
mod backing;
mod endpoint;
mod event;
mod host;
mod layout;

pub use backing::Backing;
pub use endpoint::Endpoint;
pub use host::Host;
