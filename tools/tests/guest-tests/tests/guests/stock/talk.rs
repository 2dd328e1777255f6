// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl` at both ends: lines and round trips.

use libtest_mimic::Failed;
use serde_json::Value;
use test_limit::limit_argument;
use vmbench::{Guest, Signal};

use super::{run, Pair, PROGRAM};

/// Where the round trips are.
const PLACE: &str = "0x1000000";

/// One end: a machine, and what names its device to `ivshmemctl`.
type End<'a> = (&'a Guest, &'a str);

/// Both ways round, each of the two at either end.
pub fn chat_and_ping(pair: &Pair) -> Result<(), Failed> {
    let info = run(pair.modern, "--json info")?.check()?.stdout_text();
    let info: Value = serde_json::from_str(&info)?;
    let modern_id = info["peer_id"].as_u64().ok_or("no peer ID")?;
    // There are two peers.
    let stock_id = 1 - modern_id;
    let (stock, modern) = ((pair.stock, &*pair.address), (pair.modern, "0"));
    chat(stock, modern)?;
    chat(modern, stock)?;
    ping(stock, stock_id, modern)?;
    ping(modern, modern_id, stock)
}

fn chat(listens: End<'_>, says: End<'_>) -> Result<(), Failed> {
    let limit = limit_argument();
    let listen = [PROGRAM, "chat", "--listen", "-t", &limit, "-d", listens.1];
    let listener = listens.0.command(listen).spawn()?;
    let say = format!(
        "printf 'one\\ntwo\\n' | {PROGRAM} chat -t {limit} -d {}",
        says.1
    );
    says.0.shell(&say)?.check()?;
    let heard = listener.wait()?.check()?.stdout_text();
    assert!(heard.contains("one\n") && heard.contains("two"), "{heard}");
    Ok(())
}

/// In memory that nobody else has used: it refuses any other.
fn ping(serves: End<'_>, id: u64, asks: End<'_>) -> Result<(), Failed> {
    let clear = format!(
        "head -c 128 /dev/zero >/zeros && {PROGRAM} load -s {PLACE} -d {} /zeros",
        asks.1
    );
    asks.0.shell(&clear)?.check()?;
    let serve = [PROGRAM, "ping", "--serve", "-s", PLACE, "-d", serves.1];
    let serving = serves.0.command(serve).spawn()?;
    let limit = limit_argument();
    let ask = format!(
        "--json ping {id} -c 20 -i 0 -s {PLACE} -t {limit} -d {}",
        asks.1
    );
    let answer = run(asks.0, &ask)?;
    if !answer.success() {
        let served = serving.signal(Signal::TERM).and_then(|()| serving.wait())?;
        return Err(format!("{}\n{}", answer.stderr_text(), served.stderr_text()).into());
    }
    let answer: Value = serde_json::from_str(&answer.stdout_text())?;
    assert_eq!(answer["round_trips"], 20);
    serving.signal(Signal::TERM)?;
    serving.wait()?;
    Ok(())
}
