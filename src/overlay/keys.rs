//! The node's WireGuard key pair: Curve25519, kept as WireGuard's tools keep it (base64, one line).

use crate::error::{FabricError, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use swarm_core::Sensitive;
use x25519_dalek::{PublicKey, StaticSecret};

/// The public key that belongs to `private`; what peers are told (`FabricPeer::wireguard_key`).
pub fn public_key(private: &Sensitive<[u8; 32]>) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*private.expose())).to_bytes()
}

/// A new private key from the system's random source.
pub fn generate() -> Sensitive<[u8; 32]> {
    use rand::TryRngCore;
    let mut bytes = [0u8; 32];
    // The system's source fails only before the kernel has seeded it, which is before any daemon runs.
    if let Err(error) = rand::rngs::OsRng.try_fill_bytes(&mut bytes) {
        panic!("the system has no random numbers: {error}");
    }
    Sensitive::new(StaticSecret::from(bytes).to_bytes())
}

/// The private key in `path`; made, with mode 0600, when there is none.
///
/// # Errors
/// `File` when it cannot be read or written, `Corrupt` when it holds no key.
pub fn load_or_create(path: &Path) -> Result<Sensitive<[u8; 32]>> {
    let err = |what| move |source| FabricError::File { path: path.display().to_string(), what, source };
    match fs::read_to_string(path) {
        Ok(text) => {
            let bytes = STANDARD.decode(text.trim()).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
            bytes.map(Sensitive::new).ok_or_else(|| FabricError::Corrupt {
                path: path.display().to_string(),
                what: "holds no WireGuard key (44 characters of base64); remove it to make a new one".into(),
            })
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let key = generate();
            let text = STANDARD.encode(key.expose()) + "\n";
            replace(path, text.as_bytes(), true).map_err(err("write it"))?;
            Ok(key)
        }
        Err(e) => Err(err("read it")(e)),
    }
}

/// Writes `path`, readable by its owner only, as a whole or not at all; `durable`: also if the power
/// fails right after.
pub(crate) fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(new, path)?;
    match path.parent() {
        Some(dir) if durable => fs::File::open(dir)?.sync_all(),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_readable_by_its_owner_only() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("key");
        let key = load_or_create(&path).expect("made");
        assert_eq!(load_or_create(&path).expect("read"), key);
        assert_eq!(fs::metadata(&path).expect("file").permissions().mode() & 0o777, 0o600);
        assert_ne!(generate(), key);
    }

    #[test]
    fn a_file_without_a_key_is_refused() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("key");
        fs::write(&path, "nonsense").expect("written");
        assert!(matches!(load_or_create(&path), Err(FabricError::Corrupt { .. })));
    }
}
