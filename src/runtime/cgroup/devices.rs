//! Which devices a container may create and open.
//!
//! The list is Docker's default; the same rules become `devices.allow` lines on v1 and a program on v2 (see `bpf`).

use std::path::Path;

use super::{Result, write};

/// Block or character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    All,
    Block,
    Char,
}

/// One thing that is allowed; everything else is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    pub kind: DeviceKind,
    /// `None` is every major number.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

impl DeviceRule {
    /// A rule for one device; `access` is a subset of `rwm` as in Docker's `--device`.
    pub fn new(kind: DeviceKind, major: Option<u32>, minor: Option<u32>, access: &str) -> Self {
        let has = |letter| access.contains(letter);
        Self { kind, major, minor, read: has('r'), write: has('w'), mknod: has('m') }
    }

    fn v1_line(&self) -> String {
        let kind = match self.kind {
            DeviceKind::All => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let mut access = String::new();
        for (letter, on) in [('r', self.read), ('w', self.write), ('m', self.mknod)] {
            if on {
                access.push(letter);
            }
        }
        format!("{kind} {}:{} {access}", number(self.major), number(self.minor))
    }
}

/// What Docker allows a container that is not privileged: make any node, open only the harmless ones.
pub fn default_rules() -> Vec<DeviceRule> {
    let mut rules =
        vec![DeviceRule::new(DeviceKind::Char, None, None, "m"), DeviceRule::new(DeviceKind::Block, None, None, "m")];
    // null, zero, full, random, urandom, tty, console, ptmx
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(DeviceRule::new(DeviceKind::Char, Some(major), Some(minor), "rwm"));
    }
    rules.push(DeviceRule::new(DeviceKind::Char, Some(136), None, "rwm")); // pseudo terminals
    rules
}

/// Every device, for a privileged container.
pub fn everything() -> Vec<DeviceRule> {
    vec![DeviceRule::new(DeviceKind::All, None, None, "rwm")]
}

/// Denies all, then allows the rules (cgroup-v1/devices.rst).
pub(super) fn write_v1(dir: &Path, rules: &[DeviceRule]) -> Result<()> {
    if rules.iter().any(|rule| rule.kind == DeviceKind::All && rule.major.is_none()) {
        return Ok(()); // A new devices cgroup inherits its parent's rules; nothing is taken away.
    }
    write(&dir.join("devices.deny"), "a")?;
    for rule in rules {
        write(&dir.join("devices.allow"), &rule.v1_line())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_the_kernel_documents_them() {
        let rules = default_rules();
        assert_eq!(rules[0].v1_line(), "c *:* m");
        assert!(rules.iter().any(|rule| rule.v1_line() == "c 1:3 rwm"));
        assert!(rules.iter().any(|rule| rule.v1_line() == "c 136:* rwm"));
    }
}
