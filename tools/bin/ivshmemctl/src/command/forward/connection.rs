// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Carries the bytes of one connection between its socket and the other endpoint.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use tokio::sync::Notify;

use super::flow::{Due, Flow, Over};
use super::frame::{Body, Key};
use super::lane::Correspondent;
use super::stream::Stream;

/// A connection, as those know it who hear of it and who carry it.
#[derive(Default)]
pub struct Connection {
    flow: RefCell<Flow>,
    changed: Notify,
    /// The socket while it is carried: what is heard goes there at once if it can.
    stream: RefCell<Option<Rc<Stream>>>,
}

/// Lends a connection its socket.
struct Lent<'a>(&'a Connection);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.0.stream.borrow_mut() = None;
    }
}

/// Why a connection has not ended as it should.
#[derive(Debug)]
pub enum Broken {
    /// The other endpoint knows: it says so, or is gone.
    Told(Over),
    /// It has to be told this.
    Untold(String),
}

impl Connection {
    /// Takes what the other endpoint says of it.
    pub fn hear(&self, body: Body<'_>) {
        let mut flow = self.flow.borrow_mut();
        let is_data = matches!(body, Body::Data(_));
        flow.hear(body, |bytes| match &*self.stream.borrow() {
            // If it fails, it does so again for the one who writes what waits.
            Some(stream) => stream.try_write(bytes).unwrap_or(0),
            None => 0,
        });
        // Bytes that have all gone are of no concern to anybody.
        if !(is_data && flow.is_idle()) {
            self.changed.notify_waiters();
        }
    }

    /// Ends it in both directions.
    pub fn end(&self, over: Over) {
        self.flow.borrow_mut().end(over);
        self.changed.notify_waiters();
    }

    /// Carries all bytes in both directions, until both have ended.
    pub async fn carry(
        &self,
        stream: Rc<Stream>,
        other: &Correspondent,
        key: Key,
        piece: usize,
    ) -> Result<(), Broken> {
        *self.stream.borrow_mut() = Some(stream.clone());
        let _lent = Lent(self);
        let carry = async {
            tokio::try_join!(
                self.send(&stream, other, key, piece),
                self.receive(&stream, other, key)
            )
        };
        tokio::select! {
            carried = carry => carried.map(|_| ()),
            broken = self.over() => Err(broken),
        }
    }

    /// Waits until it is over before both directions have ended.
    pub async fn over(&self) -> Broken {
        match self.when(|flow| flow.over().cloned()).await {
            Over::Violation(what) => Broken::Untold(what.into()),
            // It may have heard of this one since.
            Over::Forgotten => Broken::Untold("an endpoint was silent for too long".into()),
            told => Broken::Told(told),
        }
    }

    /// Waits until there is something in the flow.
    async fn when<T>(&self, mut find: impl FnMut(&mut Flow) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            let found = find(&mut self.flow.borrow_mut());
            match found {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }

    /// From the socket to the other endpoint.
    async fn send(
        &self,
        stream: &Stream,
        other: &Correspondent,
        key: Key,
        piece: usize,
    ) -> Result<(), Broken> {
        let mut buffer = vec![0; piece];
        loop {
            let most = self
                .when(|flow| Some(flow.may_send(piece)).filter(|most| *most > 0))
                .await;
            let read = stream.read(&mut buffer[..most]).await;
            let length = read.map_err(failed)?;
            if length == 0 {
                return other.send(key, Body::End).await.map_err(gone);
            }
            self.flow.borrow_mut().sent(length);
            other
                .send(key, Body::Data(&buffer[..length]))
                .await
                .map_err(gone)?;
        }
    }

    /// From the other endpoint to the socket.
    async fn receive(
        &self,
        stream: &Stream,
        other: &Correspondent,
        key: Key,
    ) -> Result<(), Broken> {
        loop {
            match self.when(Flow::due).await {
                Due::Credit(bytes) => {
                    other.send(key, Body::Credit(bytes)).await.map_err(gone)?;
                }
                Due::Bytes => {
                    stream.writable().await.map_err(failed)?;
                    let mut flow = self.flow.borrow_mut();
                    let written = stream.try_write(flow.front()).map_err(failed)?;
                    flow.take(written);
                }
                Due::End => {
                    return match stream.end() {
                        // The program has closed its end already.
                        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
                        other => other.map_err(failed),
                    };
                }
            }
        }
    }
}

fn failed(error: io::Error) -> Broken {
    Broken::Untold(error.to_string())
}

/// What the failure of sending means: nobody is there to be told.
fn gone(_: anyhow::Error) -> Broken {
    Broken::Told(Over::Gone)
}
