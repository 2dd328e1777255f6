// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Opens connections with other endpoints, and has each carried by a task of its own.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::address::Address;
use super::connection::{Broken, Connection};
use super::flow::Over;
use super::frame::{Body, Key};
use super::lane::{lanes, Correspondent};
use super::others::Others;
use super::report::Report;
use super::settings::Refusal;
use super::stream::{Listener, Stream};
use crate::mesh::Mesh;

/// Bytes of a connection that are sent at a time, at most.
const PIECE: usize = 64 << 10;
/// Pieces that fit into a ring at least, so that connections have turns.
const PIECES: usize = 8;

/// Pause after a connection could not be accepted: there are no more descriptors, perhaps.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the other endpoint may take to be told that a connection is broken; it is gone by then if it cannot be told.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the other endpoint is asked to connect to.
pub enum Ask {
    /// This address.
    Target(String),
    /// What it has asked to be listened for by this number.
    Accepted(u32),
}

/// What is said to another endpoint and has no connection.
pub enum Answer {
    /// A connection is refused for this reason.
    Reset(String),
    /// It is to listen at this address.
    Listen(String),
    /// It is not listened, for this reason.
    NotListening(String),
}

/// A connection that is to be carried.
struct Opening {
    slot: u32,
    key: Key,
    other: Correspondent,
    connection: Rc<Connection>,
}

/// What carries connections.
pub struct Carrier {
    /// The other endpoints.
    pub others: Others,
    report: Rc<Report>,
    tasks: RefCell<JoinSet<()>>,
    /// Bytes of a connection in a message, at most.
    piece: usize,
}

impl Carrier {
    /// Carries nothing yet.
    pub fn new(mesh: &Mesh, report: Rc<Report>) -> Result<Self> {
        Ok(Self {
            others: Others::new(mesh.member.incarnation(), lanes(mesh)?),
            report,
            tasks: RefCell::default(),
            piece: PIECE.min(mesh.ring as usize / PIECES),
        })
    }

    /// Ends all tasks.
    pub fn end(&self) {
        self.tasks.borrow_mut().abort_all();
    }

    /// Forgets tasks that have ended. To be called from time to time.
    pub fn reap(&self) {
        while self.tasks.borrow_mut().try_join_next().is_some() {}
    }

    /// Does this in a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> AbortHandle {
        // Others can have many begin and end between two looks.
        self.reap();
        self.tasks.borrow_mut().spawn_local(task)
    }

    /// Says something to the one in a slot after a pause, unless that one lets too many answers wait.
    pub fn answer(&self, slot: u32, pause: Duration, key: Key, answer: Answer) {
        let Some((other, turn)) = self.others.answer(slot) else {
            return;
        };
        self.spawn(async move {
            other.while_there(sleep(pause)).await;
            let body = match &answer {
                Answer::Reset(reason) => Body::Reset(reason),
                Answer::Listen(address) => Body::Listen(address),
                Answer::NotListening(reason) => Body::NotListening(reason),
            };
            farewell(&other, key, body).await;
            drop(turn);
        });
    }

    /// Waits for the next connection that a listener accepts.
    pub async fn accepted(&self, listener: &Listener) -> Stream {
        loop {
            match listener.accept().await {
                Ok(stream) => return stream,
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Connects to what the one in a slot wants, if it may, and carries that.
    pub fn connect(self: &Rc<Self>, slot: u32, key: Key, target: Result<Address, Refusal>) {
        let opening = target.and_then(|target| {
            let turns = self.others.lookups(slot).ok_or("nobody is there")?;
            let opening = self.opening(slot, key)?;
            Ok((target, turns, opening))
        });
        match opening {
            Ok((target, turns, opening)) => {
                let this = self.clone();
                self.spawn(async move {
                    let connecting = async {
                        let stream = Stream::connect(&target, &turns).await;
                        stream.map_err(|error| format!("{target}: {error}"))
                    };
                    this.carry(opening, connecting).await;
                });
            }
            Err(Refusal { here, there }) => {
                self.report.refuse(&here);
                self.answer(slot, Duration::ZERO, key, Answer::Reset(there));
            }
        }
    }

    /// Carries a connection of this machine to the one in a slot.
    pub fn open(self: &Rc<Self>, slot: u32, stream: Stream, ask: Ask) {
        let opening = match self.opening(slot, self.others.next(slot)) {
            Ok(opening) => opening,
            Err(reason) => return self.report.refuse(&reason),
        };
        let this = self.clone();
        self.spawn(async move {
            let (other, key) = (opening.other.clone(), opening.key);
            let asking = async {
                let body = match &ask {
                    Ask::Target(target) => Body::Open(target),
                    Ask::Accepted(number) => Body::Accepted(*number),
                };
                let asked = other.send(key, body).await;
                asked.map(|()| stream).map_err(|error| error.to_string())
            };
            this.carry(opening, asking).await;
        });
    }

    fn opening(&self, slot: u32, key: Key) -> Result<Opening, String> {
        let connection = self.others.open(slot, key)?;
        let other = self.others.correspondent(slot).ok_or("nobody is there")?;
        Ok(Opening {
            slot,
            key,
            other,
            connection,
        })
    }

    /// Carries a connection once its socket is there.
    async fn carry(&self, opening: Opening, stream: impl Future<Output = Result<Stream, String>>) {
        let Opening {
            slot,
            key,
            other,
            connection,
        } = opening;
        let counted = self.report.count();
        let carry = async {
            let stream = tokio::select! {
                // Of one who has left, this one says so.
                biased;
                broken = connection.over() => return Err(broken),
                stream = stream => Rc::new(stream.map_err(Broken::Untold)?),
            };
            connection
                .carry(stream.clone(), &other, key, self.piece)
                .await?;
            stream.finish();
            Ok(())
        };
        let carried = carry.await;
        match carried {
            Err(Broken::Told(Over::Reset(reason))) => counted.fail(&reason),
            Ok(()) | Err(Broken::Told(_)) => drop(counted),
            Err(Broken::Untold(reason)) => {
                counted.fail(&reason);
                farewell(&other, key, Body::Reset(&reason)).await;
            }
        }
        self.others.close(slot, other.incarnation(), key);
    }
}

/// The last thing that is said of something.
async fn farewell(other: &Correspondent, key: Key, body: Body<'_>) {
    // It is gone by then if it cannot be told.
    let _ = timeout(FAREWELL, other.send(key, body)).await;
}
