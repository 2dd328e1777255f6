// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What an endpoint was told to do, and what others may have it do.

use super::address::{quoted, Address, Allowed, Forward};

/// The settings.
pub struct Settings {
    /// What is listened for here.
    pub local: Vec<Forward>,
    /// What other endpoints are asked to listen for.
    pub remote: Vec<Forward>,
    /// What other endpoints may connect to from here.
    pub allow: Vec<Allowed>,
    /// Where other endpoints may listen here.
    pub allow_listen: Vec<Allowed>,
    /// Our name, empty if we have none.
    pub name: String,
}

impl Settings {
    /// The address to which another endpoint wants to connect from here, if it may; else why not.
    pub fn may_connect(&self, address: &str) -> Result<Address, Refusal> {
        may(&self.allow, address, "--allow", &self.described())
    }

    /// The address at which another endpoint wants to listen here, if it may; else why not.
    pub fn may_listen(&self, address: &str) -> Result<Address, Refusal> {
        may(&self.allow_listen, address, "--allow-listen", "it")
    }

    /// This endpoint as others are told of it.
    fn described(&self) -> String {
        match self.name.is_empty() {
            true => "the other endpoint".into(),
            false => quoted(&self.name),
        }
    }
}

/// Why another endpoint does not get what it asked for.
pub struct Refusal {
    /// As this endpoint tells it.
    pub here: String,
    /// As the other one is told.
    pub there: String,
}

impl From<String> for Refusal {
    /// The same for both.
    fn from(reason: String) -> Self {
        Self {
            here: reason.clone(),
            there: reason,
        }
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        reason.to_string().into()
    }
}

/// `who` is this endpoint in the text for the other one.
fn may(allowed: &[Allowed], text: &str, option: &str, who: &str) -> Result<Address, Refusal> {
    let address: Address = text.parse()?;
    match allowed.iter().any(|allowed| allowed.has(&address)) {
        true => Ok(address),
        false => Err(Refusal {
            here: format!("{address} is not allowed: start this endpoint with {option} {address}"),
            there: format!(
                "{who} does not allow {address}: start that endpoint with {option} {address}"
            ),
        }),
    }
}
