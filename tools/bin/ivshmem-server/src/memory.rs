// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The memory that clients share.

use std::cell::OnceCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, FlockOperation, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::process::geteuid;
use tracing::warn;

use crate::error::{system, BindError};
use crate::identity::is_at;
use crate::pages;
use crate::source::MemorySource;
use crate::RegionConfig;

/// Where POSIX shared memory objects are.
const SHM_DIRECTORY: &str = "/dev/shm";

/// Shared memory of the right size.
#[derive(Debug)]
pub(crate) struct Memory {
    fd: OwnedFd,
    /// The same, for those who may only read, once there was one.
    read_only: OnceCell<OwnedFd>,
    /// File to remove at the end.
    created: Option<PathBuf>,
    /// Whether the file is ours to remove, and not still that of another server.
    owned: bool,
}

impl Memory {
    /// Creates it. `check` is called from time to time while that takes long, and its error ends it.
    pub(crate) fn create(
        config: &RegionConfig,
        check: impl Fn() -> Result<(), BindError>,
    ) -> Result<Self, BindError> {
        if let Some(pages) = config.huge_pages {
            if config.memory != MemorySource::Memfd {
                return Err(BindError::HugePagesOfFile);
            }
            if config.size.bytes() < pages.bytes() {
                return Err(BindError::SmallerThanPage(config.size));
            }
        }
        let mut memory = match file_of(&config.memory) {
            None => memfd(config)?,
            Some(path) => file(&path, config)?,
        };
        pages::place(memory.as_fd(), config)?;
        // Without pages of its own, hugetlb memory kills whoever touches it when there are none.
        if config.prealloc || config.huge_pages.is_some() {
            pages::allocate(&memory, config, check)?;
        } else if let Some(room) = memory.room() {
            if room < config.size.bytes() {
                warn!(
                    "{}: the file system has room for {room} of {} bytes: who touches more is killed; make \
                     room, or have it refused by --prealloc",
                    config.name,
                    config.size.bytes()
                );
            }
        }
        if config.keep_memory {
            memory.created = None;
        }
        Ok(memory)
    }

    /// Bytes that the file system of a file has for it.
    fn room(&self) -> Option<u64> {
        let found = fs::fstatvfs(&self.fd).ok()?;
        let has = fs::fstat(&self.fd).ok()?.st_blocks as u64 * 512;
        // A memfd's tells nothing of what there is.
        (found.f_blocks > 0).then(|| found.f_bavail * found.f_frsize + has)
    }

    /// Whether it still has its size, which every client can change if it is a file.
    pub(crate) fn has_its_size(&self, config: &RegionConfig) -> bool {
        fs::fstat(&self.fd).is_ok_and(|found| found.st_size as u64 == config.size.bytes())
    }

    /// The memory that a server before this one created. Its file stays when the value is
    /// dropped before it is [owned](Self::own).
    pub(crate) fn adopt(fd: OwnedFd, config: &RegionConfig) -> Result<Self, BindError> {
        let found = fs::fstat(&fd).map_err(system("look at the inherited memory"))?;
        if found.st_size as u64 != config.size.bytes() {
            return Err(BindError::InheritedSize {
                region: config.name.clone(),
                found: found.st_size as u64,
                wanted: config.size,
            });
        }
        Ok(Self {
            fd,
            read_only: OnceCell::new(),
            created: file_of(&config.memory).filter(|path| removable(path, config)),
            owned: false,
        })
    }

    /// The memory for clients that may only read it.
    pub(crate) fn read_only(&self) -> Result<BorrowedFd<'_>, Errno> {
        if let Some(fd) = self.read_only.get() {
            return Ok(fd.as_fd());
        }
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let fd = fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(self.read_only.get_or_init(|| fd).as_fd())
    }

    /// Takes care of the file from now on.
    pub(crate) fn own(&mut self) {
        self.owned = true;
    }

    /// Leaves the file to a successor.
    pub(crate) fn abandon(&mut self) {
        self.owned = false;
    }
}

fn file_of(source: &MemorySource) -> Option<PathBuf> {
    match source {
        MemorySource::Memfd => None,
        MemorySource::Shm(name) => Some(Path::new(SHM_DIRECTORY).join(name)),
        MemorySource::File(path) => Some(path.clone()),
    }
}

fn removable(path: &Path, config: &RegionConfig) -> bool {
    !config.keep_memory && !path.is_dir()
}

fn memfd(config: &RegionConfig) -> Result<Memory, BindError> {
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if let Some(pages) = config.huge_pages {
        flags |= pages.flags();
    }
    let fd = fs::memfd_create("ivshmem", flags).map_err(system("create a memfd"))?;
    fs::ftruncate(&fd, config.size.bytes()).map_err(system("set the size of the memfd"))?;
    // Those who may only read it must not be able to open it again to write.
    fs::fchmod(&fd, Mode::RUSR | Mode::WUSR).map_err(system("set the mode of the memfd"))?;
    // A client that shrank the memory would kill every virtual machine that touches it.
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    fs::fcntl_add_seals(&fd, seals).map_err(system("seal the memfd"))?;
    Ok(Memory {
        fd,
        read_only: OnceCell::new(),
        created: None,
        owned: true,
    })
}

fn file(path: &Path, config: &RegionConfig) -> Result<Memory, BindError> {
    let failed = |errno: Errno| BindError::MemoryFile(path.to_owned(), errno.into());
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let opened = if path.is_dir() {
        fs::open(path, flags | OFlags::TMPFILE, mode)
    } else {
        fs::open(path, flags | OFlags::CREATE | OFlags::EXCL, mode)
    };
    let fd = match opened {
        Err(Errno::EXIST) if config.keep_memory => return kept(path, config),
        Err(Errno::EXIST) => return Err(BindError::MemoryExists(path.to_owned())),
        opened => opened.map_err(failed)?,
    };
    // From here on, the file is removed when something fails, also if it is to be kept.
    let memory = Memory {
        fd,
        read_only: OnceCell::new(),
        created: (!path.is_dir()).then(|| path.to_owned()),
        owned: true,
    };
    fs::ftruncate(&memory.fd, config.size.bytes()).map_err(failed)?;
    lock(&memory.fd);
    Ok(memory)
}

/// Memory of an earlier server, which is used as it is. Its size is never changed, as somebody
/// may have mapped it. It must not be a file by which another user gets what clients share.
fn kept(path: &Path, config: &RegionConfig) -> Result<Memory, BindError> {
    let failed = |errno: Errno| BindError::MemoryFile(path.to_owned(), errno.into());
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let found = fs::fstat(&fd).map_err(failed)?;
    if found.st_uid != 0 && found.st_uid != geteuid().as_raw() {
        return Err(BindError::KeptOwner(path.to_owned(), found.st_uid));
    }
    let size = found.st_size as u64;
    if size != config.size.bytes() {
        return Err(BindError::KeptSize(path.to_owned(), size, config.size));
    }
    if !lock(&fd) {
        warn!(
            "{}: {} is still used by clients of an earlier server, who keep their IDs: who joins now can get the same \
             ones; end the old clients first",
            config.name,
            path.display()
        );
    }
    Ok(Memory {
        fd,
        read_only: OnceCell::new(),
        created: None,
        owned: true,
    })
}

/// Locks the memory, as far as it can be. Returns whether nobody else has it locked. The lock is that of the open file, which
/// all clients get, so it is there until the last of them ends.
fn lock(fd: &OwnedFd) -> bool {
    fs::flock(fd, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Some(path) = self.created.as_ref().filter(|_| self.owned) else {
            return;
        };
        // Somebody may have removed it, and somebody else put another file in its place.
        if is_at(&self.fd, path).unwrap_or(false) {
            if let Err(error) = std::fs::remove_file(path) {
                warn!("cannot remove {}: {error}", path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::HugePages;
    use crate::RegionSize;

    fn create(config: &RegionConfig) -> Result<Memory, BindError> {
        Memory::create(config, || Ok(()))
    }

    fn config(memory: MemorySource) -> RegionConfig {
        let mut config = RegionConfig::new("unused");
        config.size = RegionSize::MIN;
        config.memory = memory;
        config
    }

    #[test]
    fn room_of_a_file_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        let memory = create(&config(MemorySource::File(path))).unwrap();
        let room = memory.room().unwrap();
        assert!(room > 0 && room < 1 << 60, "{room}");
        let memfd = create(&config(MemorySource::Memfd)).unwrap();
        assert_eq!(memfd.room(), None);
    }

    #[test]
    fn file_is_created_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        let mut config = config(MemorySource::File(path.clone()));
        config.prealloc = true;
        let memory = create(&config).unwrap();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!(found.len(), RegionSize::MIN.bytes());
        assert!(std::os::unix::fs::MetadataExt::blocks(&found) > 0);
        drop(memory);
        assert!(!path.exists());
    }

    #[test]
    fn file_of_somebody_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        std::fs::write(&path, "precious").unwrap();
        let mut config = config(MemorySource::File(path.clone()));
        let error = create(&config).unwrap_err();
        assert!(matches!(error, BindError::MemoryExists(_)), "{error}");
        config.keep_memory = true;
        let error = create(&config).unwrap_err();
        assert!(matches!(error, BindError::KeptSize(..)), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn file_in_its_place_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        let memory = create(&config(MemorySource::File(path.clone()))).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        drop(memory);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn file_of_another_user_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        std::fs::write(&path, vec![0; 4096]).unwrap();
        let mut config = config(MemorySource::File(path.clone()));
        config.keep_memory = true;
        if !geteuid().is_root() {
            return println!("skipped: only root can make such a file");
        }
        std::os::unix::fs::chown(&path, Some(54321), None).unwrap();
        let error = create(&config).unwrap_err();
        assert!(matches!(error, BindError::KeptOwner(_, 54321)), "{error}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        drop(create(&config).unwrap());
        // Nor one that somebody points to.
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for keep in [false, true] {
            config.memory = MemorySource::File(link.clone());
            config.keep_memory = keep;
            create(&config).unwrap_err();
        }
    }

    #[test]
    fn file_is_kept_and_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        let mut config = config(MemorySource::File(path.clone()));
        config.keep_memory = true;
        let memory = create(&config).unwrap();
        rustix::io::pwrite(&memory, b"hello", 0).unwrap();
        drop(memory);
        let memory = create(&config).unwrap();
        let mut found = [0; 5];
        rustix::io::pread(&memory, &mut found, 0).unwrap();
        assert_eq!(&found, b"hello");
    }

    #[test]
    fn file_that_cannot_be_used_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("memory");
        let mut config = config(MemorySource::File(path.clone()));
        config.keep_memory = true;
        // There is none of this number, if there is any choice at all.
        config.numa_node = Some(1023);
        create(&config).unwrap_err();
        assert!(!path.exists());
    }

    #[test]
    fn file_in_a_directory_has_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(MemorySource::File(directory.path().to_owned()));
        let memory = create(&config).unwrap();
        assert_eq!(
            fs::fstat(&memory).unwrap().st_size as u64,
            RegionSize::MIN.bytes()
        );
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn huge_pages_are_for_large_memfds() {
        let mut config = config(MemorySource::Memfd);
        config.huge_pages = Some(HugePages::Size2M);
        let error = create(&config).unwrap_err();
        assert!(matches!(error, BindError::SmallerThanPage(_)), "{error}");
        config.memory = MemorySource::Shm("ivshmem-never".into());
        let error = create(&config).unwrap_err();
        assert!(matches!(error, BindError::HugePagesOfFile), "{error}");
    }
}
