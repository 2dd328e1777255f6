// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Where the shared memory comes from, as the configuration says it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rustix::fs::MemfdFlags;

/// Where the shared memory comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemorySource {
    /// Anonymous memory that no client can resize. It lives as long as the server or any
    /// client.
    Memfd,
    /// A POSIX shared memory object of this name, as by `shm_open()`. Otherwise as a file.
    Shm(String),
    /// A file that the server creates, with mode 0600, and removes when it ends. It must not
    /// exist yet, as it may be the memory of somebody else. If a directory is named, the file
    /// has no name and ends with its last user. It can be opened by name, but any client can
    /// truncate it, which kills the others.
    File(PathBuf),
}

/// Size of huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugePages {
    /// 2 MiB.
    Size2M,
    /// 1 GiB.
    Size1G,
}

/// A text that is no [`MemorySource`] or [`HugePages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct ParseMemoryError(&'static str);

impl FromStr for MemorySource {
    type Err = ParseMemoryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "memfd" {
            return Ok(Self::Memfd);
        }
        match text.split_once(':') {
            Some(("path", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            // As for shm_open(): one slash in front, which adds nothing, and none elsewhere.
            Some(("shm", name)) => match name.strip_prefix('/').unwrap_or(name) {
                "" | "." | ".." => Err(ParseMemoryError("a name after shm:")),
                name if name.contains('/') => Err(ParseMemoryError("a name without / after shm:")),
                name => Ok(Self::Shm(name.to_owned())),
            },
            _ => Err(ParseMemoryError("memfd, shm:NAME or path:FILE")),
        }
    }
}

impl fmt::Display for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memfd => f.write_str("memfd"),
            Self::Shm(name) => write!(f, "shm:{name}"),
            Self::File(path) => write!(f, "path:{}", path.display()),
        }
    }
}

impl HugePages {
    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Size2M => 2 << 20,
            Self::Size1G => 1 << 30,
        }
    }

    pub(crate) const fn flags(self) -> MemfdFlags {
        match self {
            Self::Size2M => MemfdFlags::HUGETLB.union(MemfdFlags::HUGE_2MB),
            Self::Size1G => MemfdFlags::HUGETLB.union(MemfdFlags::HUGE_1GB),
        }
    }
}

impl FromStr for HugePages {
    type Err = ParseMemoryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "2M" => Ok(Self::Size2M),
            "1G" => Ok(Self::Size1G),
            _ => Err(ParseMemoryError("2M or 1G")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        assert_eq!("memfd".parse(), Ok(MemorySource::Memfd));
        let file = MemorySource::File("/dev/shm/x".into());
        assert_eq!("path:/dev/shm/x".parse(), Ok(file));
        for text in ["shm:x", "shm:/x"] {
            assert_eq!(text.parse(), Ok(MemorySource::Shm("x".into())));
        }
        for text in [
            "",
            "path:",
            "shm:",
            "shm:/",
            "shm:a/b",
            "shm:..",
            "/dev/shm/x",
        ] {
            assert!(text.parse::<MemorySource>().is_err(), "{text}");
        }
    }
}
