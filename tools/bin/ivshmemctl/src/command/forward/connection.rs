// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Carries the bytes of one connection between its socket and the other end.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::flow::{Flow, Over};
use super::frame::{Body, Key};
use super::lane::Correspondent;
use super::stream::Stream;

/// A connection, as those know it who hear of it and who carry it.
#[derive(Default)]
pub struct Connection {
    flow: RefCell<Flow>,
    changed: Notify,
}

/// Why a connection has not ended as it should.
#[derive(Debug)]
pub enum Broken {
    /// The other end knows: it says so, or is gone.
    Told(Over),
    /// It has to be told this.
    Untold(String),
}

impl Connection {
    /// Takes what the other end says of it.
    pub fn hear(&self, body: Body<'_>) {
        self.flow.borrow_mut().hear(body);
        self.changed.notify_waiters();
    }

    /// Ends it in both directions.
    pub fn end(&self, over: Over) {
        self.flow.borrow_mut().end(over);
        self.changed.notify_waiters();
    }

    /// Carries all bytes in both directions, until both have ended.
    pub async fn carry(
        &self,
        stream: &mut Stream,
        other: &Correspondent,
        key: Key,
        piece: usize,
    ) -> Result<(), Broken> {
        let (read, write) = stream.split();
        let carry = async {
            tokio::try_join!(
                self.send(read, other, key, piece),
                self.receive(write, other, key)
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
            Over::Forgotten => Broken::Untold("an end was silent for too long".into()),
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

    /// From the socket to the other end.
    async fn send(
        &self,
        mut read: impl AsyncRead + Unpin,
        other: &Correspondent,
        key: Key,
        piece: usize,
    ) -> Result<(), Broken> {
        let mut buffer = vec![0; piece];
        loop {
            let most = self
                .when(|flow| Some(flow.may_send(piece)).filter(|most| *most > 0))
                .await;
            let read = read.read(&mut buffer[..most]).await;
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

    /// From the other end to the socket.
    async fn receive(
        &self,
        mut write: impl AsyncWrite + Unpin,
        other: &Correspondent,
        key: Key,
    ) -> Result<(), Broken> {
        loop {
            let more = self
                .when(|flow| match flow.front().is_empty() {
                    true => flow.is_ended().then_some(false),
                    false => Some(true),
                })
                .await;
            if !more {
                return match write.shutdown().await {
                    // The program has closed its end already.
                    Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
                    other => other.map_err(failed),
                };
            }
            let written = poll_fn(|context| {
                let flow = self.flow.borrow();
                Pin::new(&mut write).poll_write(context, flow.front())
            });
            let length = written.await.map_err(failed)?;
            let credit = self.flow.borrow_mut().take(length);
            if let Some(bytes) = credit {
                other.send(key, Body::Credit(bytes)).await.map_err(gone)?;
            }
        }
    }
}

fn failed(error: io::Error) -> Broken {
    Broken::Untold(error.to_string())
}

/// What the failure of sending means: nobody is there to be told.
fn gone(_: ivshmem_channel::Error) -> Broken {
    Broken::Told(Over::Gone)
}
