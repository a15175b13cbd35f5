//! Images for the tests, made by the scripts the demo uses: `app:1` and `app:2`, a web server that
//! tells its version, and fetches from other services when asked.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cluster, assert_success};

/// Answers to `/cgi-bin/fetch?NAME/PATH` by fetching `http://NAME:8080/PATH` itself: a way to look at
/// the network from inside a container. `/cgi-bin/who` tells which container answered.
const FETCH: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nexec timeout 3 wget -q -O - \"http://${QUERY_STRING%%/*}:8080/${QUERY_STRING#*/}\" 2>&1\n";
const WHO: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nhostname\n";
const RESOLVE: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nnslookup \"$QUERY_STRING\" 2>&1\n";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts")
}

fn script(name: &str, args: &[&str]) {
    let output = Command::new(scripts().join(name)).args(args).output().unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_success(name, &output);
}

impl Cluster {
    /// Makes `app:VERSION` and loads it into every host. `/` answers `app VERSION`.
    pub fn load_app(&self, version: u32) {
        let archive = self.make_app(version, &format!("app {version}\n"));
        for host in &self.hosts {
            self.swarm(host.index, &["image", "load", "-i", &archive.display().to_string()]);
        }
    }

    /// Makes the archive of `app:VERSION`, whose `/` answers `index`.
    pub fn make_app(&self, version: u32, index: &str) -> PathBuf {
        let rootfs = self.dir.path().join(format!("app-{version}"));
        let archive = self.dir.path().join(format!("app-{version}.tar"));
        let shown = |p: &Path| p.display().to_string();
        script("demo-images.sh", &["base", &shown(&rootfs)]);
        std::fs::create_dir_all(rootfs.join("www/cgi-bin")).expect("the folder is writable");
        std::fs::write(rootfs.join("www/index.html"), index).expect("the folder is writable");
        for (name, text) in [("fetch", FETCH), ("who", WHO), ("resolve", RESOLVE)] {
            let path = rootfs.join("www/cgi-bin").join(name);
            std::fs::write(&path, text).expect("the folder is writable");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&path, mode).expect("the folder is writable");
        }
        let cmd = r#"["httpd","-f","-p","8080","-h","/www"]"#;
        script("oci-image.sh", &[&shown(&rootfs), &format!("app:{version}"), &shown(&archive), "--cmd", cmd]);
        archive
    }
}
