// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Bytes for people, as `hexdump -C` shows them.

use std::io::{self, Write};

/// Bytes of a line.
const LINE: usize = 16;

/// Writes lines of bytes; of several that are the same, the first and then a `*`.
#[derive(Debug, Default)]
pub struct HexDump {
    last: Vec<u8>,
    starred: bool,
}

impl HexDump {
    /// Writes `bytes`, which lie at `offset`. All calls but the last bring a multiple of 16 bytes.
    pub fn write(&mut self, out: &mut dyn Write, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for (number, line) in bytes.chunks(LINE).enumerate() {
            if line == self.last {
                if !self.starred {
                    writeln!(out, "*")?;
                }
                self.starred = true;
                continue;
            }
            self.starred = false;
            self.last = line.to_vec();
            writeln!(out, "{}", text(offset + (number * LINE) as u64, line))?;
        }
        Ok(())
    }

    /// Writes the offset of the end.
    pub fn end(self, out: &mut dyn Write, end: u64) -> io::Result<()> {
        writeln!(out, "{end:08x}")
    }
}

fn text(offset: u64, line: &[u8]) -> String {
    let bytes: String = (0..LINE)
        .map(|at| {
            let gap = if at == LINE / 2 { " " } else { "" };
            match line.get(at) {
                Some(byte) => format!("{gap} {byte:02x}"),
                None => format!("{gap}   "),
            }
        })
        .collect();
    let printable = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    };
    let letters: String = line.iter().map(printable).collect();
    format!("{offset:08x} {bytes}  |{letters}|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_hexdump_does() {
        let mut bytes = vec![0; 64];
        bytes.extend(b"Hello, neighbour");
        bytes.extend(b"!\n");
        let mut out = Vec::new();
        let mut dump = HexDump::default();
        dump.write(&mut out, 0, &bytes[..32]).unwrap();
        dump.write(&mut out, 32, &bytes[32..]).unwrap();
        dump.end(&mut out, 82).unwrap();
        // What hexdump -C of util-linux 2.41 writes for the same bytes.
        let expected = "\
00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
*
00000040  48 65 6c 6c 6f 2c 20 6e  65 69 67 68 62 6f 75 72  |Hello, neighbour|
00000050  21 0a                                             |!.|
00000052
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
