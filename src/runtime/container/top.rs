//! The processes of a container, as proc(5) tells of them.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Containers, Result, blocking};

/// One process (`docker top`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// As the host numbers it, and its parent.
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    pub uid: u32,
    /// As the host names the user; the number where it does not.
    pub user: String,
    /// One letter: `R`, `S`, `D`, `Z`, `T`, ...
    pub state: char,
    /// `?`, or `pts/0`.
    pub terminal: String,
    /// Name of the program, without arguments.
    pub name: String,
    /// Program and arguments; empty for a zombie.
    pub arguments: Vec<String>,
    pub cpu_ms: u64,
    /// Since 1970.
    pub started_ms: u64,
    pub priority: i64,
    pub nice: i64,
    pub threads: u64,
    pub virtual_bytes: u64,
    pub resident_bytes: u64,
}

impl Containers {
    /// Its processes, those first that were first.
    pub async fn top(&self, id: &str) -> Result<Vec<Process>> {
        let cgroup = self.cgroup(id)?;
        blocking(move || {
            let users = users(&std::fs::read_to_string("/etc/passwd").unwrap_or_default());
            let booted_s = booted_s(&std::fs::read_to_string("/proc/stat").unwrap_or_default());
            // One that ends meanwhile is left out.
            let one = |pid: i32| read(Path::new(&format!("/proc/{pid}")), pid, booted_s, &users);
            let mut all: Vec<Process> = cgroup.processes().into_iter().filter_map(one).collect();
            all.sort_by_key(|process| (process.started_ms, process.pid));
            all
        })
        .await
    }
}

fn users(passwd: &str) -> BTreeMap<u32, String> {
    let line = |line: &str| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?);
        Some((uid.parse().ok()?, name.to_owned()))
    };
    // The first of several names counts.
    passwd.lines().rev().filter_map(line).collect()
}

fn booted_s(stat: &str) -> u64 {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0)
}

fn read(dir: &Path, pid: i32, booted_s: u64, users: &BTreeMap<u32, String>) -> Option<Process> {
    let text =
        |file: &str| std::fs::read(dir.join(file)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut process = parse(&text("stat")?, booted_s)?;
    process.pid = pid;
    let status = text("status")?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse().ok());
    process.uid = uid?;
    process.user = users.get(&process.uid).cloned().unwrap_or_else(|| process.uid.to_string());
    let line = text("cmdline").unwrap_or_default();
    process.arguments = line.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
    process.arguments.retain(|argument| !argument.is_empty());
    Some(process)
}

/// proc_pid_stat(5). The name may hold anything, closing brackets too.
fn parse(stat: &str, booted_s: u64) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // Field 3 of the manual is the first here.
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let amount = |field: usize| number(field).and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
    // SAFETY: sysconf(3) takes a plain number and gives one.
    let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
    let ticks = u64::try_from(ticks).unwrap_or(100).max(1);
    let ms = |field: usize| amount(field).saturating_mul(1_000) / ticks;
    Some(Process {
        name,
        state: fields.first()?.chars().next()?,
        parent: i32::try_from(number(4)?).ok()?,
        group: i32::try_from(number(5)?).ok()?,
        session: i32::try_from(number(6)?).ok()?,
        terminal: terminal(number(7)?),
        cpu_ms: ms(14).saturating_add(ms(15)),
        priority: number(18)?,
        nice: number(19)?,
        threads: amount(20),
        started_ms: booted_s.saturating_mul(1_000).saturating_add(ms(22)),
        virtual_bytes: amount(23),
        resident_bytes: amount(24).saturating_mul(u64::try_from(page).unwrap_or(4096)),
        ..Process::default()
    })
}

/// proc_pid_stat(5), tty_nr: the minor number is in bits 31 to 20 and 7 to 0, the major in bits 15 to 8.
fn terminal(number: i64) -> String {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00));
    match major {
        0 => "?".to_owned(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_read_whatever_the_program_is_called() {
        let line = "7 (a) b (c) S 1 7 6 34817 7 0 0 0 0 0 150 50 0 0 20 -5 3 0 1000 8192 2 0";
        let process = parse(line, 100).expect("a process");
        assert_eq!((process.name.as_str(), process.state), ("a) b (c", 'S'));
        assert_eq!((process.parent, process.group, process.session), (1, 7, 6));
        assert_eq!((process.terminal.as_str(), process.priority, process.nice, process.threads), ("pts/1", 20, -5, 3));
        // 100 ticks a second on every Linux that there is.
        assert_eq!((process.cpu_ms, process.started_ms), (2_000, 110_000));
        assert_eq!(process.virtual_bytes, 8192);
        assert_eq!(parse("7 (x", 0), None);
    }

    #[test]
    fn the_first_name_of_a_user_counts() {
        let users = users("root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\nbroken\nweb:x:1000:1000::/:/bin/sh\n");
        assert_eq!((users[&0].as_str(), users[&1000].as_str(), users.len()), ("root", "web", 2));
    }

    #[test]
    fn this_process_is_found_in_proc() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let process = read(Path::new("/proc/self"), pid, 1, &BTreeMap::new()).expect("it runs");
        assert!(process.resident_bytes > 0 && !process.arguments.is_empty() && process.threads > 0, "{process:?}");
    }
}
