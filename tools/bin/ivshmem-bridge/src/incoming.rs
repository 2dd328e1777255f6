// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Values from Zenoh that go into a channel's topic.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{anyhow, Result};
use ivshmem_channel::{Error, Publisher};
use ivshmem_peer::Peer;
use zenoh::bytes::ZBytes;
use zenoh::key_expr::OwnedKeyExpr;
use zenoh::pubsub::Subscriber;
use zenoh::qos::CongestionControl;
use zenoh::query::{ConsolidationMode, QueryTarget};
use zenoh::sample::{Locality, Sample, SampleKind};
use zenoh::{Session, Wait};

use crate::answers;
use crate::config::{Kind, Topic};
use crate::counters::Received;
use crate::ending::Ending;
use crate::stamp::{Heard, Stamp, Verdict};

/// How long answers to the question for the newest value are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A topic that comes from Zenoh.
pub struct Incoming {
    /// Its number in the channel.
    pub topic: usize,
    /// Where newest values are asked for.
    answers: OwnedKeyExpr,
    inlet: Arc<Inlet>,
    _subscriber: Subscriber<()>,
}

/// What Zenoh's threads call.
struct Inlet {
    kind: Kind,
    longest: usize,
    counters: Received,
    state: Mutex<State>,
}

struct State {
    /// Where values go; none while the channel is away.
    outlet: Option<Outlet>,
    heard: Heard,
}

/// The topic's publishing end, and what to tell when it fails.
struct Outlet {
    publisher: Publisher<Arc<Peer>>,
    ending: Arc<Ending>,
}

/// How a value came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Published,
    Answered,
}

impl Incoming {
    /// Tells Zenoh of it. `topic` is the one of these settings that is written.
    pub fn open(session: &Session, settings: &Topic, topic: usize, origin: u64) -> Result<Self> {
        let inlet = Arc::new(Inlet {
            kind: settings.kind,
            longest: settings.longest.unwrap_or(usize::MAX),
            counters: Received::default(),
            state: Mutex::new(State {
                outlet: None,
                heard: Heard::new(origin),
            }),
        });
        let heard = Arc::clone(&inlet);
        let subscriber = session
            .declare_subscriber(settings.key.clone())
            .allowed_origin(Locality::Remote)
            .callback(move |sample| heard.take(&sample, Way::Published))
            .wait()
            .map_err(|error| anyhow!("{}: {error}", settings.key))?;
        Ok(Self {
            topic,
            answers: answers::all(&settings.key)?,
            inlet,
            _subscriber: subscriber,
        })
    }

    /// What was carried, including a value that is just being written, and which somebody may have read already.
    pub fn counters(&self) -> &Received {
        drop(self.inlet.state());
        &self.inlet.counters
    }

    /// Writes values there from now on, and ends that work if it fails.
    pub fn attach(&self, publisher: Publisher<Arc<Peer>>, ending: Arc<Ending>) {
        let mut state = self.inlet.state();
        state.outlet = Some(Outlet { publisher, ending });
        if self.inlet.kind == Kind::Latest {
            // The topic may be new, without the value that was heard last.
            state.heard.forget();
        }
    }

    /// Writes no more.
    pub fn detach(&self) {
        self.inlet.state().outlet = None;
    }

    /// Asks for the newest value, if that is what matters, and whoever has a newer one than was heard answers: it may have been
    /// published before this bridge came, while the link was cut, or have been dropped. Does not block.
    pub fn ask(&self, session: &Session) -> Result<()> {
        let state = self.inlet.state();
        if self.inlet.kind == Kind::Messages || state.outlet.is_none() {
            return Ok(());
        }
        let known = state.heard.last();
        drop(state);
        let inlet = Arc::clone(&self.inlet);
        session
            .get(self.answers.clone())
            .attachment(known.map(|stamp| ZBytes::from(stamp.to_bytes())))
            .allowed_destination(Locality::Remote)
            .target(QueryTarget::All)
            .consolidation(ConsolidationMode::None)
            .congestion_control(CongestionControl::Drop)
            .timeout(PATIENCE)
            .callback(move |reply| {
                if let Ok(sample) = reply.result() {
                    inlet.take(sample, Way::Answered);
                }
            })
            .wait()
            .map_err(|error| anyhow!("{}: {error}", self.answers))
    }
}

impl Inlet {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a value into the topic, if it is one to be written. Called by threads of Zenoh, which it never makes
    /// wait for long.
    fn take(&self, sample: &Sample, way: Way) {
        // What has no value means nothing to a topic.
        if sample.kind() == SampleKind::Delete {
            return;
        }
        let payload = sample.payload();
        let mut state = self.state();
        let State { outlet, heard } = &mut *state;
        // First, so that what is not written for another reason does not count as lost on the way too.
        if !self.is_new(sample, way, heard) {
            return;
        }
        if payload.len() > self.longest {
            self.counters.too_long.add(1);
            return;
        }
        let Some(there) = outlet else {
            // The newest value will be asked for.
            if self.kind == Kind::Messages {
                self.counters.away.add(1);
            }
            return;
        };
        match there.publisher.publish(&payload.to_bytes()) {
            Ok(()) => {
                self.counters.values.add(1);
                self.counters.bytes.add(payload.len() as u64);
            }
            Err(Error::TooLong { .. }) => self.counters.too_long.add(1),
            Err(error) => {
                self.counters.away.add(1);
                there.ending.end(error);
                *outlet = None;
            }
        }
    }

    fn is_new(&self, sample: &Sample, way: Way, heard: &mut Heard) -> bool {
        let stamp = sample.attachment();
        let Some(stamp) = stamp.and_then(|bytes| Stamp::of_bytes(&bytes.to_bytes())) else {
            // Of another program. Those publish, and answer nothing that bridges ask for.
            return way == Way::Published;
        };
        match (heard.hear(stamp), self.kind) {
            (Verdict::New(lost), Kind::Messages) => self.counters.lost.add(lost),
            (Verdict::New(_), Kind::Latest) => {}
            (Verdict::Repeated, Kind::Messages) => {
                self.counters.repeated.add(1);
                return false;
            }
            (Verdict::Repeated, Kind::Latest) => return false,
            (Verdict::Ours, _) => {
                self.counters.ours.add(1);
                return false;
            }
        }
        true
    }
}
