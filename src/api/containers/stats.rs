//! `GET /containers/{id}/stats`: what a container uses, once or every second.

use super::find;
use crate::Ports;
use crate::call::{Call, Outcome, ok};
use crate::error::ApiError;
use crate::json::{Fields, ZERO_TIME, rfc3339_ns};
use crate::ports::{BlockStats, ContainerState, ContainerStats, Failure, NetworkStats};
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;

/// Between two samples (as Docker).
const INTERVAL: Duration = Duration::from_secs(1);

/// Whose figures, and those told last.
struct Sampler {
    ports: Ports,
    id: String,
    name: String,
    before: Option<ContainerStats>,
}

pub async fn stats(call: Call, id: &str) -> Outcome {
    let (streams, one_shot) = (call.query.flag_or("stream", true), call.query.flag("one-shot"));
    if streams && one_shot {
        return Err(ApiError::bad("cannot have stream=true and one-shot=true"));
    }
    let container = find(&call, id).await?;
    let runs = matches!(container.state, ContainerState::Running | ContainerState::Paused);
    let mut sampler = Sampler { ports: call.ports.clone(), id: container.id, name: container.name, before: None };
    if !streams {
        if runs && !one_shot {
            // Two of them make a rate.
            sampler.next().await?;
            tokio::time::sleep(INTERVAL).await;
        }
        return ok(sampler.next().await?);
    }
    let first = sampler.next().await?;
    let lines = stream::unfold((sampler, Some(first)), |(mut sampler, first)| async move {
        let sample = match first {
            Some(first) => first,
            None => {
                tokio::time::sleep(INTERVAL).await;
                match sampler.next().await {
                    Ok(sample) => sample,
                    // The container is gone.
                    Err(Failure::NotFound(_)) => return None,
                    Err(failure) => {
                        tracing::warn!(container = %sampler.id, %failure, "the figures of a container end");
                        return None;
                    }
                }
            }
        };
        Some((Bytes::from(format!("{sample}\n")), (sampler, None)))
    });
    let body = lines.take_until(call.shutdown.clone().cancelled_owned()).map(Ok::<_, Infallible>);
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response())
}

impl Sampler {
    /// The next sample; one without figures for a container that does not run.
    async fn next(&mut self) -> Result<Value, Failure> {
        let now = match self.ports.local.stats(&self.id).await {
            Ok(now) => Some(now),
            Err(Failure::Conflict(_)) => None,
            Err(failure) => return Err(failure),
        };
        let written = write(&self.id, &self.name, now.as_ref(), self.before.as_ref());
        self.before = now;
        Ok(written)
    }
}

/// API `ContainerStatsResponse`.
fn write(id: &str, name: &str, now: Option<&ContainerStats>, before: Option<&ContainerStats>) -> Value {
    let time = |stats: Option<&ContainerStats>| stats.map_or(ZERO_TIME.to_owned(), |stats| rfc3339_ns(stats.read_ns));
    let networks = now.map(|now| &now.networks).filter(|networks| !networks.is_empty());
    let networks = networks.map(|all| all.iter().map(|(name, one)| (name.clone(), network(one))).collect::<Value>());
    Fields::new()
        .set("id", id)
        .set("name", format!("/{name}"))
        .set("os_type", "linux")
        .set("read", time(now))
        .set("preread", time(before))
        .set("pids_stats", now.map_or_else(|| json!({}), pids))
        .set("blkio_stats", blocks(now.map_or(&[], |now| &now.blocks)))
        .set("num_procs", 0)
        .set("storage_stats", json!({}))
        .set("cpu_stats", cpu(now))
        .set("precpu_stats", cpu(before))
        .set("memory_stats", now.map_or_else(|| json!({}), memory))
        .opt("networks", networks)
        .into()
}

fn cpu(stats: Option<&ContainerStats>) -> Value {
    let empty = ContainerStats::default();
    let stats = stats.unwrap_or(&empty);
    let usage = Fields::new()
        .set("total_usage", stats.cpu_total_ns)
        .filled("percpu_usage", stats.cpu_each_ns.clone())
        .set("usage_in_kernelmode", stats.cpu_system_ns)
        .set("usage_in_usermode", stats.cpu_user_ns);
    let throttling = json!({
        "periods": stats.periods,
        "throttled_periods": stats.throttled_periods,
        "throttled_time": stats.throttled_ns,
    });
    Fields::new()
        .set("cpu_usage", usage)
        .filled("system_cpu_usage", stats.host_cpu_ns)
        .filled("online_cpus", stats.host_cpus)
        .set("throttling_data", throttling)
        .into()
}

fn memory(stats: &ContainerStats) -> Value {
    let counters: Value =
        stats.memory_counters.iter().map(|(name, value)| (name.clone(), Value::from(*value))).collect();
    Fields::new()
        .set("usage", stats.memory_bytes)
        .filled("max_usage", stats.memory_max_bytes)
        .set("stats", counters)
        .filled("failcnt", stats.memory_failures)
        .set("limit", stats.memory_limit_bytes)
        .into()
}

fn pids(stats: &ContainerStats) -> Value {
    Fields::new().set("current", stats.pids).opt("limit", stats.pids_limit).into()
}

/// Null for what the kernel does not keep.
fn blocks(blocks: &[BlockStats]) -> Value {
    let rows = |read: fn(&BlockStats) -> u64, written: fn(&BlockStats) -> u64| {
        let one = |block: &BlockStats| {
            let row =
                |op: &str, value: u64| json!({ "major": block.major, "minor": block.minor, "op": op, "value": value });
            [row("read", read(block)), row("write", written(block))]
        };
        let rows: Vec<Value> = blocks.iter().flat_map(one).collect();
        if rows.is_empty() { Value::Null } else { Value::from(rows) }
    };
    json!({
        "io_service_bytes_recursive": rows(|block| block.read_bytes, |block| block.write_bytes),
        "io_serviced_recursive": rows(|block| block.reads, |block| block.writes),
        "io_queue_recursive": null,
        "io_service_time_recursive": null,
        "io_wait_time_recursive": null,
        "io_merged_recursive": null,
        "io_time_recursive": null,
        "sectors_recursive": null,
    })
}

fn network(one: &NetworkStats) -> Value {
    json!({
        "rx_bytes": one.rx_bytes, "rx_packets": one.rx_packets, "rx_errors": one.rx_errors,
        "rx_dropped": one.rx_dropped, "tx_bytes": one.tx_bytes, "tx_packets": one.tx_packets,
        "tx_errors": one.tx_errors, "tx_dropped": one.tx_dropped,
    })
}
