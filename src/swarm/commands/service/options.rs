//! Flags `service create` and `service update` share, and how they change a service's specification.

use super::beyond::BeyondOptions;
use super::placing::PlacingOptions;
use super::probes::ProbeOptions;
use crate::error::{CliError, Result};
use crate::json::{drop_empty, list_mut, set, set_some, text, texts};
use crate::units::{parse_bytes, parse_count, parse_cpus, parse_duration_ns};
use clap::Args;
use serde_json::{Value, json};

/// Path of the container's specification.
pub const CONTAINER: &str = "/TaskTemplate/ContainerSpec";

#[derive(Debug, Args)]
pub struct SpecOptions {
    /// Path or words of the program, instead of the image's
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// User the program runs as, NAME|UID[:GROUP|GID]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory in the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Host name of the containers
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Give the containers a terminal
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tty: Option<bool>,
    /// Make the root file system read-only
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    read_only: Option<bool>,
    /// Run an init process that forwards signals and reaps processes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    init: Option<bool>,
    /// Add a capability (may be repeated)
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<String>,
    /// Drop a capability (may be repeated)
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<String>,
    /// Signal that stops the program
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Time a program has to stop before it is killed, such as 10s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    stop_grace_period: Option<i64>,
    /// How the service is reached by its name: vip or dnsrr
    #[arg(long, value_name = "MODE", value_parser = ["vip", "dnsrr"])]
    endpoint_mode: Option<String>,
    /// Logging driver
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Option of the logging driver, KEY=VALUE (may be repeated)
    #[arg(long, value_name = "OPTION")]
    log_opt: Vec<String>,
    /// How readily the host kills the program when memory runs out (-1000 to 1000)
    #[arg(long, value_name = "N")]
    oom_score_adj: Option<i64>,
    /// How containers are kept apart (no other than default)
    #[arg(long, value_name = "HOW", value_parser = ["default"])]
    isolation: Option<String>,
    /// Credentials of a managed account (of Windows: refused)
    #[arg(long, hide = true, value_name = "SPEC")]
    credential_spec: Option<String>,
    /// Number of tasks
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub replicas: Option<u64>,
    /// Let the load set the number of tasks: min=1,max=5,cpu=70 with cpu and memory in percent, or off
    #[arg(long, value_name = "LIMITS")]
    autoscale: Option<String>,
    /// Job tasks that run at the same time
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub max_concurrent: Option<u64>,
    /// Most tasks on one node (0: no limit)
    #[arg(long, value_name = "N", value_parser = parse_count)]
    replicas_max_per_node: Option<u64>,
    #[command(flatten)]
    placing: PlacingOptions,
    #[command(flatten)]
    resources: ResourceOptions,
    #[command(flatten)]
    restart: RestartOptions,
    #[command(flatten)]
    update: UpdateOptions,
    #[command(flatten)]
    rollback: RollbackOptions,
    #[command(flatten)]
    health: HealthOptions,
    #[command(flatten)]
    probes: ProbeOptions,
    #[command(flatten)]
    beyond: BeyondOptions,
    #[command(flatten)]
    pub wait: WaitOptions,
    /// Send the credentials for the registry of the image to the cluster
    #[arg(long)]
    pub with_registry_auth: bool,
    /// Do not ask the image's registry for its digest: each node resolves the name itself
    #[arg(long)]
    pub no_resolve_image: bool,
}

/// Whether the command waits until the service is as wanted.
#[derive(Clone, Copy, Debug, Args)]
pub struct WaitOptions {
    /// Do not wait until the service is as wanted
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub detach: bool,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
struct ResourceOptions {
    /// Most CPUs a task may use, such as 0.5
    #[arg(long, value_name = "CPUS", value_parser = parse_cpus)]
    limit_cpu: Option<i64>,
    /// Most memory a task may use, such as 64m
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    limit_memory: Option<i64>,
    /// Most processes a task may have (0: no limit)
    #[arg(long, value_name = "N")]
    limit_pids: Option<i64>,
    /// CPUs kept free for a task
    #[arg(long, value_name = "CPUS", value_parser = parse_cpus)]
    reserve_cpu: Option<i64>,
    /// Memory kept free for a task
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    reserve_memory: Option<i64>,
}

#[derive(Debug, Args)]
struct RestartOptions {
    /// When a task that ended is replaced: none, on-failure, any
    #[arg(long, value_name = "CONDITION", value_parser = ["none", "on-failure", "any"])]
    restart_condition: Option<String>,
    /// Time between the end of a task and the start of its replacement
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    restart_delay: Option<i64>,
    /// Most restarts before giving up
    #[arg(long, value_name = "N", value_parser = parse_count)]
    restart_max_attempts: Option<u64>,
    /// Time in which restarts are counted
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    restart_window: Option<i64>,
}

#[derive(Debug, Args)]
struct UpdateOptions {
    /// Tasks updated at the same time (0: all)
    #[arg(long, value_name = "N", value_parser = parse_count)]
    update_parallelism: Option<u64>,
    /// Time between updates
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    update_delay: Option<i64>,
    /// Time a new task is watched for failure
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    update_monitor: Option<i64>,
    /// What a failed update does: pause, continue, rollback
    #[arg(long, value_name = "ACTION", value_parser = ["pause", "continue", "rollback"])]
    update_failure_action: Option<String>,
    /// Part of the tasks that may fail, 0 to 1
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio)]
    update_max_failure_ratio: Option<f64>,
    /// Whether the new task starts before the old one stops: start-first, stop-first
    #[arg(long, value_name = "ORDER", value_parser = ["start-first", "stop-first"])]
    update_order: Option<String>,
}

#[derive(Debug, Args)]
struct RollbackOptions {
    /// Tasks rolled back at the same time (0: all)
    #[arg(long, value_name = "N", value_parser = parse_count)]
    rollback_parallelism: Option<u64>,
    /// Time between rollbacks of tasks
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    rollback_delay: Option<i64>,
    /// Time a task rolled back is watched for failure
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    rollback_monitor: Option<i64>,
    /// What a failed rollback does: pause, continue
    #[arg(long, value_name = "ACTION", value_parser = ["pause", "continue"])]
    rollback_failure_action: Option<String>,
    /// Part of the tasks that may fail, 0 to 1
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio)]
    rollback_max_failure_ratio: Option<f64>,
    /// Whether the new task starts before the old one stops: start-first, stop-first
    #[arg(long, value_name = "ORDER", value_parser = ["start-first", "stop-first"])]
    rollback_order: Option<String>,
}

#[derive(Debug, Args)]
struct HealthOptions {
    /// Command that checks the health, run by the shell of the container
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between checks
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    health_interval: Option<i64>,
    /// Most time of a check
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    health_timeout: Option<i64>,
    /// Checks in a row that must fail
    #[arg(long, value_name = "N", value_parser = parse_count)]
    health_retries: Option<u64>,
    /// Time after the start in which failed checks do not count
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    health_start_period: Option<i64>,
    /// Time between checks in that time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    health_start_interval: Option<i64>,
    /// No health check, also when the image has one
    #[arg(long)]
    no_healthcheck: bool,
}

fn parse_ratio(text: &str) -> std::result::Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| format!("invalid ratio \"{text}\" (0 to 1)"))?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(format!("ratio {text} is not between 0 and 1")) }
}

impl SpecOptions {
    /// Sets what was given, and leaves the rest as it is.
    pub fn apply(&self, spec: &mut Value) -> Result<()> {
        self.apply_container(spec)?;
        set_some(spec, "/EndpointSpec/Mode", self.endpoint_mode.clone());
        set_some(spec, "/TaskTemplate/LogDriver/Name", self.log_driver.clone());
        if !self.log_opt.is_empty() {
            set(spec, "/TaskTemplate/LogDriver/Options", super::super::common::pairs(&self.log_opt));
        }
        set_some(spec, "/TaskTemplate/Placement/MaxReplicas", self.replicas_max_per_node);
        if let Some(autoscale) = &self.autoscale {
            super::autoscale::apply(autoscale, spec)?;
        }
        self.placing.apply(spec);
        self.resources.apply(spec);
        self.restart.apply(spec);
        self.update.apply(spec);
        self.rollback.apply(spec);
        self.probes.apply(spec)?;
        self.beyond.apply(spec)?;
        self.health.apply(spec)
    }

    fn apply_container(&self, spec: &mut Value) -> Result<()> {
        if self.credential_spec.as_ref().is_some_and(|given| !given.is_empty()) {
            return Err(CliError::usage("--credential-spec: accounts of Windows are not known here"));
        }
        let at = |field: &str| format!("{CONTAINER}/{field}");
        if let Some(entrypoint) = &self.entrypoint {
            set(spec, &at("Command"), split_words(entrypoint)?);
        }
        set_some(spec, &at("User"), self.user.clone());
        set_some(spec, &at("Dir"), self.workdir.clone());
        set_some(spec, &at("Hostname"), self.hostname.clone());
        set_some(spec, &at("TTY"), self.tty);
        set_some(spec, &at("ReadOnly"), self.read_only);
        set_some(spec, &at("Init"), self.init);
        set_some(spec, &at("OomScoreAdj"), self.oom_score_adj);
        set_some(spec, &at("Isolation"), self.isolation.clone());
        set_some(spec, &at("StopSignal"), self.stop_signal.clone());
        set_some(spec, &at("StopGracePeriod"), self.stop_grace_period);
        self.apply_capabilities(spec);
        Ok(())
    }

    /// What is added is no longer dropped, and the other way round.
    fn apply_capabilities(&self, spec: &mut Value) {
        let paths = [format!("{CONTAINER}/CapabilityAdd"), format!("{CONTAINER}/CapabilityDrop")];
        for (words, mine, other) in [(&self.cap_add, 0, 1), (&self.cap_drop, 1, 0)] {
            for word in words {
                let name = capability(word);
                list_mut(spec, &paths[other]).retain(|known| known.as_str() != Some(&name));
                drop_empty(spec, &paths[other]);
                if !texts(spec, &paths[mine]).contains(&name) {
                    list_mut(spec, &paths[mine]).push(Value::from(name));
                }
            }
        }
    }
}

fn capability(word: &str) -> String {
    let word = word.to_uppercase();
    if word == "ALL" || word.starts_with("CAP_") { word } else { format!("CAP_{word}") }
}

impl ResourceOptions {
    fn apply(&self, spec: &mut Value) {
        let at = |field: &str| format!("/TaskTemplate/Resources/{field}");
        set_some(spec, &at("Limits/NanoCPUs"), self.limit_cpu);
        set_some(spec, &at("Limits/MemoryBytes"), self.limit_memory);
        set_some(spec, &at("Limits/Pids"), self.limit_pids);
        set_some(spec, &at("Reservations/NanoCPUs"), self.reserve_cpu);
        set_some(spec, &at("Reservations/MemoryBytes"), self.reserve_memory);
    }
}

impl RestartOptions {
    fn apply(&self, spec: &mut Value) {
        let at = |field: &str| format!("/TaskTemplate/RestartPolicy/{field}");
        set_some(spec, &at("Condition"), self.restart_condition.clone());
        set_some(spec, &at("Delay"), self.restart_delay);
        set_some(spec, &at("MaxAttempts"), self.restart_max_attempts);
        set_some(spec, &at("Window"), self.restart_window);
    }
}

impl UpdateOptions {
    fn apply(&self, spec: &mut Value) {
        let given = self.update_parallelism.is_some()
            || self.update_delay.is_some()
            || self.update_monitor.is_some()
            || self.update_failure_action.is_some()
            || self.update_max_failure_ratio.is_some()
            || self.update_order.is_some();
        if !given {
            return;
        }
        one_at_a_time(spec, "UpdateConfig");
        set_some(spec, "/UpdateConfig/Parallelism", self.update_parallelism);
        set_some(spec, "/UpdateConfig/Delay", self.update_delay);
        set_some(spec, "/UpdateConfig/Monitor", self.update_monitor);
        set_some(spec, "/UpdateConfig/FailureAction", self.update_failure_action.clone());
        set_some(spec, "/UpdateConfig/MaxFailureRatio", self.update_max_failure_ratio);
        set_some(spec, "/UpdateConfig/Order", self.update_order.clone());
    }
}

impl RollbackOptions {
    fn apply(&self, spec: &mut Value) {
        let given = self.rollback_parallelism.is_some()
            || self.rollback_delay.is_some()
            || self.rollback_monitor.is_some()
            || self.rollback_failure_action.is_some()
            || self.rollback_max_failure_ratio.is_some()
            || self.rollback_order.is_some();
        if !given {
            return;
        }
        one_at_a_time(spec, "RollbackConfig");
        set_some(spec, "/RollbackConfig/Parallelism", self.rollback_parallelism);
        set_some(spec, "/RollbackConfig/Delay", self.rollback_delay);
        set_some(spec, "/RollbackConfig/Monitor", self.rollback_monitor);
        set_some(spec, "/RollbackConfig/FailureAction", self.rollback_failure_action.clone());
        set_some(spec, "/RollbackConfig/MaxFailureRatio", self.rollback_max_failure_ratio);
        set_some(spec, "/RollbackConfig/Order", self.rollback_order.clone());
    }
}

/// A new section says how many at a time: 0, what an absent field means, would be all.
fn one_at_a_time(spec: &mut Value, section: &str) {
    if spec.get(section).is_none_or(Value::is_null) {
        set(spec, &format!("/{section}/Parallelism"), 1);
    }
}

impl HealthOptions {
    fn apply(&self, spec: &mut Value) -> Result<()> {
        let at = |field: &str| format!("{CONTAINER}/Healthcheck/{field}");
        let given = self.health_cmd.is_some()
            || self.health_interval.is_some()
            || self.health_timeout.is_some()
            || self.health_retries.is_some()
            || self.health_start_period.is_some()
            || self.health_start_interval.is_some();
        if self.no_healthcheck && given {
            return Err(CliError::usage("--no-healthcheck conflicts with --health-* options"));
        }
        if self.no_healthcheck {
            set(spec, &format!("{CONTAINER}/Healthcheck"), json!({ "Test": ["NONE"] }));
            return Ok(());
        }
        if given && text(spec, &at("Test/0")) == "NONE" {
            set(spec, &at("Test"), json!([]));
        }
        if let Some(command) = &self.health_cmd {
            let test = if command.is_empty() { json!([]) } else { json!(["CMD-SHELL", command]) };
            set(spec, &at("Test"), test);
        }
        set_some(spec, &at("Interval"), self.health_interval);
        set_some(spec, &at("Timeout"), self.health_timeout);
        set_some(spec, &at("Retries"), self.health_retries);
        set_some(spec, &at("StartPeriod"), self.health_start_period);
        set_some(spec, &at("StartInterval"), self.health_start_interval);
        Ok(())
    }
}

/// Words of a command line, with the quotes of a shell; nothing is expanded.
pub fn split_words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some('\\') if c == '"' => word.extend(chars.next()),
                        Some(inner) => word.push(inner),
                        None => return Err(CliError::usage(format!("unterminated quote in: {text}"))),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let split = |text| split_words(text).unwrap_or_default();
        assert_eq!(split(r#"sh -c "echo 'a b'" x\ y ''"#), ["sh", "-c", "echo 'a b'", "x y", ""]);
        assert!(split_words("sh -c 'x").is_err());
    }
}
