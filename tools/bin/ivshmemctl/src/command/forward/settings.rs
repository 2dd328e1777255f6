// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What an end was told to do, and what others may have it do.

use super::address::{Address, Allowed, Forward};

/// The settings.
pub struct Settings {
    /// What is listened for here.
    pub local: Vec<Forward>,
    /// What other ends are asked to listen for.
    pub remote: Vec<Forward>,
    /// What other ends may connect to from here.
    pub allow: Vec<Allowed>,
    /// Where other ends may listen here.
    pub allow_listen: Vec<Allowed>,
    /// Our name, empty if we have none.
    pub name: String,
}

impl Settings {
    /// The address to which another end wants to connect from here, if it may; else why not.
    pub fn may_connect(&self, address: &str) -> Result<Address, String> {
        may(&self.allow, address, "--allow")
    }

    /// The address at which another end wants to listen here, if it may; else why not.
    pub fn may_listen(&self, address: &str) -> Result<Address, String> {
        may(&self.allow_listen, address, "--allow-listen")
    }
}

fn may(allowed: &[Allowed], text: &str, option: &str) -> Result<Address, String> {
    let address: Address = text.parse()?;
    match allowed.iter().any(|allowed| allowed.has(&address)) {
        true => Ok(address),
        false => Err(format!(
            "{address} is not allowed: start the end that is to use it with {option} {address}"
        )),
    }
}
