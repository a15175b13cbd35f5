//! Compose files: whatever they say, they are read or refused with a reason, and what is printed can be read again.
//!
//! The input is several files with `---8<---` lines between them: the first is given, the others are `a.yml`, `b.yml`
//! and so on beside it, for `extends`, `include` and `env_file`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use swarm_core::compose::{self, Files, SourceFile};

const CUT: &str = "---8<---\n";

struct Memory<'a>(BTreeMap<String, &'a str>);

impl Files for Memory<'_> {
    fn directory(&self) -> &str {
        "/project"
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).map(|text| text.as_bytes().to_vec()).ok_or_else(|| "No such file or directory".to_owned())
    }
}

fuzz_target!(|text: &str| {
    let mut parts = text.split(CUT);
    let first = SourceFile { name: "stack.yml".to_owned(), text: parts.next().unwrap_or_default().to_owned() };
    let names = ('a'..='z').map(|name| format!("/project/{name}.yml"));
    let files = Memory(names.zip(parts).collect());
    let env = [("HOME", "/home/me"), ("A", "a"), ("EMPTY", ""), ("COMPOSE_PROFILES", "a,b")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    let given = [first];
    match compose::load(Some("shop"), &given, &env, &files) {
        Ok(_) => assert!(compose::config(&given, &env, &files).is_ok(), "deployed, but not printed"),
        Err(errors) => assert!(!errors.is_empty(), "refused without a reason"),
    }
});
