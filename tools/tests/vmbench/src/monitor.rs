// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A connection to QEMU's monitor: QEMU's machine protocol, one JSON object per line over a socket.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{json, Value};

/// Events beyond this number push out the oldest.
const MAX_EVENTS: usize = 1024;

/// Something that QEMU told unasked.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name, such as `DEVICE_DELETED`.
    pub name: String,
    /// Its data; `Null` if it has none.
    pub data: Value,
}

/// Why a command or a wait failed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// QEMU has closed the monitor: it has ended.
    Closed,
    /// QEMU refused, or did not answer in time; in words.
    Refused(String),
}

/// One line from QEMU.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: Option<u64>,
    #[serde(default, rename = "return")]
    value: Option<Value>,
    #[serde(default)]
    error: Option<Refusal>,
    #[serde(default)]
    event: Option<String>,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

#[derive(Default)]
struct Inbox {
    answers: HashMap<u64, Result<Value, Failure>>,
    events: VecDeque<Event>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    changed: Condvar,
}

/// A connection to QEMU's monitor.
pub(crate) struct Connection {
    /// The socket and the number of the next command.
    outbox: Mutex<(UnixStream, u64)>,
    shared: Arc<Shared>,
    /// How long QEMU may take to answer, and an event to come.
    limit: Duration,
}

impl Connection {
    /// Takes one end of a socket whose other end QEMU has as its monitor, and negotiates.
    pub fn open(socket: UnixStream, limit: Duration) -> Result<Self, Failure> {
        let reader = socket.try_clone().map_err(failure)?;
        socket.set_write_timeout(Some(limit)).map_err(failure)?;
        let shared = Arc::new(Shared::default());
        let listener = Arc::clone(&shared);
        thread::spawn(move || listener.listen(BufReader::new(reader)));
        let connection = Self {
            outbox: Mutex::new((socket, 0)),
            shared,
            limit,
        };
        connection.execute("qmp_capabilities", json!({}))?;
        Ok(connection)
    }

    /// Sends a command and waits for its answer.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value, Failure> {
        let id = self.send(command, arguments)?;
        self.shared
            .wait(self.limit, |inbox| inbox.answers.remove(&id))?
    }

    /// Waits for an event and takes it out of the queue.
    pub fn wait_event(
        &self,
        name: &str,
        accept: impl Fn(&Value) -> bool,
    ) -> Result<Event, Failure> {
        self.shared.wait(self.limit, |inbox| {
            let wanted = |event: &Event| event.name == name && accept(&event.data);
            let at = inbox.events.iter().position(wanted)?;
            inbox.events.remove(at)
        })
    }

    fn send(&self, command: &str, arguments: Value) -> Result<u64, Failure> {
        let mut outbox = self.outbox.lock().unwrap_or_else(|p| p.into_inner());
        let (socket, next) = &mut *outbox;
        let id = *next;
        *next += 1;
        let line = json!({"execute": command, "arguments": arguments, "id": id});
        socket
            .write_all(format!("{line}\n").as_bytes())
            .map_err(failure)?;
        Ok(id)
    }
}

impl Shared {
    fn listen(&self, lines: impl BufRead) {
        for line in lines.lines() {
            let Ok(line) = line else { break };
            // The greeting has none of the fields, and is skipped with anything unknown.
            if let Ok(line) = serde_json::from_str(&line) {
                self.update(|inbox| inbox.take(line));
            }
        }
        self.update(|inbox| inbox.closed = true);
    }

    fn update(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.inbox.lock().unwrap_or_else(|p| p.into_inner()));
        self.changed.notify_all();
    }

    fn wait<T>(
        &self,
        limit: Duration,
        mut probe: impl FnMut(&mut Inbox) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + limit;
        let mut inbox = self.inbox.lock().unwrap_or_else(|p| p.into_inner());
        loop {
            if let Some(found) = probe(&mut inbox) {
                return Ok(found);
            }
            if inbox.closed {
                return Err(Failure::Closed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let limit = limit.as_secs_f32();
                return Err(Failure::Refused(format!("nothing within {limit} s")));
            }
            inbox = match self.changed.wait_timeout(inbox, left) {
                Ok((inbox, _)) => inbox,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

impl Inbox {
    fn take(&mut self, line: Line) {
        if let Some(name) = line.event {
            if self.events.len() == MAX_EVENTS {
                self.events.pop_front();
            }
            let data = line.data;
            self.events.push_back(Event { name, data });
        } else if let Some(id) = line.id {
            let answer = match line.error {
                Some(Refusal { class, desc }) => Err(Failure::Refused(format!("{class}: {desc}"))),
                None => Ok(line.value.unwrap_or_default()),
            };
            self.answers.insert(id, answer);
        }
    }
}

fn failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Failure::Closed,
        _ => Failure::Refused(format!("cannot send: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(lines: &str) -> Inbox {
        let shared = Shared::default();
        shared.listen(lines.as_bytes());
        shared.inbox.into_inner().unwrap()
    }

    #[test]
    fn answers_errors_and_events_are_told_apart() {
        let inbox = inbox(concat!(
            r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#,
            "\n",
            r#"{"return": {}, "id": 0}"#,
            "\r\n",
            r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#,
            "\n",
            r#"{"return": {"running": true, "status": "running"}, "id": 1}"#,
            "\n",
            r#"{"error": {"class": "DeviceNotFound", "desc": "no x"}, "id": 2}"#,
            "\n",
            r#"{"event": "DEVICE_DELETED", "data": {"device": "d0", "path": "/m/d0"}}"#,
            "\n",
            "no json\n",
        ));
        assert_eq!(inbox.answers[&0], Ok(json!({})));
        assert_eq!(inbox.answers[&1].as_ref().unwrap()["status"], "running");
        let refusal = Failure::Refused("DeviceNotFound: no x".into());
        assert_eq!(inbox.answers[&2], Err(refusal));
        assert_eq!(inbox.answers.len(), 3);
        let events: Vec<&str> = inbox.events.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(events, ["STOP", "DEVICE_DELETED"]);
        assert_eq!(inbox.events[1].data["device"], "d0");
        assert!(inbox.closed);
    }

    #[test]
    fn old_events_make_room() {
        let lines: String = (0..MAX_EVENTS + 5)
            .map(|n| format!("{{\"event\": \"E{n}\"}}\n"))
            .collect();
        let inbox = inbox(&lines);
        assert_eq!(inbox.events.len(), MAX_EVENTS);
        assert_eq!(inbox.events[0].name, "E5");
    }

    #[test]
    fn a_closed_monitor_ends_the_wait() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let opened = Connection::open(ours, test_limit::limit());
        assert_eq!(opened.err(), Some(Failure::Closed));
    }
}
