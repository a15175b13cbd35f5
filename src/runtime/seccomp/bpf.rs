//! The assembler: verdicts per system call name -> one classic BPF program.
//!
//! Shape: check the architecture; then, per numbering, a binary search over ranges of numbers with equal verdicts.
//! A search costs about eight comparisons, where a list of all names would cost hundreds at every system call.
//! Source: seccomp(2), linux/filter.h, linux/seccomp.h.

use std::collections::BTreeMap;

use super::arch::Abi;
use super::{Test, Verdict};

/// `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

fn step(code: u16, value: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, value }
}

fn branch(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

/// The whole program. A call without a verdict gets EPERM, a foreign architecture is killed.
pub(super) fn assemble(abis: &[Abi], verdicts: &BTreeMap<&'static str, Verdict>) -> Vec<Instruction> {
    let mut out = vec![step(LOAD, ARCHITECTURE)];
    let mut seen = Vec::new();
    for abi in abis {
        if seen.contains(&abi.audit()) {
            continue;
        }
        seen.push(abi.audit());
        let mut ranges: Vec<(u32, Verdict)> = Vec::new();
        // Numberings that share an architecture word (x86_64, x32) follow one another by number.
        for abi in abis.iter().filter(|other| other.audit() == abi.audit()) {
            ranges.extend(table(*abi, verdicts));
        }
        let mut body = vec![step(LOAD, NUMBER)];
        body.extend(search(&merge(ranges)));
        out.push(branch(JUMP_EQUAL, abi.audit(), 1, 0));
        out.push(step(JUMP, body.len() as u32));
        out.extend(body);
    }
    out.push(step(RETURN, KILL_PROCESS));
    out
}

/// (first number, verdict) of each number of a numbering, gaps included, in ascending order.
fn table(abi: Abi, verdicts: &BTreeMap<&'static str, Verdict>) -> Vec<(u32, Verdict)> {
    let mut known: BTreeMap<u32, Verdict> = BTreeMap::new();
    for (name, verdict) in verdicts {
        if let Some(number) = abi.number(name) {
            known.insert(number, verdict.clone());
        }
    }
    let newest = abi.newest().max(known.keys().next_back().copied().unwrap_or(0));
    let mut out = vec![(abi.base(), Verdict::Errno(libc::EPERM as u16))];
    for (number, verdict) in known {
        out.push((number, verdict));
        out.push((number + 1, Verdict::Errno(libc::EPERM as u16)));
    }
    out.push((newest + 1, Verdict::Errno(libc::ENOSYS as u16)));
    out
}

/// Later entries of the same number win; neighbours with the same verdict become one range.
fn merge(ranges: Vec<(u32, Verdict)>) -> Vec<(u32, Verdict)> {
    let last: BTreeMap<u32, Verdict> = ranges.into_iter().collect();
    let mut out: Vec<(u32, Verdict)> = Vec::new();
    for (first, verdict) in last {
        if out.last().is_none_or(|(_, before)| *before != verdict) {
            out.push((first, verdict));
        }
    }
    out
}

fn search(ranges: &[(u32, Verdict)]) -> Vec<Instruction> {
    match ranges {
        [] => vec![step(RETURN, KILL_PROCESS)],
        [(_, verdict)] => leaf(verdict),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let (left, right) = (search(low), search(high));
            let mut out = Vec::with_capacity(left.len() + right.len() + 2);
            match u8::try_from(left.len()) {
                Ok(distance) => out.push(branch(JUMP_AT_LEAST, high[0].0, distance, 0)),
                Err(_) => {
                    out.push(branch(JUMP_AT_LEAST, high[0].0, 0, 1));
                    out.push(step(JUMP, left.len() as u32));
                }
            }
            out.extend(left);
            out.extend(right);
            out
        }
    }
}

fn leaf(verdict: &Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Allow => vec![step(RETURN, ALLOW)],
        Verdict::Errno(errno) => vec![step(RETURN, ERRNO | u32::from(*errno))],
        Verdict::AllowIf(tests, errno) => {
            let mut out = Vec::new();
            for test in tests {
                out.extend(check(test));
            }
            out.push(step(RETURN, ERRNO | u32::from(*errno)));
            out
        }
    }
}

/// Both halves of the argument; falls through to the next test when one differs. Little-endian machines only, as
/// all supported ones are.
fn check(test: &Test) -> Vec<Instruction> {
    let (argument, mask, value) = match test {
        Test::Equal { argument, value } => (*argument, u64::MAX, *value),
        Test::Masked { argument, mask, value } => (*argument, *mask, *value),
    };
    let offset = ARGUMENTS + 8 * argument;
    let half = |offset: u32, mask: u32, value: u32, skip: u8| {
        let mut out = vec![step(LOAD, offset)];
        if mask != u32::MAX {
            out.push(step(AND, mask));
        }
        out.push(branch(JUMP_EQUAL, value, 0, skip));
        out
    };
    let high = half(offset + 4, (mask >> 32) as u32, (value >> 32) as u32, 1);
    let mut out = half(offset, mask as u32, value as u32, high.len() as u8 + 1);
    out.extend(high);
    out.push(step(RETURN, ALLOW));
    out
}
