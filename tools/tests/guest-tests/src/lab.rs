// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A lab: guests that are booted once and used by many cases, one case at a time.

use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Failed, Trial};
use vmbench::{Guest, Mark, Output};

use crate::artefacts::Kernel;

/// Guests and what they share, in the order in which they are to be dropped.
pub struct Fleet {
    /// The guests.
    pub guests: Vec<Guest>,
    /// What must live as long as the guests: servers, memories.
    pub world: Box<dyn std::any::Any + Send>,
}

type Boot = dyn Fn() -> vmbench::Result<Fleet> + Send + Sync;

/// What a lab has at a time.
enum State {
    /// Nothing booted, or what was booted is of no use any more.
    Empty,
    /// Guests that wait for the next case.
    Ready(Fleet),
    /// They cannot be booted, for this reason: the other cases need not try.
    Hopeless(String),
}

/// Guests that boot when the first case needs them, and stop when the last case is done.
#[derive(Clone)]
pub struct Lab {
    kernel: Kernel,
    boot: Arc<Boot>,
    state: Arc<Mutex<State>>,
}

impl Lab {
    /// A lab whose guests are booted by `boot`.
    pub fn new(boot: impl Fn() -> vmbench::Result<Fleet> + Send + Sync + 'static) -> Self {
        Self::on(Kernel::DEFAULT, boot)
    }

    /// A lab whose guests are booted by `boot`, with this kernel: the cases are named after it.
    pub fn on(
        kernel: Kernel,
        boot: impl Fn() -> vmbench::Result<Fleet> + Send + Sync + 'static,
    ) -> Self {
        Self {
            kernel,
            boot: Arc::new(boot),
            state: Arc::new(Mutex::new(State::Empty)),
        }
    }

    /// A case that runs in this lab. It also fails if a kernel complains while it runs.
    ///
    /// After a failure the guests may be in any state: the next case gets new ones.
    pub fn trial(
        &self,
        name: impl AsRef<str>,
        case: impl Fn(&Fleet) -> Result<(), Failed> + Send + 'static,
    ) -> Trial {
        self.trial_besides(name, None, case)
    }

    /// As [`Lab::trial`], except that a complaint whose first line has `known` in it is ignored.
    pub fn trial_besides(
        &self,
        name: impl AsRef<str>,
        known: Option<&'static str>,
        case: impl Fn(&Fleet) -> Result<(), Failed> + Send + 'static,
    ) -> Trial {
        let lab = self.clone();
        Trial::test(self.kernel.case(name.as_ref()), move || {
            // A case that panicked left no guests that anybody would want.
            let mut state = lab.state.lock().unwrap_or_else(PoisonError::into_inner);
            let fleet = match std::mem::replace(&mut *state, State::Empty) {
                State::Ready(fleet) => fleet,
                State::Empty => (lab.boot)().inspect_err(|error| {
                    *state = State::Hopeless(error.to_string());
                })?,
                State::Hopeless(reason) => {
                    let message = format!("the guests did not boot before: {reason}");
                    *state = State::Hopeless(reason);
                    return Err(message.into());
                }
            };
            watch(&fleet, known, &case)?;
            *state = State::Ready(fleet);
            Ok(())
        })
    }
}

/// Runs a case and looks for kernel warnings of this time.
fn watch(
    fleet: &Fleet,
    known: Option<&str>,
    case: &dyn Fn(&Fleet) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let marks = fleet
        .guests
        .iter()
        .map(Guest::kernel_mark)
        .collect::<Result<Vec<Mark>, _>>()?;
    let result = case(fleet);
    for (guest, mark) in fleet.guests.iter().zip(marks) {
        // A guest that does not answer any more has failed the case already.
        let splats = match guest.kernel_splats(mark) {
            Ok(splats) => splats,
            Err(error) => return Err(result.err().unwrap_or_else(|| error.into())),
        };
        let unknown = |title: &str| known.is_none_or(|known| !title.contains(known));
        if let Some(splat) = splats.iter().find(|splat| unknown(&splat.title)) {
            let outcome = result.map_or_else(|f| text(&f), |()| "ok".into());
            return Err(format!(
                "{}: the kernel complained:\n{}\n--- the case itself: {outcome}",
                guest.name(),
                splat.text
            )
            .into());
        }
    }
    result
}

fn text(failed: &Failed) -> String {
    failed.message().unwrap_or("failed").to_string()
}

/// Fails with all that a program wrote unless it exited with 0.
pub fn expect_success(output: vmbench::Result<Output>) -> Result<(), Failed> {
    output?.check()?;
    Ok(())
}

/// Fails if the guest's kernel has complained since `mark`: for guests that are in no lab.
pub fn expect_no_complaints(guest: &Guest, mark: Mark) -> Result<(), Failed> {
    match guest.kernel_splats(mark)?.first() {
        Some(splat) => Err(splat.text.clone().into()),
        None => Ok(()),
    }
}

/// Fails if the kernel is one that looks for leaked memory, and finds some of ours.
pub fn expect_no_leaks(guest: &Guest) -> Result<(), Failed> {
    // Younger than 5 s nothing is reported. An object has to be found twice.
    let script = "f=/sys/kernel/debug/kmemleak; [ -e $f ] || exit 0
        sleep 6; echo scan >$f && echo scan >$f && cat $f";
    let leaks = guest.shell(script)?.check()?.stdout_text();
    match leaks.contains("ivshmem") {
        true => Err(format!("leaked memory:\n{leaks}").into()),
        false => Ok(()),
    }
}

/// Runs one command in each of the first two guests at the same time; both must succeed.
pub fn both(fleet: &Fleet, a: &[&str], b: &[&str]) -> Result<(), Failed> {
    let a = fleet.guests[0].command(a.to_vec()).spawn()?;
    let b = fleet.guests[1].command(b.to_vec()).spawn()?;
    let (a, b) = (a.wait()?, b.wait()?);
    a.check()?;
    b.check()?;
    Ok(())
}
