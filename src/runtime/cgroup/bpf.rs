//! The device filter of cgroup v2: a small program that the kernel runs at every open and mknod inside the cgroup.
//!
//! Assembled here by hand (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE), so that no C library is needed. The program allows
//! what a rule allows and denies everything else; a container whose filter cannot be attached is not created.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::{CgroupError, DeviceKind, DeviceRule, Result};

/// An instruction: opcode, destination and source register, jump offset, immediate (linux/bpf.h `struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE_IMMEDIATE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const MOVE_REGISTER: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const AND_IMMEDIATE: u8 = 0x57; // BPF_ALU64 | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
const JUMP_NOT_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d; // BPF_JMP | BPF_JNE | BPF_X
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

const DEVICE_BLOCK: i32 = 1;
const DEVICE_CHAR: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;

fn insn(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Insn {
    Insn { code, registers: destination | source << 4, offset, immediate }
}

/// r1 is the context: access << 16 | type, major, minor. r2 type, r3 access, r4 major, r5 minor, r0 the answer.
fn program(rules: &[DeviceRule]) -> Vec<Insn> {
    let mut out = vec![
        insn(LOAD_WORD, 2, 1, 0, 0),
        insn(MOVE_REGISTER, 3, 2, 0, 0),
        insn(AND_IMMEDIATE, 2, 0, 0, 0xffff),
        insn(SHIFT_RIGHT, 3, 0, 0, 16),
        insn(LOAD_WORD, 4, 1, 4, 0),
        insn(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let mut block = Vec::new();
        match rule.kind {
            DeviceKind::All => {}
            DeviceKind::Block => block.push(insn(JUMP_NOT_EQUAL, 2, 0, 0, DEVICE_BLOCK)),
            DeviceKind::Char => block.push(insn(JUMP_NOT_EQUAL, 2, 0, 0, DEVICE_CHAR)),
        }
        let mut access = 0;
        for (bit, on) in [(ACCESS_READ, rule.read), (ACCESS_WRITE, rule.write), (ACCESS_MKNOD, rule.mknod)] {
            if on {
                access |= bit;
            }
        }
        // Every wanted bit must be granted: (wanted & granted) == wanted.
        block.push(insn(MOVE_REGISTER, 1, 3, 0, 0));
        block.push(insn(AND_IMMEDIATE, 1, 0, 0, access));
        block.push(insn(JUMP_NOT_EQUAL_REGISTER, 1, 3, 0, 0));
        for (register, number) in [(4, rule.major), (5, rule.minor)] {
            if let Some(number) = number {
                block.push(insn(JUMP_NOT_EQUAL, register, 0, 0, number as i32));
            }
        }
        block.push(insn(MOVE_IMMEDIATE, 0, 0, 0, 1));
        block.push(insn(EXIT, 0, 0, 0, 0));
        let end = block.len();
        for (at, step) in block.iter_mut().enumerate() {
            if matches!(step.code, JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REGISTER) {
                step.offset = (end - at - 1) as i16; // a block is at most eight instructions long
            }
        }
        out.extend(block);
    }
    out.push(insn(MOVE_IMMEDIATE, 0, 0, 0, 0));
    out.push(insn(EXIT, 0, 0, 0, 0));
    out
}

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads the rules as a program and attaches it to the cgroup directory. The kernel keeps it as long as the cgroup.
pub(super) fn attach(dir: &Path, rules: &[DeviceRule]) -> Result<()> {
    let failed = |source| CgroupError::Io { action: "attach the device filter to", path: dir.to_owned(), source };
    let directory = std::fs::File::open(dir).map_err(failed)?;
    let program = load(&program(rules)).map_err(failed)?;
    let request = Attach {
        target: directory.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the pointer and the size describe `request`, which outlives the call; both descriptors are open.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const request, size_of::<Attach>()) };
    if result < 0 { Err(failed(io::Error::last_os_error())) } else { Ok(()) }
}

fn load(instructions: &[Insn]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let request = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: `request` points to the instructions and the licence, which outlive the call, with their true length.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const request, size_of::<Load>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned this new descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::super::{Hierarchy, default_rules};
    use super::*;

    #[test]
    fn every_jump_lands_inside_the_program() {
        let program = program(&default_rules());
        for (at, step) in program.iter().enumerate() {
            let target = at as i64 + 1 + i64::from(step.offset);
            if matches!(step.code, JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REGISTER) {
                assert!(step.offset > 0 && target < program.len() as i64, "{at}");
            }
        }
    }

    /// A real cgroup2 tree exists on v2 and hybrid hosts, and the filter works there beside the v1 controllers.
    #[test]
    fn the_kernel_denies_what_no_rule_allows() {
        let root = match Hierarchy::detect().expect("cgroups") {
            Hierarchy::V2 { root } => root,
            Hierarchy::V1 { others, .. } => {
                others.into_iter().find(|path| path.join("cgroup.controllers").exists()).expect("a cgroup2 tree")
            }
        };
        let dir = root.join(format!("swarm-device-test-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("create the cgroup as root");
        let checked = std::panic::catch_unwind(|| {
            attach(&dir, &default_rules()).expect("attach");
            // The child moves itself in, then opens /dev/null and a node outside the list (1:11, the kernel log).
            let script = "echo 0 > \"$1/cgroup.procs\"; true > /dev/null || exit 3; mknod \"$2\" c 1 11 || exit 4; \
                          true < \"$2\" && exit 5; exit 0";
            let node = tempfile::tempdir().expect("temp dir");
            let path = node.path().join("kmsg");
            let status = std::process::Command::new("/bin/sh")
                .args(["-c", script, "sh"])
                .args([&dir, &path])
                .stderr(std::process::Stdio::null())
                .status()
                .expect("run a shell");
            assert_eq!(status.code(), Some(0));
        });
        std::fs::remove_dir(&dir).expect("remove the cgroup");
        checked.expect("the filter works");
    }
}
