//! System call numbers of the architectures a filter covers.

use std::str::FromStr;

/// AUDIT_ARCH_* of linux/audit.h.
const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

/// Set in every x32 number (arch/x86/include/uapi/asm/unistd.h).
const X32_BIT: u32 = 0x4000_0000;

/// Names whose x32 number is not the x86_64 one (arch/x86/entry/syscalls/syscall_64.tbl, 512 and up).
const X32_OWN: [(&str, u32); 36] = [
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

/// One way of numbering system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X32,
    X86,
    Aarch64,
    Arm,
}

impl Abi {
    /// The architecture word the kernel shows the filter. x32 has x86_64's.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => X86_64,
            Self::X86 => X86,
            Self::Aarch64 => AARCH64,
            Self::Arm => ARM,
        }
    }

    /// The number of a call, if this numbering has it. `x32` numbers carry the x32 bit.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        match self {
            Self::X86_64 => syscalls::x86_64::Sysno::from_str(name).ok().map(|call| call.id() as u32),
            Self::X32 => X32_OWN
                .iter()
                .find(|(own, _)| *own == name)
                .map(|(_, number)| *number)
                .or_else(|| Self::X86_64.number(name))
                .map(|number| number | X32_BIT),
            Self::X86 => syscalls::x86::Sysno::from_str(name).ok().map(|call| call.id() as u32),
            Self::Aarch64 => syscalls::aarch64::Sysno::from_str(name).ok().map(|call| call.id() as u32),
            Self::Arm => syscalls::arm::Sysno::from_str(name).ok().map(|call| call.id() as u32),
        }
    }

    /// Numbers above this one are newer than this table: they get ENOSYS, so that programs fall back.
    /// The kernel gives new calls the same number everywhere since 5.1, so one name serves.
    pub(super) fn newest(self) -> u32 {
        const NEWEST: &str = "file_setattr";
        self.number(NEWEST).unwrap_or(u32::MAX >> 2)
    }

    /// The first number of this numbering.
    pub(super) fn base(self) -> u32 {
        match self {
            Self::X32 => X32_BIT,
            Self::X86_64 | Self::X86 | Self::Aarch64 | Self::Arm => 0,
        }
    }
}

/// The numberings a process of this machine may use.
pub(super) fn native() -> Vec<Abi> {
    if cfg!(target_arch = "aarch64") { vec![Abi::Aarch64, Abi::Arm] } else { vec![Abi::X86_64, Abi::X32, Abi::X86] }
}
