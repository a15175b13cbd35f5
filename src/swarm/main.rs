//! The program `swarm`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A shim must have one thread and little memory: nothing else may happen before it.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|word| word == "shim") {
        return runtime::shim::main(args);
    }
    swarm_cli::run()
}
