//! The filter is run here by a small interpreter of the kernel's instruction set, and once by the kernel itself.

use super::arch::Abi;
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0000 | libc::EPERM as u32;
const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// Runs a program on one system call.
fn run(program: &[Instruction], abi: Abi, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(abi.audit().to_le_bytes());
    data.extend(0u64.to_le_bytes());
    arguments.iter().for_each(|argument| data.extend(argument.to_le_bytes()));
    let (mut at, mut register) = (0usize, 0u32);
    loop {
        let step = program[at];
        at += 1;
        match step.code {
            0x20 => {
                let offset = step.value as usize;
                register = u32::from_le_bytes(data[offset..offset + 4].try_into().expect("four bytes"));
            }
            0x54 => register &= step.value,
            0x05 => at += step.value as usize,
            0x15 => at += usize::from(if register == step.value { step.jump_true } else { step.jump_false }),
            0x35 => at += usize::from(if register >= step.value { step.jump_true } else { step.jump_false }),
            0x06 => return step.value,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn default_caps() -> CapSet {
    CapSet::resolve(&[], &[], false).expect("no names")
}

fn all_abis() -> Vec<Abi> {
    vec![Abi::X86_64, Abi::X32, Abi::X86, Abi::Aarch64, Abi::Arm]
}

fn program(caps: CapSet) -> Vec<Instruction> {
    bpf::assemble(&all_abis(), &profile::verdicts(caps))
}

#[test]
fn every_call_of_every_numbering_gets_its_verdict() {
    let verdicts = profile::verdicts(default_caps());
    let program = program(default_caps());
    for abi in all_abis() {
        let mut checked = 0;
        for (name, verdict) in &verdicts {
            let Some(number) = abi.number(name) else { continue };
            let wanted = match verdict {
                Verdict::Allow | Verdict::AllowIf(..) => ALLOW,
                Verdict::Errno(errno) => 0x0005_0000 | u32::from(*errno),
            };
            // First arguments that the conditional rules allow: AF_UNIX for socket, 0 for the others.
            let arguments = if *name == "socket" { [1, 0, 0, 0, 0, 0] } else { [0; 6] };
            assert_eq!(run(&program, abi, number, arguments), wanted, "{abi:?} {name}");
            checked += 1;
        }
        assert!(checked > 250, "{abi:?} knows only {checked} names");
    }
}

#[test]
fn what_is_not_listed_is_refused() {
    let program = program(default_caps());
    for abi in all_abis() {
        for name in ["mount", "unshare", "setns", "bpf", "keyctl", "add_key", "kexec_load", "reboot", "init_module"] {
            let number = abi.number(name).expect("known everywhere");
            assert_eq!(run(&program, abi, number, [0; 6]), EPERM, "{abi:?} {name}");
        }
    }
}

#[test]
fn calls_newer_than_the_table_look_unimplemented() {
    let program = program(default_caps());
    for abi in all_abis() {
        let number = abi.newest().max(abi.base() + 547) + 7;
        assert_eq!(run(&program, abi, number, [0; 6]), ENOSYS, "{abi:?}");
    }
}

#[test]
fn threads_start_but_namespaces_do_not() {
    let program = program(default_caps());
    let clone = Abi::X86_64.number("clone").expect("known");
    let thread = 0x3d_0f00;
    assert_eq!(run(&program, Abi::X86_64, clone, [thread, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&program, Abi::X86_64, clone, [0x1000_0000, 0, 0, 0, 0, 0]), EPERM);
    let clone3 = Abi::X86_64.number("clone3").expect("known");
    assert_eq!(run(&program, Abi::X86_64, clone3, [0; 6]), ENOSYS);
}

#[test]
fn the_high_half_of_an_argument_counts() {
    let program = program(default_caps());
    let socket = Abi::X86_64.number("socket").expect("known");
    assert_eq!(run(&program, Abi::X86_64, socket, [2, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&program, Abi::X86_64, socket, [2 | 1 << 32, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(run(&program, Abi::X86_64, socket, [40, 0, 0, 0, 0, 0]), EPERM);
}

#[test]
fn a_capability_opens_its_calls() {
    let caps = CapSet::resolve(&["SYS_ADMIN".to_owned()], &[], false).expect("known");
    let program = program(caps);
    for name in ["mount", "unshare", "clone3"] {
        let number = Abi::X86_64.number(name).expect("known");
        assert_eq!(run(&program, Abi::X86_64, number, [0; 6]), ALLOW, "{name}");
    }
}

#[test]
fn the_program_fits_the_kernel_and_is_shallow() {
    let filter = Filter::docker_default(default_caps());
    assert!(filter.len() < 4096, "{}", filter.len());
}

#[test]
fn the_kernel_takes_the_filter_and_enforces_it() {
    let filter = Filter::docker_default(default_caps());
    // The filter stays for the thread's life, so the thread is one of its own.
    let result = std::thread::spawn(move || {
        filter.load().expect("load as root");
        // SAFETY: unshare(2) with no new namespace that the filter would let through; it must fail.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWUTS) };
        let errno = io::Error::last_os_error().raw_os_error();
        // SAFETY: a number no kernel has; it must be refused as unimplemented.
        let unknown = unsafe { libc::syscall(999) };
        (unshared, errno, unknown, io::Error::last_os_error().raw_os_error())
    })
    .join()
    .expect("thread");
    assert_eq!(result, (-1, Some(libc::EPERM), -1, Some(libc::ENOSYS)));
}
