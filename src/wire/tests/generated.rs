//! Keeps `generated/` true to `proto/`: run with REGENERATE=1 to write it anew.

use std::path::{Path, PathBuf};

const FILES: [&str; 7] =
    ["objects.proto", "raft.proto", "trust.proto", "control.proto", "dispatch.proto", "logs.proto", "engine.proto"];

fn generate(out: &Path) {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let descriptors = protox::compile(FILES, [&proto]).expect("proto/ compiles");
    prost_build::Config::new()
        .btree_map(["."])
        .bytes(["swarm.raft.Envelope.message", "swarm.logs.LogRecord.data"])
        .out_dir(out)
        .compile_fds(descriptors)
        .expect("code is generated");
}

#[test]
fn generated_code_is_what_proto_says() {
    let checked_in: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated");
    if std::env::var_os("REGENERATE").is_some() {
        generate(&checked_in);
        return;
    }
    let fresh = std::env::temp_dir().join(format!("swarm-proto-{}", std::process::id()));
    std::fs::create_dir_all(&fresh).expect("a folder for the fresh code");
    generate(&fresh);
    let mut compared = 0;
    for entry in std::fs::read_dir(&fresh).expect("fresh code") {
        let name = entry.expect("entry").file_name();
        let read = |dir: &Path| std::fs::read_to_string(dir.join(&name)).unwrap_or_default();
        // Not assert_eq: it would print both files.
        let same = read(&fresh) == read(&checked_in);
        assert!(same, "{name:?} differs: run REGENERATE=1 cargo test -p wire --test generated");
        compared += 1;
    }
    assert_eq!(compared, FILES.len());
    std::fs::remove_dir_all(&fresh).expect("the folder goes");
}
