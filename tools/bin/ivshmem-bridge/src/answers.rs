// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The keys under which bridges answer who asks for a newest value. Each has one of its own: with several queryables of one
//! key, routers of Zenoh 1.10 forget some when another one comes back.

use anyhow::{anyhow, Result};
use zenoh::key_expr::OwnedKeyExpr;

/// What follows the value's key. With the @ no wildcard matches it by chance.
const CHUNK: &str = "@ivshmem";

/// The key of the bridge with this origin.
pub fn own(key: &OwnedKeyExpr, origin: u64) -> Result<OwnedKeyExpr> {
    below(key, &format!("{origin:016x}"))
}

/// The expression for those of all bridges.
pub fn all(key: &OwnedKeyExpr) -> Result<OwnedKeyExpr> {
    below(key, "*")
}

fn below(key: &OwnedKeyExpr, last: &str) -> Result<OwnedKeyExpr> {
    let below = OwnedKeyExpr::new(format!("{key}/{CHUNK}/{last}"));
    below.map_err(|error| anyhow!("{key}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_one_key_are_found_and_others_are_not() {
        let key = |text: &str| OwnedKeyExpr::new(text).unwrap();
        let mine = own(&key("a/b"), 7).unwrap();
        assert_eq!(mine.as_str(), "a/b/@ivshmem/0000000000000007");
        assert!(all(&key("a/b")).unwrap().intersects(&mine));
        assert!(!all(&key("a")).unwrap().intersects(&mine));
        assert!(!key("**").intersects(&mine));
    }
}
