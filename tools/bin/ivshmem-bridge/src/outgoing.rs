// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Values of a channel's topic that go to Zenoh.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{anyhow, Result};
use ivshmem::Link;
use ivshmem_channel::Subscriber;
use tracing::{debug, warn};
use zenoh::bytes::ZBytes;
use zenoh::key_expr::OwnedKeyExpr;
use zenoh::pubsub::Publisher;
use zenoh::qos::CongestionControl;
use zenoh::query::{Query, Queryable};
use zenoh::sample::Locality;
use zenoh::{Session, Wait};

use crate::answers;
use crate::config::{Kind, Policy, Topic};
use crate::counters::Sent;
use crate::stamp::Stamp;

/// A topic that goes to Zenoh.
pub struct Outgoing {
    /// Its number in the channel.
    pub topic: usize,
    /// What was carried.
    pub counters: Sent,
    kind: Kind,
    longest: usize,
    origin: u64,
    /// The number of the last value.
    number: AtomicU64,
    publisher: Publisher<'static>,
    newest: Arc<Newest>,
    /// Answers who asks for the newest value.
    _answers: Option<Queryable<()>>,
}

/// The newest value and its stamp, for those who ask.
type Newest = Mutex<Option<(Stamp, ZBytes)>>;

impl Outgoing {
    /// Tells Zenoh of it. `topic` is the one of these settings that is read.
    pub fn open(session: &Session, settings: &Topic, topic: usize, origin: u64) -> Result<Self> {
        let congestion = match settings.policy {
            Policy::Block => CongestionControl::Block,
            Policy::Drop => CongestionControl::Drop,
        };
        let publisher = session
            .declare_publisher(settings.key.clone())
            .congestion_control(congestion)
            .allowed_destination(Locality::Remote)
            .wait()
            .map_err(|error| anyhow!("{}: {error}", settings.key))?;
        let newest = Arc::new(Newest::default());
        let answers = match settings.kind {
            Kind::Messages => None,
            Kind::Latest => {
                let own = answers::own(&settings.key, origin)?;
                Some(declare(session, own, &newest)?)
            }
        };
        Ok(Self {
            topic,
            counters: Sent::default(),
            kind: settings.kind,
            longest: settings.longest.unwrap_or(usize::MAX),
            origin,
            number: AtomicU64::new(0),
            publisher,
            newest,
            _answers: answers,
        })
    }

    /// Publishes what there is and what comes. Returns with the error that ends it.
    pub fn carry<L: Link + Clone>(&self, values: &mut Subscriber<L>) -> ivshmem_channel::Error {
        loop {
            if let Err(error) = self.carry_one(values) {
                return error;
            }
        }
    }

    fn carry_one<L: Link + Clone>(
        &self,
        values: &mut Subscriber<L>,
    ) -> ivshmem_channel::Result<()> {
        // Zenoh keeps it for as long as it needs it: a new one each time.
        let mut value = Vec::new();
        let found = match self.kind {
            Kind::Messages => values.next(&mut value, None)?,
            Kind::Latest => values.newest(&mut value, None)?,
        };
        // Of the latest value others are not missed.
        if let (Kind::Messages, Some(missed)) = (self.kind, found) {
            self.counters.missed.add(missed.into());
        }
        if value.len() > self.longest {
            self.counters.too_long.add(1);
            return Ok(());
        }
        self.publish(value);
        Ok(())
    }

    /// With the policy `block` this waits for room in Zenoh's queues; for how long at most is Zenoh's own setting.
    fn publish(&self, value: Vec<u8>) {
        let stamp = Stamp {
            origin: self.origin,
            number: self.number.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let bytes = value.len() as u64;
        let value = ZBytes::from(value);
        if self.kind == Kind::Latest {
            // Before it is sent: who asks meanwhile gets this one.
            *lock(&self.newest) = Some((stamp, value.clone()));
        }
        // Before it is there: whoever reads it then finds it counted.
        self.counters.values.add(1);
        self.counters.bytes.add(bytes);
        let put = self.publisher.put(value).attachment(stamp.to_bytes());
        if let Err(error) = put.wait() {
            self.counters.refused.add(1);
            debug!("{}: {error}", self.publisher.key_expr());
        }
    }
}

/// Answers from now on.
fn declare(session: &Session, own: OwnedKeyExpr, newest: &Arc<Newest>) -> Result<Queryable<()>> {
    let (newest, ours) = (Arc::clone(newest), own.clone());
    session
        .declare_queryable(own.clone())
        .allowed_origin(Locality::Remote)
        .callback(move |query| answer(&query, &ours, &newest))
        .wait()
        .map_err(|error| anyhow!("{own}: {error}"))
}

/// Gives the newest value to who does not say that it has that one.
fn answer(query: &Query, own: &OwnedKeyExpr, newest: &Newest) {
    let Some((stamp, value)) = lock(newest).clone() else {
        return;
    };
    let known = query.attachment();
    let known = known.and_then(|bytes| Stamp::of_bytes(&bytes.to_bytes()));
    if known == Some(stamp) {
        return;
    }
    let reply = query.reply(own.clone(), value).attachment(stamp.to_bytes());
    if let Err(error) = reply.wait() {
        warn!("{own}: cannot answer who asks for the newest value: {error}");
    }
}

fn lock(newest: &Newest) -> std::sync::MutexGuard<'_, Option<(Stamp, ZBytes)>> {
    newest.lock().unwrap_or_else(PoisonError::into_inner)
}
