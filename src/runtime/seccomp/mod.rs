//! System call filters: Docker's default policy as data, turned into a classic BPF program and loaded.
//!
//! Called by the shim before a container is made (compile) and inside the container just before the program runs
//! (load), for the first process and for every exec. Never loads anything but a whole program: an error means the
//! container's program does not run.

mod arch;
mod bpf;
mod profile;

use std::io;

use crate::caps::CapSet;

pub use bpf::Instruction;

/// A compiled filter, ready to load. At most 4096 instructions (BPF_MAXINSNS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Vec<Instruction>);

/// What a system call gets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Allow,
    Errno(u16),
    /// The first test that holds allows; when none does, the errno.
    AllowIf(Vec<Test>, u16),
}

/// A test of one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Equal {
        argument: u32,
        value: u64,
    },
    /// `argument & mask == value`
    Masked {
        argument: u32,
        mask: u64,
        value: u64,
    },
}

impl Filter {
    /// Docker's default profile for a container with these capabilities, for this machine's architectures.
    pub fn docker_default(caps: CapSet) -> Self {
        Self(bpf::assemble(&arch::native(), &profile::verdicts(caps)))
    }

    /// Number of instructions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true for a compiled filter.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Loads the filter into this thread. Needs CAP_SYS_ADMIN or no_new_privs (seccomp(2)).
    pub fn load(&self) -> io::Result<()> {
        #[repr(C)]
        struct Program {
            count: u16,
            instructions: *const Instruction,
        }
        let count = u16::try_from(self.0.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let program = Program { count, instructions: self.0.as_ptr() };
        // SAFETY: `program` describes the instructions with their true length; the kernel copies them.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                &raw const program,
            )
        };
        if result != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
