//! Hands rule sets to the program `nft`. One call is one transaction: all of it or nothing.
//!
//! As text, not as the JSON of the same program: the text is what nft(8) documents and what people see
//! when they look at a host, and it is a tenth of the size.

use crate::error::{FabricError, Result};
use crate::netns::Netns;
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Bytes of `nft`'s complaint that are passed on.
const MESSAGE_BYTES_MAX: usize = 400;

fn started(source: io::Error) -> FabricError {
    match source.kind() {
        io::ErrorKind::NotFound => FabricError::NftMissing(source),
        _ => FabricError::Socket { what: "run nft".into(), source },
    }
}

/// Applies `script` (the syntax of nft(8)) in `place`; `what` names it in errors.
pub(crate) fn apply(place: &Netns, what: &str, script: &str) -> Result<()> {
    if script.is_empty() {
        return Ok(());
    }
    place.enter(|| {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(started)?;
        // nft reads all of its input before it writes anything, so this cannot block both ways.
        let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(script.as_bytes()));
        let output = child.wait_with_output().map_err(started)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            return Err(FabricError::Nft {
                what: what.into(),
                message: text.chars().take(MESSAGE_BYTES_MAX).collect(),
            });
        }
        written.map_err(|source| FabricError::Socket { what: "write to nft".into(), source })
    })?
}

/// What `nft -j ARGS` prints, as JSON.
pub(crate) fn list(place: &Netns, args: &[&str]) -> Result<serde_json::Value> {
    let output = place.enter(|| Command::new("nft").arg("-j").args(args).output())?.map_err(started)?;
    let failed = |message: String| FabricError::Nft { what: args.join(" "), message };
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).chars().take(MESSAGE_BYTES_MAX).collect()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| failed(format!("unreadable answer: {e}")))
}
