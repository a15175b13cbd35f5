//! What holds of the readiness and liveness probes of a service.

use super::{Refusal, invalid};
use crate::model::{ContainerSpec, Probe, ProbeAction};
use std::time::Duration;

/// Shortest interval: a node of hundreds of containers is to have time for something else.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Shortest timeout: as of a health check.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// Longest of all times. Beyond it a probe says nothing.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest path or name of a host, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Those of one container.
pub(super) fn probes(container: &ContainerSpec) -> Result<(), Refusal> {
    if let Some(readiness) = &container.readiness {
        probe("Swarm.Readiness", readiness)?;
    }
    if let Some(liveness) = &container.liveness {
        probe("Swarm.Liveness", liveness)?;
        if liveness.successes != 1 {
            return invalid("Swarm.Liveness.Successes: must be 1: what was found not to live is replaced");
        }
    }
    Ok(())
}

fn probe(place: &str, probe: &Probe) -> Result<(), Refusal> {
    match &probe.action {
        ProbeAction::Http { port, path, host } => http(&format!("{place}.HTTP"), *port, path, host)?,
        ProbeAction::Tcp { port } => self::port(&format!("{place}.TCP"), *port)?,
        ProbeAction::Exec { command } if command.first().is_none_or(String::is_empty) => {
            return invalid(format!("{place}.Exec.Command: name the program to run"));
        }
        ProbeAction::Exec { .. } => {}
    }
    let times = [
        ("Interval", probe.interval, INTERVAL_MIN),
        ("Timeout", probe.timeout, TIMEOUT_MIN),
        ("StartPeriod", probe.start_period, Duration::ZERO),
    ];
    for (name, time, least) in times {
        if time < least || time > TIME_MAX {
            return invalid(format!("{place}.{name}: {time:?} is not between {least:?} and 24h"));
        }
    }
    for (name, count) in [("Failures", probe.failures), ("Successes", probe.successes)] {
        if count == 0 {
            return invalid(format!("{place}.{name}: must be 1 or more"));
        }
    }
    Ok(())
}

fn port(place: &str, port: u16) -> Result<(), Refusal> {
    match port {
        0 => invalid(format!("{place}.Port: must be a port of the container, 1 to 65535")),
        1.. => Ok(()),
    }
}

fn http(place: &str, port: u16, path: &str, host: &str) -> Result<(), Refusal> {
    self::port(place, port)?;
    if !path.starts_with('/') {
        return invalid(format!("{place}.Path: \"{path}\" must begin with /"));
    }
    // What may stand in a request line (RFC 3986, section 3): anything else is written %XX.
    let odd = |byte: u8| !byte.is_ascii_graphic() || br##""<>\^`{|}#"##.contains(&byte);
    if path.bytes().any(odd) || path.len() > TEXT_BYTES_MAX {
        return invalid(format!(
            "{place}.Path: must be up to {TEXT_BYTES_MAX} characters of a URL; write others as %XX"
        ));
    }
    if host.bytes().any(|byte| odd(byte) || b"/?@".contains(&byte)) || host.len() > TEXT_BYTES_MAX {
        return invalid(format!("{place}.Host: \"{host}\" is not a host name or address, with or without a port"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(port: u16, path: &str, host: &str) -> Probe {
        Probe::of(ProbeAction::Http { port, path: path.to_owned(), host: host.to_owned() })
    }

    fn refused(edit: impl FnOnce(&mut ContainerSpec)) -> String {
        let mut container = ContainerSpec::default();
        edit(&mut container);
        match probes(&container) {
            Err(Refusal::Invalid(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn probes_of_all_kinds_are_taken() {
        let exec = Probe::of(ProbeAction::Exec { command: vec!["/check".to_owned(), String::new()] });
        for probe in [http(65535, "/ready?full=1&x=%20", "shop.example:8080"), exec, http(1, "/", "[::1]:80")] {
            let both = ContainerSpec { readiness: Some(probe.clone()), liveness: Some(probe), ..Default::default() };
            assert_eq!(probes(&both).map_err(|error| format!("{error:?}")), Ok(()));
        }
    }

    #[test]
    fn a_probe_that_could_never_succeed_is_refused_by_the_name_of_its_field() {
        let readiness = |probe: Probe| refused(|container| container.readiness = Some(probe));
        let none = "Swarm.Readiness.HTTP.Port: must be a port of the container, 1 to 65535";
        assert_eq!(readiness(http(0, "/", "")), none);
        assert_eq!(readiness(http(80, "ready", "")), "Swarm.Readiness.HTTP.Path: \"ready\" must begin with /");
        for path in ["/a b", "/a\r\nX: y", "/a#b", "/\u{e4}", &format!("/{}", "a".repeat(1024))] {
            assert!(readiness(http(80, path, "")).starts_with("Swarm.Readiness.HTTP.Path: must be up to"), "{path:?}");
        }
        for host in ["a b", "a/b", "a\r\nX: y", "u@a"] {
            assert!(readiness(http(80, "/", host)).starts_with("Swarm.Readiness.HTTP.Host: "), "{host:?}");
        }
        let tcp = Probe::of(ProbeAction::Tcp { port: 0 });
        let words = refused(|container| container.liveness = Some(tcp));
        assert_eq!(words, "Swarm.Liveness.TCP.Port: must be a port of the container, 1 to 65535");
        for command in [vec![], vec![String::new()]] {
            let words = readiness(Probe::of(ProbeAction::Exec { command }));
            assert_eq!(words, "Swarm.Readiness.Exec.Command: name the program to run");
        }
    }

    #[test]
    fn times_and_counts_out_of_bounds_are_refused() {
        let with = |edit: fn(&mut Probe)| {
            let mut probe = http(80, "/", "");
            edit(&mut probe);
            refused(|container| container.readiness = Some(probe))
        };
        let words = with(|probe| probe.interval = Duration::from_millis(99));
        assert_eq!(words, "Swarm.Readiness.Interval: 99ms is not between 100ms and 24h");
        assert!(with(|probe| probe.interval = Duration::MAX).starts_with("Swarm.Readiness.Interval: "));
        assert!(with(|probe| probe.timeout = Duration::ZERO).starts_with("Swarm.Readiness.Timeout: "));
        assert!(with(|probe| probe.start_period = Duration::MAX).starts_with("Swarm.Readiness.StartPeriod: "));
        assert_eq!(with(|probe| probe.failures = 0), "Swarm.Readiness.Failures: must be 1 or more");
        let liveness = Probe { successes: 2, ..http(80, "/", "") };
        assert!(
            refused(|container| container.liveness = Some(liveness)).starts_with("Swarm.Liveness.Successes: must be 1")
        );
    }
}
