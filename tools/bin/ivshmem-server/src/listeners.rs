// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! All sockets that the server listens on.

use rustix::io::Errno;

use crate::control::ControlSocket;
use crate::door::Door;
use crate::listener::Listener;
use crate::poller::{Interest, Poller, Token};
use crate::status::StatusSocket;
use crate::succession::names;

/// All sockets that the server listens on.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub doors: Vec<Door>,
    pub status: Option<StatusSocket>,
    pub control: Option<ControlSocket>,
    pub hand_over: Option<Listener>,
}

impl Listeners {
    /// Each with its name and token.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Listener, Token)> {
        let doors = self.doors.iter().enumerate();
        let doors = doors.map(|(index, door)| (&*door.name, &door.listener, Token::Door(index)));
        let status = self.status.as_ref().map(|status| &status.listener);
        let control = self.control.as_ref().map(|control| &control.listener);
        let others = [
            (names::STATUS_DOOR, status, Token::StatusDoor),
            (names::CONTROL_DOOR, control, Token::ControlDoor),
            (
                names::HAND_OVER_DOOR,
                self.hand_over.as_ref(),
                Token::HandOverDoor,
            ),
        ];
        let others = others.into_iter();
        doors.chain(others.filter_map(|(name, listener, token)| Some((name, listener?, token))))
    }

    /// The same, to be changed.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Listener> {
        let doors = self.doors.iter_mut().map(|door| &mut door.listener);
        let status = self.status.iter_mut().map(|status| &mut status.listener);
        let control = self.control.iter_mut().map(|control| &mut control.listener);
        doors
            .chain(status)
            .chain(control)
            .chain(&mut self.hand_over)
    }

    /// Changes what all are waited for.
    pub(crate) fn wait_for(&self, poller: &Poller, interest: Interest) -> Result<(), Errno> {
        self.all()
            .try_for_each(|(_, listener, token)| poller.modify(listener, token, interest))
    }
}
