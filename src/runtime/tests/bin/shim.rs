//! The smallest program around the crate, for its tests: a shim, or a daemon to be killed.

fn main() -> std::process::ExitCode {
    let mut args = std::env::args_os();
    let _program = args.next();
    match args.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("shim") => runtime::shim::main(args),
        _ => {
            eprintln!("usage: runtime-shim shim ...");
            std::process::ExitCode::from(2)
        }
    }
}
