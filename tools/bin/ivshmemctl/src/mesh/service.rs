// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Runs a program on a mesh until a signal ends it, and takes it back there whenever the memory was away.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, Context, Result};
use ivshmem_channel::Error;
use serde_json::{json, Value};
use tokio::runtime::Builder;
use tokio::select;
use tokio::signal::unix::{signal, Signal, SignalKind};
use tokio::task::{spawn_blocking, JoinError, LocalSet};
use tokio::time::sleep;

use super::area::{Area, Purpose};
use super::neighbours::Mesh;
use crate::end::Joined;
use crate::exit::Exit;
use crate::output::{Output, GOOD, WARNING};
use crate::signals::heeds_hangup;

/// Pause between two tries to come back.
const PAUSE: Duration = Duration::from_secs(1);

/// What runs on a mesh.
pub trait Program {
    /// Works on this mesh until something fails. It is dropped at any wait when the program is to end.
    async fn run(&mut self, mesh: Mesh) -> Result<()>;
}

/// Runs `program` until SIGINT, SIGTERM or SIGHUP, and returns then. It tells `status`, an object and
/// a text, then and on SIGUSR1.
///
/// # Errors
///
/// Of the first try to join, all; later those that do not come from the memory being away or recreated.
pub fn serve(
    area: &Area,
    purpose: Purpose,
    output: Output,
    program: &mut impl Program,
    status: impl Fn() -> (Value, String),
) -> Result<Exit> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start tokio")?;
    let tell = || {
        let (value, text) = status();
        output.answer(&value, || text)
    };
    let done = LocalSet::new().block_on(&runtime, async {
        let [mut interrupt, mut terminate, mut ask] = signals()?;
        let mut hangup = heeds_hangup()
            .then(|| handle(SignalKind::hangup()))
            .transpose()?;
        let work = stay(area, purpose, output, program);
        tokio::pin!(work);
        loop {
            let ended = select! {
                done = &mut work => return done,
                () = heard(&mut hangup) => true,
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                _ = ask.recv() => false,
            };
            // Before the work ends, which forgets who is there.
            let told = tell();
            if ended {
                return Ok(told?);
            }
            // The work goes on if nobody reads it.
        }
    });
    // A thread may still wait for a slot.
    runtime.shutdown_background();
    output.finish();
    done.map(|()| Exit::Success)
}

fn signals() -> Result<[Signal; 3]> {
    Ok([
        handle(SignalKind::interrupt())?,
        handle(SignalKind::terminate())?,
        handle(SignalKind::user_defined1())?,
    ])
}

fn handle(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("cannot handle signals")
}

/// Ends when the signal comes, if it is heeded.
async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

/// Joins and works, again and again.
async fn stay(
    area: &Area,
    purpose: Purpose,
    output: Output,
    program: &mut impl Program,
) -> Result<()> {
    let mut first = true;
    let mut told = String::new();
    loop {
        let failed = match join(area, purpose, first).await {
            Ok((mesh, joined)) => {
                first = false;
                told.clear();
                tell_joined(output, &mesh);
                select! {
                    ended = program.run(mesh) => match ended {
                        Err(error) if is_away(&error) => error,
                        ended => return ended,
                    },
                    back = server_is_back(joined) => {
                        back?;
                        anyhow!("the server was started again")
                    }
                }
            }
            // Two who make the channel at the same time: one of them succeeds at the next try.
            Err(error) if first && !is_reset(&error) => return Err(error),
            Err(error) => error,
        };
        let text = format!("{failed:#}");
        if text != told {
            let event = json!({ "event": "away", "reason": text });
            output.notice(&event, &format!("{text}; trying again"), WARNING);
            told = text;
        }
        sleep(PAUSE).await;
    }
}

async fn join(area: &Area, purpose: Purpose, first: bool) -> Result<(Mesh, Option<Joined>)> {
    let area = area.clone();
    let joining = spawn_blocking(move || {
        let mut place = area.join(purpose, first)?;
        let joined = place.joined.take();
        Ok((Mesh::new(place)?, joined))
    });
    joining
        .await
        .unwrap_or_else(|error: JoinError| Err(error.into()))
}

fn tell_joined(output: Output, mesh: &Mesh) {
    let slot = mesh.member.slot();
    let event = json!({ "event": "joined", "peer_id": mesh.peer_id, "slot": slot });
    let text = match mesh.peer_id {
        Some(peer_id) => format!("joined as peer {peer_id}"),
        None => "joined".into(),
    };
    output.notice(&event, &text, GOOD);
}

/// Ends when the server that was joined was lost and there is one again.
async fn server_is_back(joined: Option<Joined>) -> Result<()> {
    let Some(joined) = joined else {
        return pending().await;
    };
    let joined = Arc::new(joined);
    loop {
        sleep(PAUSE).await;
        let look = joined.clone();
        if spawn_blocking(move || look.is_outdated()).await? {
            return Ok(());
        }
    }
}

fn is_reset(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Reset))
}

/// Whether the memory, the channel or our slot can be had again.
fn is_away(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(
            Error::Reset | Error::Replaced | Error::Corrupt(_) | Error::Link(ivshmem::Error::Gone)
        )
    )
}
