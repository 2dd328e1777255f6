// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The bridge: a session of Zenoh, and what is carried through it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, Context, Result};
use ivshmem_channel::Cancel;
use rustix::rand::{getrandom, GetRandomFlags};
use sd_notify::NotifyState;
use serde_json::json;
use tracing::warn;
use zenoh::{Session, Wait};

use crate::carrier::Carrier;
use crate::cli::Cli;
use crate::config;
use crate::output::Output;
use crate::signals::{wishes, Wish};

/// How often newest values are asked for: for so long one may be outdated after a cut.
const ASK: Duration = Duration::from_secs(1);
/// How often at most losses are logged.
const LOSSES: Duration = Duration::from_secs(10);

/// Carries until a signal comes.
pub fn run(cli: &Cli) -> Result<()> {
    let path = cli.config.as_deref().context("--config is needed")?;
    let config = config::read(path)?;
    let wishes = wishes()?;
    let output = Output::new(cli.json);
    let session = open(cli, &config)?;
    let origin = random()?;
    let carriers = config.channels.into_iter();
    let carriers = carriers.map(|channel| Carrier::open(&session, channel, origin, output));
    let carriers = carriers.collect::<Result<Vec<_>>>()?;
    let stop = Cancel::new()?;
    notify(NotifyState::Ready);
    let result = thread::scope(|scope| {
        for carrier in &carriers {
            let thread = thread::Builder::new().name("channel".into());
            let run = || carrier.run(&stop);
            if let Err(error) = thread.spawn_scoped(scope, run) {
                stop.cancel();
                return Err(error).context("cannot start a thread");
            }
        }
        listen(&wishes, cli.stats, &session, &carriers, output);
        notify(NotifyState::Stopping);
        stop.cancel();
        Ok(())
    });
    carriers.iter().for_each(Carrier::tell_losses);
    tell(&carriers, output);
    drop(carriers);
    if let Err(error) = session.close().wait() {
        warn!("cannot close the session of Zenoh: {error}");
    }
    result
}

fn open(cli: &Cli, config: &config::Config) -> Result<Session> {
    let path = cli.zenoh_config.as_ref().or(config.zenoh_config.as_ref());
    let path = path.context(
        "give Zenoh's own configuration file, by --zenoh-config or zenoh-config = \"FILE\": it says who may be \
         connected",
    )?;
    let in_path = |error| anyhow!("in {}: {error}", path.display());
    let config = zenoh::Config::from_file(path).map_err(in_path)?;
    let session = zenoh::open(config).wait();
    session.map_err(|error| anyhow!("cannot open a session of Zenoh: {error}"))
}

/// Does what is to be done regularly or is wished for, until the end is.
fn listen(
    wishes: &Receiver<Wish>,
    stats: Option<Duration>,
    session: &Session,
    carriers: &[Carrier],
    output: Output,
) {
    let mut failed = String::new();
    let [mut asked, mut told, mut printed] = [Instant::now(); 3];
    loop {
        match wishes.recv_timeout(ASK.saturating_sub(asked.elapsed())) {
            Ok(Wish::Status) => tell(carriers, output),
            Ok(Wish::End) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                asked = Instant::now();
                let ask = carriers.iter().try_for_each(|one| one.ask(session));
                let error = ask.map_or_else(|error| format!("{error:#}"), |()| String::new());
                if error != failed && !error.is_empty() {
                    warn!("cannot ask for the newest value: {error}");
                }
                failed = error;
            }
        }
        if told.elapsed() >= LOSSES {
            told = Instant::now();
            carriers.iter().for_each(Carrier::tell_losses);
        }
        if stats.is_some_and(|stats| printed.elapsed() >= stats) {
            printed = Instant::now();
            tell(carriers, output);
        }
    }
}

/// Prints what was carried.
fn tell(carriers: &[Carrier], output: Output) {
    let (values, texts): (Vec<_>, Vec<_>) = carriers.iter().map(Carrier::status).unzip();
    let value = json!({ "event": "status", "channels": values });
    output.answer(&value, &texts.concat());
}

/// Tells the service manager, if there is one.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!("cannot tell NOTIFY_SOCKET: {error}");
    }
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    // So few bytes come all at once.
    getrandom(&mut bytes, GetRandomFlags::empty()).context("cannot draw a random number")?;
    Ok(u64::from_ne_bytes(bytes))
}
